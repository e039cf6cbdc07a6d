"""The projector over both databases: effect and checkpoint together, each event once, poison parked by stream (G3, G5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.leadership import Leader
from sagakit.messages import Event, Metadata, NewEvent, new_event
from sagakit.ports import Append
from sagakit.projector import Projector
from sagakit.sql import consumers
from sagakit.sql.tables import CheckpointRow, ParkedRow
from sagakit.system import OpenService
from tests.support.counted import Counted, CountedRow
from tests.support.shop import SERVICES, Added, Noted
from tests.support.waiting import until

NAME = "projection counted"


@pytest.fixture
async def counted(counting: OpenService) -> OpenService:
    await counting.tables.create([CountedRow])
    return counting


def _projector(counted: OpenService, owner: str = "one", projection: Any = None, leader: Any = None) -> Projector:
    leader = leader or Leader(counted.tables, NAME, owner, 30)
    return Projector(projection or Counted(), counted.store, counted.tables, SERVICES.registry, leader, 0.02)


@asynccontextmanager
async def _running(projector: Projector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(projector.run())
    try:
        yield task
    finally:
        projector.stop()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 20)


def _new(event: Event) -> NewEvent:
    return new_event(event, Metadata(correlation_id="c"))


async def _append(counted: OpenService, stream: str, before: int, *events: Event) -> None:
    await counted.store.append(Append(stream, before, tuple(_new(event) for event in events)))


async def _rows(counted: OpenService) -> dict[str, dict[str, Any]]:
    async with counted.tables.transaction() as session:
        rows = (await session.exec(select(CountedRow))).all()
    return {row.counter: row.model_dump(exclude={"counter"}) for row in rows}


async def _checkpoint(counted: OpenService) -> int:
    async with counted.tables.transaction() as session:
        found = (await session.exec(select(CheckpointRow.position).where(CheckpointRow.name == NAME))).first()
    return found or 0


async def _parked(counted: OpenService) -> list[tuple[str, int]]:
    async with counted.tables.transaction() as session:
        rows = (await session.exec(select(ParkedRow).order_by(ParkedRow.stream, ParkedRow.version))).all()
    return [(row.stream, row.version) for row in rows]


async def _at_the_end(counted: OpenService) -> bool:
    return await _checkpoint(counted) == await counted.store.head()


class Dying:
    """Stands before a projection, and ends the process once, after the third event's effect was written."""

    def __init__(self) -> None:
        self.projection, self.died = Counted(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.projection, name)

    async def apply(self, session: Any, events: Any, recorded: Any) -> None:
        await self.projection.apply(session, events, recorded)
        await session.flush()
        if recorded.version == 3:
            assert (await session.get(CountedRow, recorded.stream)).total == 6
            self.died = True
            raise asyncio.CancelledError


async def test_a_process_that_dies_after_writing_leaves_neither_effect_nor_checkpoint_g3(counted: OpenService) -> None:
    await _append(counted, "counter-a", 0, Added(amount=1), Added(amount=2), Added(amount=3))
    dying = Dying()
    async with _running(_projector(counted, projection=dying)) as task:
        with pytest.raises(asyncio.CancelledError):
            await task
        assert dying.died
        assert await _rows(counted) == {}
        assert await _checkpoint(counted) == 0
    async with _running(_projector(counted)):
        await until(lambda: _at_the_end(counted), "the restart to finish")
    assert await _rows(counted) == {"counter-a": {"total": 6, "events": 3, "order": "1 2 3 "}}


async def test_a_checkpoint_that_cannot_be_moved_takes_its_effect_with_it_i8(counted: OpenService) -> None:
    """Another process took the lease over while this one projected: what it wrote is rolled back."""
    lost: list[LeaseLost] = []

    class Replaced(Leader):
        async def advance_within(self, session: Any, position: int, event_id: Any = None) -> None:
            self._epoch -= 1
            try:
                await super().advance_within(session, position, event_id)
            except LeaseLost as error:
                lost.append(error)
                raise

    await _append(counted, "counter-a", 0, Added(amount=1))
    async with _running(_projector(counted, leader=Replaced(counted.tables, NAME, "one", 30))):
        await until(lambda: len(lost) >= 2, "two refused attempts")
        assert await _rows(counted) == {}
        assert await _checkpoint(counted) == 0


async def test_a_restart_goes_on_from_the_checkpoint_g3(counted: OpenService) -> None:
    await _append(counted, "counter-a", 0, Added(amount=1), Added(amount=2))
    async with _running(_projector(counted)):
        await until(lambda: _at_the_end(counted), "the first run")
    await _append(counted, "counter-a", 2, Added(amount=3))
    async with _running(_projector(counted, "two")):
        await until(lambda: _at_the_end(counted), "the second run")
        await _append(counted, "counter-b", 0, Added(amount=4))
        await until(lambda: _at_the_end(counted), "what came while it ran")
    assert await _rows(counted) == {
        "counter-a": {"total": 6, "events": 3, "order": "1 2 3 "},
        "counter-b": {"total": 4, "events": 1, "order": "1 "},
    }


async def test_a_poison_event_parks_its_stream_and_no_other_g5(counted: OpenService) -> None:
    await _append(counted, "counter-bad", 0, Added(amount=1), Noted(text="poison"), Added(amount=2))
    await _append(counted, "counter-good", 0, Added(amount=5), Noted(text="fine"), Added(amount=6))
    async with _running(_projector(counted)):
        await until(lambda: _at_the_end(counted), "the end")
        await _append(counted, "counter-bad", 3, Added(amount=3))
        await until(lambda: _at_the_end(counted), "what came later")
    assert await _parked(counted) == [("counter-bad", 2), ("counter-bad", 3), ("counter-bad", 4)]
    assert await _rows(counted) == {
        "counter-bad": {"total": 1, "events": 1, "order": "1 "},  # nothing of what the failed handler had written
        "counter-good": {"total": 11, "events": 3, "order": "1 2 3 "},
    }


async def test_two_projectors_apply_each_event_once_g3(counted: OpenService) -> None:
    async with _running(_projector(counted, "one")), _running(_projector(counted, "two")):
        for version in range(20):
            await _append(counted, "counter-a", version, Added(amount=1))
        await until(lambda: _at_the_end(counted), "the end")
    assert (await _rows(counted))["counter-a"] == {"total": 20, "events": 20, "order": "".join(f"{n} " for n in range(1, 21))}


async def test_rebuilt_from_zero_equals_live(counted: OpenService) -> None:
    async with _running(_projector(counted)):
        await asyncio.gather(*(_write(counted, stream) for stream in range(6)))
        await until(lambda: _at_the_end(counted), "live")
    live, parked = await _rows(counted), await _parked(counted)
    assert len(live) == 6
    assert parked == [("counter-4", 9), ("counter-4", 10)]
    async with counted.tables.transaction() as session:
        for table in (CountedRow, CheckpointRow, ParkedRow):
            for row in (await session.exec(select(table))).all():
                await session.delete(row)
    assert await _rows(counted) == {}
    async with _running(_projector(counted)):
        await until(lambda: _at_the_end(counted), "the rebuild")
    assert await _rows(counted) == live
    assert await _parked(counted) == parked


async def _write(counted: OpenService, stream: int) -> None:
    for version in range(10):
        is_poison = stream == 4 and version == 8
        await _append(counted, f"counter-{stream}", version, Noted(text="poison") if is_poison else Added(amount=version))


async def test_a_failed_event_is_tried_again_and_releases_its_stream_in_order_g3_g5(counted: OpenService) -> None:
    """Checkpoint and waiting room move together: after a restart between the attempts nothing is lost or doubled."""

    class Healing(Dying):
        async def apply(self, session: Any, events: Any, recorded: Any) -> None:
            await self.projection.apply(session, events, recorded)
            if recorded.version == 2 and not self.died:
                raise LookupError("the other row is not there yet")

    await _append(counted, "counter-a", 0, *(Added(amount=n) for n in (1, 2, 3)))
    await _append(counted, "counter-b", 0, Added(amount=5))
    healing = Healing()
    first = _projector(counted, projection=healing)
    async with _running(first):
        await until(lambda: _at_the_end(counted), "the end of the log")
    assert await _parked(counted) == [("counter-a", 2), ("counter-a", 3)]
    healing.died = True
    second = _projector(counted, "two", healing)
    async with _running(second), _retrying(second):
        await _append(counted, "counter-a", 3, Added(amount=4))
        await until(lambda: _at_the_end(counted), "the end of the log")
        await until(lambda: _nothing_waits(counted), "the stream")
    assert await _rows(counted) == {
        "counter-a": {"total": 10, "events": 4, "order": "1 2 3 4 "},
        "counter-b": {"total": 5, "events": 1, "order": "1 "},
    }


async def _nothing_waits(counted: OpenService) -> bool:
    return not await _parked(counted)


@asynccontextmanager
async def _retrying(projector: Projector) -> AsyncIterator[None]:
    task = asyncio.create_task(projector.retrier.run())
    try:
        yield
    finally:
        projector.retrier.stop()
        await asyncio.wait_for(task, 20)


async def test_a_paused_projection_stands_still_until_it_is_resumed(counted: OpenService) -> None:
    async with counted.tables.transaction() as session:
        await consumers.pause(session, "counted", "a rebuild")
    await _append(counted, "counter-a", 0, Added(amount=1))
    projector = _projector(counted)
    with pytest.raises(InfrastructureError, match="consumer counted is paused by a rebuild"):
        await projector._apply(await counted.store.reader(0).read(1), 1)
    async with _running(projector):
        await _append(counted, "counter-a", 1, Added(amount=2))
        assert await _checkpoint(counted) == 0
        async with counted.tables.transaction() as session:
            await consumers.resume(session, "counted")
        await until(lambda: _at_the_end(counted), "the end of the log")
    assert (await _rows(counted))["counter-a"]["total"] == 3


async def test_the_machines_trouble_leaves_the_projector_alive_and_parks_nothing(counted: OpenService) -> None:
    class Locked(Dying):
        async def apply(self, session: Any, events: Any, recorded: Any) -> None:
            if not self.died:
                self.died = True
                raise OperationalError("insert", {}, Exception("database is locked"))
            await self.projection.apply(session, events, recorded)

    await _append(counted, "counter-a", 0, Added(amount=1))
    async with _running(_projector(counted, projection=Locked())):
        await until(lambda: _at_the_end(counted), "the second try")
    assert await _parked(counted) == []
    assert (await _rows(counted))["counter-a"]["events"] == 1
