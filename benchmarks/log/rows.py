"""The rows of the section ``log``: what, against what, and the ratios that must be and should be reached."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench
from benchmarks.log import appends, commands, loads
from benchmarks.measure import Row

_LESS = "the peer writes no metadata, no idempotency row"
_PER_SECOND = "a second"


def rows(bench: Bench) -> list[Row]:
    """List them in the order of the table."""
    return [
        Row(
            "command to committed event, sequential", "one raw asyncpg statement", _PER_SECOND, "higher", 0.65, 0.80,
            lambda: commands.against_floor(bench, 1, 500, 20), "20 commands an aggregate; the floor neither loads nor decides",
        ),
        Row(
            "command to committed event, 8 concurrent", "one raw asyncpg statement on 8 connections", _PER_SECOND, "higher",
            0.50, 0.70, lambda: commands.against_floor(bench, 8, 1600, 20), "without group commit",
        ),
        Row(
            "first command of an aggregate, sequential", "one raw asyncpg statement", _PER_SECOND, "higher", None, None,
            lambda: commands.against_floor(bench, 1, 500, 1), "it is looked for in the log first: two round trips",
        ),
        Row(
            "append, sequential", "eventsourcing, 1 thread", _PER_SECOND, "higher", 2, 3,
            lambda: appends.against_peer(bench, 1, 1, 500, 300), _LESS,
        ),
        Row(
            "append, 8 concurrent", "eventsourcing, 8 threads", _PER_SECOND, "higher", 4, 6,
            lambda: appends.against_peer(bench, 8, 8, 2000, 500), f"without group commit; {_LESS}",
        ),
        Row(
            "append, 128 in flight", "eventsourcing, 8 threads", _PER_SECOND, "higher", 12, 20,
            lambda: appends.against_peer(bench, 128, 8, 6000, 500, group_commit=True), f"with group commit; {_LESS}",
        ),
        Row(
            "append, 32 in flight, slow2ms", "eventsourcing, 32 threads", _PER_SECOND, "higher", 15, 25,
            lambda: appends.against_peer(bench, 32, 32, 3000, 150, group_commit=True, is_slow=True),
            f"with group commit; {_LESS}",
        ),
        Row(
            "append with order and wake-up, 32 in flight, slow2ms", "itself without", _PER_SECOND, "higher", 0.75, 0.90,
            lambda: appends.order_and_wake_up(bench, 32, 2000), "a woken reader follows; without: no xid, no NOTIFY, no reader",
        ),
        Row(
            "load of 1,000 events", "eventsourcing", "ms", "lower", 2.5, 4,
            lambda: loads.against_peer(bench, 1000, 10), "no cache, no snapshot on either side",
        ),
        *_curve(bench),
        Row(
            "command on a hot aggregate of 1,000 events", "itself, folding it each time", _PER_SECOND, "higher", 3, 8,
            lambda: commands.hot_aggregate(bench, 1000, 40), "from the memory image",
        ),
        Row(
            "append of one event, 1 connection", "UPDATE of one row in place", _PER_SECOND, "higher", None, 1,
            lambda: appends.against_update(bench, 1, 500), "no key on our side; the UPDATE checks its version",
        ),
        Row(
            "append of one event, 8 connections", "UPDATE of one row in place", _PER_SECOND, "higher", None, 1,
            lambda: appends.against_update(bench, 8, 1500), "no key on our side; the UPDATE checks its version",
        ),
        Row(
            "read all, decode, upcast", "eventsourcing, select and to_domain_event", _PER_SECOND, "higher", 1.3, 2,
            lambda: loads.read_all(bench, 100, 10, 1000), "one event in ten is upcast, on both sides",
        ),
        Row(
            "SQLite, 32 in flight", "eventsourcing on SQLite, 8 threads", _PER_SECOND, "higher", 3, 6,
            lambda: appends.sqlite(bench, 32, 8, 4000, 1500),
            f"with group commit; synchronous FULL; 8 threads are its fastest; {_LESS}",
        ),
        Row(
            "append with the hash chain, 8 concurrent", "itself without", _PER_SECOND, "higher", None, None,
            lambda: appends.hash_chain(bench, 8, 1500), "what the setting costs",
        ),
    ]  # fmt: skip


def _curve(bench: Bench) -> list[Row]:
    """List the loads of ever longer aggregates: flat within 1.5 is a ratio of at least 1 / 1.5."""
    lengths = (1_000, 10_000) if bench.scale.is_quick else (1_000, 10_000, 100_000, 1_000_000)
    snapped = [
        Row(
            f"load of {length:,} events with snapshots", "itself at 100", "ms", "lower", 1 / 1.5, 1 / 1.2,
            partial(loads.curve, bench, length, 50, is_snapped=True), "flat is 1.00",
        )
        for length in lengths
    ]  # fmt: skip
    whole = [
        Row(
            f"load of {length:,} events without snapshots", "itself at 100", "ms", "lower", None, None,
            partial(loads.curve, bench, length, max(20_000 // length, 1), is_snapped=False),
            "left out at 1,000,000: a load takes too long to repeat" if length == 100_000 else "",
        )
        for length in lengths if length <= 100_000
    ]  # fmt: skip
    return snapped + whole
