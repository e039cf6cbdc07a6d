"""Reactions: each command once, refusals are outcomes, circles end at the limit (G3, G5, failures C3, D18)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sagakit.consumer import Consumer
from sagakit.errors import StoreUnavailable
from sagakit.hops import HopLimit
from sagakit.messages import RecordedEvent
from sagakit.reactor import Reactor
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.system import OpenService
from sagakit.temporal.plugin import connect
from sagakit.testing import given_event
from tests.support.echoes import CIRCLE, HILLS, LISTENERS, VALLEYS, WAREHOUSE, Answer, ParcelPacked, Shout, answer_the_parcel
from tests.support.running import log, parked, running
from tests.support.stores import open_counting
from tests.support.waiting import until

LISTENING = ServiceMap([LISTENERS, WAREHOUSE])


@pytest.fixture(params=["sqlite", "postgres"])
async def listeners(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url, LISTENING) as opened:
        yield opened


def _packed(grams: int, **metadata: Any) -> RecordedEvent:
    return given_event(ParcelPacked(parcel="p", grams=grams), "parcel-p", "warehouse", **metadata).recorded


def _consumer(opened: OpenService, repository: Any = None) -> Consumer:
    reactor = Reactor(LISTENERS, answer_the_parcel, LISTENING, repository or opened.repository, HopLimit(LISTENING, 16))
    return Consumer("listeners.reaction.answer_the_parcel", opened.tables, 3, before=reactor)


async def test_each_command_of_an_event_takes_effect_once_g3(listeners: OpenService) -> None:
    event = _packed(7, correlation_id="talk", hops=2)
    await _consumer(listeners).handle([event])
    await _consumer(listeners).handle([event])
    answered = await listeners.store.load("valley-p")
    assert [event.type for event in answered] == ["valley.answered", "valley.answered"]
    first = answered[0].metadata
    assert (first.correlation_id, first.causation_id, first.actor) == ("talk", str(event.id), "reaction answer_the_parcel")
    assert (first.command_key, first.hops) == (f"answer_the_parcel/{event.id}/0", 3)


async def test_two_consumers_with_the_same_event_at_once_have_one_effect_c3(listeners: OpenService) -> None:
    event = _packed(7)
    await asyncio.gather(*(_consumer(listeners).handle([event]) for _ in range(4)))
    assert len(await listeners.store.load("valley-p")) == 2


async def test_a_death_between_the_commands_and_the_inbox_row_changes_nothing_g3(listeners: OpenService) -> None:
    event = _packed(7)
    reactor = Reactor(LISTENERS, answer_the_parcel, LISTENING, listeners.repository, HopLimit(LISTENING, 16))
    await reactor(event)  # and dies here
    await _consumer(listeners).handle([event])
    assert len(await listeners.store.load("valley-p")) == 2


async def test_a_refusal_is_an_outcome_and_is_not_tried_again(listeners: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("sagakit.reactor.count", lambda _name, **names: counted.append(names["outcome"]))
    event = _packed(500)
    await _consumer(listeners).handle([event])
    assert len(await listeners.store.load("valley-p")) == 1
    assert counted == ["done", "refused"]
    outcome = await listeners.store.outcome(f"answer_the_parcel/{event.id}/1")
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("refused", "hoarse")


async def test_what_the_machine_failed_at_is_tried_until_it_works(listeners: OpenService) -> None:
    failures = iter([StoreUnavailable("away")] * 4)

    class Flaky:
        async def handle(self, *args: Any) -> Any:
            if error := next(failures, None):
                raise error
            return await listeners.repository.handle(*args)

    consumer, event = _consumer(listeners, Flaky()), _packed(7)
    for _ in range(4):  # the bus brings it again, and no attempt of the three before parking is spent
        with pytest.raises(StoreUnavailable):
            await consumer.handle([event])
    await consumer.handle([event])
    assert len(await listeners.store.load("valley-p")) == 2


async def test_an_empty_answer_leaves_the_inbox_row_alone(listeners: OpenService) -> None:
    await _consumer(listeners).handle([_packed(0, hops=99)])  # nothing follows, so nothing goes too far either
    assert await listeners.store.load("valley-p") == []


async def _ends_parked(system: Any, limit: int) -> None:
    """Shout, and expect the chain to end at an event of ``limit`` hops, parked with the names of the circle."""
    await system.send(Shout(hill="h"), Context(correlation_id="echo"))

    async def ended() -> bool:
        return bool(await parked(system, "hills") or await parked(system, "valleys"))

    await until(ended, "an event to be parked at the limit", 60)
    rows = [*await parked(system, "hills"), *await parked(system, "valleys")]
    assert len(rows) == 1
    assert f"comes after {limit} reactions and sagas" in rows[0].reason
    assert "hill.shouted -> reaction answer_back -> valley.answered -> reaction shout_again" in rows[0].reason
    assert "conversation echo" in rows[0].reason
    events = [*await log(system, "hills", "hill-h"), *await log(system, "valleys", "valley-h")]
    assert sorted(event.metadata.hops for event in events) == list(range(limit + 1))
    assert {event.metadata.correlation_id for event in events} == {"echo"}
    by_id = {str(event.id): event for event in events}
    for event in events:
        if event.metadata.hops:
            assert by_id[event.metadata.causation_id or ""].metadata.hops == event.metadata.hops - 1


async def test_two_services_that_answer_each_other_for_ever_end_parked_d18(tmp_path: Path) -> None:
    async with running([HILLS, VALLEYS], tmp_path, max_hops=6) as system:
        await _ends_parked(system, 6)


async def test_the_same_over_rabbitmq_and_postgresql_d18(tmp_path: Path, postgres_url: str, rabbitmq_url: str) -> None:
    async with running([HILLS, VALLEYS], tmp_path, postgres_url, bus=rabbitmq_url) as system:
        await _ends_parked(system, 16)


async def test_a_circle_of_a_saga_and_a_service_ends_parked_d18(tmp_path: Path, fresh_temporal: str) -> None:
    client = await connect(fresh_temporal, "default")
    async with running(CIRCLE, tmp_path, client=client, max_hops=5) as system:
        await system.send(Answer(valley="v"), Context())

        async def ended() -> bool:
            return bool(await parked(system, "hills") or await parked(system, "valleys"))

        await until(ended, "an event to be parked at the limit", 60)
        (row,) = [*await parked(system, "hills"), *await parked(system, "valleys")]
        assert "saga shout-once" in row.reason
        assert "reaction shout_further" in row.reason
        hops = {}
        for service, category in (("hills", "hill"), ("valleys", "valley")):
            for length in range(8):
                for event in await log(system, service, f"{category}-v{'x' * length}"):
                    hops[event.metadata.hops] = event.type
        assert sorted(hops) == [0, 1, 2, 3, 4, 5]
        assert hops[1] == "hill.shouted", "a saga's command is one hop behind the event that started it"
