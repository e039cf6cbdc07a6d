"""What every event store promises (G1, G2)."""

from __future__ import annotations

import asyncio

import pytest

from sagakit.errors import ConcurrencyError, DuplicateCommand
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.system import OpenService
from tests.support.shop import added

DONE = CommandOutcome(status="done", stream="counter-a", version=1, events=("counter.added",))


async def test_events_come_back_as_they_were_appended_g1(counting: OpenService) -> None:
    events = (added(1), added(2), added(3))
    positions = await counting.store.append(Append("counter-a", 0, events))
    loaded = await counting.store.load("counter-a")
    assert [event.version for event in loaded] == [1, 2, 3]
    assert [event.position for event in loaded] == positions == sorted(positions)
    assert [event.id for event in loaded] == [event.id for event in events]
    assert [event.metadata for event in loaded] == [event.metadata for event in events]
    assert {event.service for event in loaded} == {"counting"}
    assert [event.version for event in await counting.store.load("counter-a", 2)] == [3]
    assert await counting.store.head() == positions[-1]


async def test_a_stale_expected_version_is_refused_and_nothing_is_written_g1(counting: OpenService) -> None:
    await counting.store.append(Append("counter-a", 0, (added(),)))
    with pytest.raises(ConcurrencyError, match="counter-a has moved past version 0"):
        await counting.store.append(Append("counter-a", 0, (added(), added()), "key", DONE))
    assert len(await counting.store.load("counter-a")) == 1
    assert await counting.store.outcome("key") is None


async def test_a_repeated_key_returns_the_first_outcome_g1(counting: OpenService) -> None:
    await counting.store.append(Append("counter-a", 0, (added(),), "key", DONE))
    with pytest.raises(DuplicateCommand) as caught:
        await counting.store.append(Append("counter-a", 1, (added(),), "key", DONE))
    assert caught.value.outcome == DONE
    assert len(await counting.store.load("counter-a")) == 1


async def test_a_refusal_is_remembered_without_events_g1(counting: OpenService) -> None:
    refused = CommandOutcome(status="refused", stream="counter-a", code="over_limit", reason="no")
    await counting.store.append(Append("counter-a", 0, (), "key", refused))
    assert await counting.store.outcome("key") == refused
    assert await counting.store.load("counter-a") == []


async def test_one_members_conflict_fails_that_member_alone_g1(counting: OpenService) -> None:
    await counting.store.append(Append("counter-a", 0, (added(),)))
    appends = [Append(f"counter-{n}", 0, (added(),)) for n in range(20)] + [Append("counter-a", 0, (added(),))]
    results = await asyncio.gather(*(counting.store.append(append) for append in appends), return_exceptions=True)
    assert [type(result) for result in results] == [list] * 20 + [ConcurrencyError]


async def test_twenty_writers_on_one_stream_leave_no_hole_and_no_twin_g1(counting: OpenService) -> None:
    conflicts = 0

    async def write() -> None:
        nonlocal conflicts
        for _ in range(5):
            while True:
                seen = len(await counting.store.load("counter-a"))
                try:
                    await counting.store.append(Append("counter-a", seen, (added(),)))
                except ConcurrencyError:
                    conflicts += 1
                else:
                    break

    await asyncio.gather(*(write() for _ in range(20)))
    assert [event.version for event in await counting.store.load("counter-a")] == list(range(1, 101))
    assert conflicts > 0


async def test_the_reader_meets_every_event_once_in_stream_order_while_others_write_g2(counting: OpenService) -> None:
    async def write(writer: int) -> None:
        for version in range(25):
            await counting.store.append(Append(f"counter-{writer}", version, (added(),)))

    writing = asyncio.gather(*(write(writer) for writer in range(8)))
    reader, read = counting.store.reader(0), []
    async with asyncio.timeout(60):
        while len(read) < 200:
            page = await reader.read(17)
            read += page
            if not page:
                await asyncio.sleep(0.001)
    await writing
    assert len({event.id for event in read}) == 200
    assert [event.position for event in read] == sorted(event.position for event in read)
    for writer in range(8):
        assert [event.version for event in read if event.stream == f"counter-{writer}"] == list(range(1, 26))
    assert await reader.read(10) == []


async def test_a_commit_wakes(counting: OpenService) -> None:
    woken = asyncio.Event()
    counting.store.on_commit(woken.set)
    await counting.store.append(Append("counter-a", 0, (added(),)))
    await asyncio.wait_for(woken.wait(), 5)
