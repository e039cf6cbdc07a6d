"""What each PostgreSQL role may not do, tried (S13): nobody but the owner changes or removes an event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sagakit.ports import Append
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.stores import open_counting

INSERT = """insert into events (stream, version, id, type, schema_version, data, metadata)
            values ('counter-z', 1, gen_random_uuid(), 'counter.added', 1, '{}', '{}')"""
UPDATE, DELETE, TRUNCATE = "update events set type = 'x'", "delete from events", "truncate events"
OUTCOME = "insert into commands (key, outcome) values ('k', '{}')"
CHECKPOINT = "update sagakit_checkpoints set position = 1"
SNAPSHOT = "delete from snapshots"
INBOX = "insert into sagakit_inbox values ('c', 'e', 's', 1, now())"
SCHEMA = "create table mine (id int)"
DROP = "drop table events"

FORBIDDEN = {
    "writer": (UPDATE, DELETE, TRUNCATE, CHECKPOINT, INBOX, SCHEMA, DROP, "update commands set outcome = '{}'"),
    "relay": (INSERT, UPDATE, DELETE, TRUNCATE, OUTCOME, SNAPSHOT, INBOX, SCHEMA, DROP),
    "projector": (INSERT, UPDATE, DELETE, TRUNCATE, OUTCOME, SNAPSHOT, SCHEMA, DROP),
    "reader": (INSERT, UPDATE, DELETE, TRUNCATE, OUTCOME, CHECKPOINT, SNAPSHOT, INBOX, SCHEMA, DROP),
}
ALLOWED = {
    "writer": (INSERT, OUTCOME, SNAPSHOT, "select * from events", "delete from commands"),
    "relay": ("select * from events", CHECKPOINT, "select * from sagakit_subscriptions"),
    "projector": ("select * from events", CHECKPOINT, INBOX),
    "reader": ("select * from events", "select * from commands", "select * from sagakit_parked"),
    "owner": (UPDATE, DELETE),
}


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        await opened.store.append(Append("counter-a", 0, (added(),)))
        yield opened


async def _try(counting: OpenService, role: str, statement: str) -> None:
    connection = await asyncpg.connect(counting.store._url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"set local role sagakit_{role}")
        await connection.execute(statement)
        await transaction.rollback()
    finally:
        await connection.close()


@pytest.mark.parametrize("role", FORBIDDEN)
async def test_what_a_role_is_not_for_is_refused_s13(counting: OpenService, role: str) -> None:
    for statement in FORBIDDEN[role]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _try(counting, role, statement)


@pytest.mark.parametrize("role", ALLOWED)
async def test_what_a_role_is_for_it_may_do_s13(counting: OpenService, role: str) -> None:
    for statement in ALLOWED[role]:
        await _try(counting, role, statement)


async def test_the_log_works_with_the_writers_rights_alone_s13(counting: OpenService) -> None:
    assert (await counting.store._connections.fetch("select current_user"))[0][0] == "sagakit_writer"
    for statement in (UPDATE, DELETE, TRUNCATE):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await counting.store._connections.fetch(statement)
    assert len(await counting.store.load("counter-a")) == 1
