"""The reconciler names what is lost, doubled, late, parked and waiting, and nothing else (G3, G5, I5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.accounts import Account
from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.reconcile import reconcile
from sagakit.settings import load_settings
from sagakit.sql import feeding, subscriptions
from sagakit.sql.tables import ConsumerRow, HeadRow, ParkedActionRow, ParkedRow
from sagakit.system import System
from tests.support.command_line import run_command
from tests.support.feeding import append, record
from tests.support.readers import OWED, READERS, THERE, handle_all

PUBLISHED = 16


@pytest.fixture(params=["sqlite", "postgres"])
async def system(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    database = "sqlite"
    if request.param == "postgres":
        database = f"{request.getfixturevalue('postgres_url')}/t{uuid4().hex[:8]}_{{service}}"
    monkeypatch.setenv("SAGAKIT_DATABASE", database)
    async with System(load_settings(data=tmp_path), READERS) as opened:
        yield opened


@pytest.fixture
async def log(system: System) -> list[RecordedEvent]:
    """Twenty events of four streams, sixteen of them published and handled."""
    counting, reading = await system.open("counting"), await system.open("reading")
    await record(counting, OWED)
    events = await append(counting, 4, 5)
    await _at(system, events[PUBLISHED - 1].position)
    await handle_all(reading, events[:PUBLISHED])
    return events


async def _at(system: System, position: int) -> None:
    async with (await system.open("counting")).tables.transaction() as session:
        await subscriptions.begin_at(session, THERE, position)


async def _there(system: System, bus: object = None) -> Account:
    (account,) = await reconcile(system, bus, 0, THERE)  # type: ignore[arg-type]
    parts = account.handled + account.dropped + account.forgotten + account.parked + account.waiting + account.lost
    assert account.owed == parts
    return account


async def _run(system: System, statement: str, **values: object) -> None:
    async with (await system.open("reading")).tables.transaction() as session:
        await (await session.connection()).execute(text(statement), values)


def _add(session: AsyncSession, *rows: object) -> None:
    session.add_all(rows)


async def test_all_is_well_when_all_is_handled(system: System, log: list[RecordedEvent]) -> None:
    account = await _there(system)
    assert (account.owed, account.handled, account.waiting, account.late) == (20, 16, 4, 4)
    assert (account.lost, account.doubled, account.named) == (0, None, [])
    assert not account.is_wrong
    here, there = await reconcile(system, None, 0)
    assert (here.consumer, here.owed, here.handled, here.waiting) == ("readers_here", 20, 0, 20)  # it has not run yet
    assert there == account
    assert [each.owed for each in await reconcile(system, None, 3600)] == [0, 0]  # within the grace


async def test_each_planted_defect_is_named_i5(system: System, log: list[RecordedEvent], tmp_path: Path) -> None:
    lost, parked, dropped, unsent = log[4], log[9], log[13], log[2]
    for event in (lost, parked, unsent):
        await _run(system, "delete from sagakit_inbox where event_id = :id", id=str(event.id))
    async with (await system.open("counting")).tables.transaction() as session:
        await feeding.set_aside(session, THERE, unsent, "too large", "parked")
    async with (await system.open("reading")).tables.transaction() as session:
        at = {"stream": parked.stream, "version": parked.version, "message": "{}"}
        _add(
            session,
            ParkedRow(consumer=THERE, event_id=str(parked.id), reason="no good", parked_at=datetime.now(UTC), **at),
            ParkedActionRow(
                id="1", consumer=THERE, event_id=str(dropped.id), action="drop", actor="kim", reason="a test", at=datetime.now(UTC),
                stream=dropped.stream, version=dropped.version, message="{}",
            ),
            HeadRow(consumer=THERE, producer="counting", stream="counter-0", version=4, effects=4),
            HeadRow(consumer=THERE, producer="counting", stream="counter-1", version=4, effects=10),
        )  # fmt: skip
    account = await _there(system)
    assert (account.owed, account.handled, account.dropped, account.parked, account.waiting) == (20, 12, 1, 2, 4)
    assert account.lost == 1
    assert account.named == [f"counter-0 version 2 (position {lost.position}, id {lost.id})"]
    assert account.doubled == 1  # fourteen effects, thirteen inbox rows
    code, output = await asyncio.to_thread(run_command, READERS, "--data", str(tmp_path), "reconcile", "--grace", "0", "--json")
    assert code == 1
    figures = {each["consumer"]: each for each in json.loads(output)}
    assert (figures[THERE]["lost"], figures[THERE]["doubled"], figures["readers_here"]["lost"]) == (1, 1, 0)
    code, output = await asyncio.to_thread(run_command, READERS, "--data", str(tmp_path), "reconcile", "--grace", "0")
    assert str(lost.id) in output.replace("\n", "")
    code, _ = await asyncio.to_thread(run_command, READERS, "--data", str(tmp_path), "reconcile", "--consumer", "readers_here")
    assert code == 0


class _Queue:
    """A broker in which so many messages wait."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    async def backlog(self, _subscription: Subscription) -> int:
        return self.waiting


async def test_what_waits_in_a_queue_is_not_lost_but_what_was_overtaken_is_g3(system: System, log: list[RecordedEvent]) -> None:
    for event in (log[3], log[14], log[15]):
        await _run(system, "delete from sagakit_inbox where event_id = :id", id=str(event.id))
    account = await _there(system, _Queue(5))
    assert (account.waiting, account.lost) == (4 + 2, 1)
    assert account.named[0].startswith("counter-3 version 1 ")  # later events of its stream were handled
    account = await _there(system, _Queue(1))
    assert (account.waiting, account.lost) == (4 + 1, 2)


async def test_what_the_inbox_forgot_after_its_retention_is_not_lost(system: System, log: list[RecordedEvent]) -> None:
    for event in log[:3]:
        await _run(system, "delete from sagakit_inbox where event_id = :id", id=str(event.id))
    async with (await system.open("reading")).tables.transaction() as session:
        _add(session, ConsumerRow(consumer=THERE, forgotten=3))
    account = await _there(system)
    assert (account.handled, account.forgotten, account.lost) == (13, 3, 0)
    await _run(system, "delete from sagakit_inbox where event_id = :id", id=str(log[7].id))
    assert (await _there(system)).lost == 1


async def test_what_is_on_its_way_at_the_first_look_is_not_lost(system: System, log: list[RecordedEvent]) -> None:
    reading = await system.open("reading")
    await _run(system, "delete from sagakit_inbox where event_id = :id", id=str(log[15].id))

    class Slow(_Queue):
        """Its last message was in somebody's hands until the broker was asked for the third time."""

        async def backlog(self, subscription: Subscription) -> int:
            self.waiting += 1
            if self.waiting == 3:
                await handle_all(reading, [log[15]])
            return 0

    account = await _there(system, Slow(0))
    assert (account.handled, account.lost) == (16, 0)
