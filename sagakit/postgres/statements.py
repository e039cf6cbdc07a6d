"""The statements of an append: each is one round trip and one transaction of its own."""

from __future__ import annotations

# $1 stream, $2 expected version, $3 to $7 the events, $8 key, $9 outcome, $10 the events' digests (chained only).
# The guard keeps holes out: the version before must be there. That none stands at the next one, the unique constraint sees.
_GUARD = """guard as (
    select clock_timestamp() as moment where $2::int = 0 or exists (select from events where stream = $1 and version = $2)
)"""
_COMMAND = "command as (insert into commands (key, outcome) select $8::text, $9::text from guard where $8::text is not null)"

# The most frequent append by far: one event, in the place of arrays of one.
APPEND_ONE = f"""
with {_GUARD}, {_COMMAND}
insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)
select $1, $2::int + 1, $3::uuid, $4::text, $5::int, $6::text::json, $7::text::json, moment from guard
returning position
"""  # noqa: S608 put together from constants

APPEND = f"""
with {_GUARD}, {_COMMAND}
insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)
select $1, $2::int + n, id, type, schema_version, data::json, metadata::json, moment
from guard, unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[])
    with ordinality as given (id, type, schema_version, data, metadata, n)
order by n
returning position
"""  # noqa: S608 put together from constants

APPEND_CHAINED = f"""
with recursive {_GUARD}, {_COMMAND},
given as (
    select * from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $10::bytea[])
        with ordinality as given (id, type, schema_version, data, metadata, digest, n)
),
chain (n, hash) as (
    select 0::bigint, coalesce((select hash from events where stream = $1 and version = $2), ''::bytea)
    union all
    select given.n, sha256(chain.hash || given.digest || {{microseconds}})
    from chain join given on given.n = chain.n + 1 cross join guard
)
insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at, hash)
select $1, $2::int + n, id, type, schema_version, data::json, metadata::json, moment, hash
from guard, given join chain using (n)
order by n
returning position
"""  # noqa: S608 put together from constants

RECORD_OUTCOME = "insert into commands (key, outcome) values ($1, $2)"

# Members: $1 number, $2 stream, $3 expected version (null for one without events), $4 key, $5 outcome.
# Each is looked up by its index, one by one: a join, or EXISTS, lets the planner read whole tables for a few members.
# Events: $6 member, $7 place in it from 1, $8 to $12 the event, $13 digest (chained only).
_MEMBERS = """
moment as materialized (select clock_timestamp() as moment),
given as (
    select * from unnest($1::int[], $2::text[], $3::int[], $4::text[], $5::text[])
        as given (member, stream, expected, key, outcome)
),
judged as materialized (
    select given.*, (select outcome from commands where commands.key = given.key) as known,
        expected is null
        or (expected = 0 or (select true from events e where e.stream = given.stream and e.version = expected) is not null)
        and (select true from events e where e.stream = given.stream and e.version = expected + 1) is null as fits
    from given
),
taken as (select * from judged where fits and known is null),
command as (insert into commands (key, outcome) select key, outcome from taken where key is not null)
"""
# One row: the members' verdicts in their order, and all positions, which were drawn in the order of members and events.
_ANSWERS = """
select array_agg(known order by member) as known, array_agg(fits order by member) as fits,
    (select array_agg(position order by position) from appended) as positions
from judged
"""

APPEND_GROUP = f"""
with {_MEMBERS},
appended as (
    insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)
    select stream, expected + n, id, type, schema_version, data::json, metadata::json, moment
    from moment, taken join unnest($6::int[], $7::int[], $8::uuid[], $9::text[], $10::int[], $11::text[], $12::text[])
        as event (member, n, id, type, schema_version, data, metadata) using (member)
    order by member, n
    returning position
)
{_ANSWERS}
"""  # noqa: S608 put together from constants

APPEND_GROUP_CHAINED = f"""
with recursive {_MEMBERS},
event as (
    select * from unnest($6::int[], $7::int[], $8::uuid[], $9::text[], $10::int[], $11::text[], $12::text[], $13::bytea[])
        as event (member, n, id, type, schema_version, data, metadata, digest)
),
chain (member, n, hash) as (
    select member, 0, coalesce((select hash from events e where e.stream = taken.stream and e.version = expected), ''::bytea)
    from taken
    union all
    select member, event.n, sha256(chain.hash || event.digest || {{microseconds}})
    from chain join event using (member) cross join moment
    where event.n = chain.n + 1
),
appended as (
    insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at, hash)
    select stream, expected + n, id, type, schema_version, data::json, metadata::json, moment, hash
    from moment, taken join event using (member) join chain using (member, n)
    order by member, n
    returning position
)
{_ANSWERS}
"""  # noqa: S608 put together from constants

_MICROSECONDS = "convert_to((extract(epoch from moment) * 1000000)::bigint::text, 'UTF8')"
APPEND_CHAINED = APPEND_CHAINED.replace("{microseconds}", _MICROSECONDS)
APPEND_GROUP_CHAINED = APPEND_GROUP_CHAINED.replace("{microseconds}", _MICROSECONDS)

IS_OURS = "select position, id from events where stream = $1 and version > $2 order by version limit $3"

COLUMNS = "position, stream, version, id, type, schema_version, data, metadata, recorded_at"
LOAD = f"select {COLUMNS} from events where stream = $1 and version > $2 order by version"  # noqa: S608 our columns
LINKS = f"""
select {COLUMNS}, hash from events where (stream, version) > ($1::text, $2::int) order by stream, version limit $3
"""  # noqa: S608 our columns

# A NOTIFY takes an xid, so its commit would wait for the disk; a lost one costs a poll.
NOTIFY = "select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"

SAVE_SNAPSHOT = """
insert into snapshots (stream, version, event_id, fingerprint, checksum, state) values ($1, $2, $3, $4, $5, $6)
on conflict (stream) do update set version = excluded.version, event_id = excluded.event_id, fingerprint = excluded.fingerprint,
    checksum = excluded.checksum, state = excluded.state, taken_at = now()
    where excluded.version > snapshots.version or excluded.fingerprint <> snapshots.fingerprint
"""
LOAD_SNAPSHOT = "select version, event_id, fingerprint, checksum, state from snapshots where stream = $1"
FORGET_OUTCOMES = """
with gone as (
    delete from commands where key in (select key from commands where recorded_at < $1 order by recorded_at limit $2)
    returning 1
)
select count(*) from gone
"""
