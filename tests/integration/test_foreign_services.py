"""Events of a service that is no sagakit code: handled once, parked when they cannot be read, traced (G3, G5, G8)."""

from __future__ import annotations

import asyncio
import functools
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import pytest
from sqlmodel import Field, SQLModel, select

from sagakit import Projection, Service, projects
from sagakit.errors import InvalidInput
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from sagakit.trace_context import span_context
from tests.support.echoes import LISTENERS, WAREHOUSE, ParcelPacked, Valley, answer_the_parcel
from tests.support.foreign_publisher import TRACE, publish
from tests.support.node_participant import Node
from tests.support.running import NO_CLIENT, log, parked, refused, running
from tests.support.waiting import until

Publisher = Callable[[str], Awaitable[None]]
"""Publishes, to the exchange ``warehouse.events`` of the broker at a URL, one ``parcel.packed`` of schema version 1: the data
``{"parcel": "p", "grams": 7}``, stream ``parcel-p``, version 1, conversation ``conversation of parcel-p``, trace `TRACE`."""


class PackedRow(SQLModel, table=True):
    __tablename__ = "packed"
    parcel: str = Field(primary_key=True)
    grams: int


class Packed(Projection, name="packed", table=PackedRow):
    @projects(ParcelPacked)
    async def _packed(self, session: object, event: ParcelPacked, recorded: object) -> None:
        session.add(PackedRow(parcel=event.parcel, grams=event.grams))  # type: ignore[attr-defined]


SERVICES = (WAREHOUSE, Service("listeners", aggregates=(Valley,), reactions=(answer_the_parcel,), projections=(Packed,)))
by_hand = functools.partial(publish, service="warehouse", event_type="parcel.packed", stream="parcel-p", version=1)


@pytest.fixture(autouse=True)
async def _fresh_queues(rabbitmq_url: str) -> None:
    """The tests share the names of their queues; what one left in them, a repetition say, is none of the next one's."""
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        for name in ("listeners.reaction.answer_the_parcel", "listeners.projection.packed"):
            await channel.queue_delete(name, if_unused=False, if_empty=False)


async def assert_a_foreign_event_is_reacted_to(publisher: Publisher, folder: Path, rabbitmq_url: str) -> None:
    """For a publisher in any language: its event leads to commands here, once, in its conversation and its trace."""
    async with running(SERVICES, folder, bus=rabbitmq_url) as system:
        await publisher(rabbitmq_url)

        async def answered() -> bool:
            return len(await log(system, "listeners", "valley-p")) == 2

        await until(answered, "the reaction to the foreign event", 60)
        for event in await log(system, "listeners", "valley-p"):
            found = span_context(event.metadata.traceparent)
            assert found is not None
            assert f"{found.trace_id:032x}" == TRACE
            assert event.metadata.correlation_id == "conversation of parcel-p"
            assert event.metadata.hops == 1
        assert await parked(system, "listeners") == []


async def test_an_event_published_by_hand_is_reacted_to_g8(tmp_path: Path, rabbitmq_url: str) -> None:
    async def publisher(url: str) -> None:
        event_id = await by_hand(url, data={"parcel": "p", "grams": 7})
        await by_hand(url, data={"parcel": "p", "grams": 7}, event_id=event_id)  # as a publisher in doubt does

    await assert_a_foreign_event_is_reacted_to(publisher, tmp_path, rabbitmq_url)


async def test_an_event_published_by_a_node_service_is_reacted_to_g8(tmp_path: Path, rabbitmq_url: str, node: Node) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "type": "parcel.packed",
        "stream": "parcel-p",
        "version": 1,
        "data": {"parcel": "p", "grams": 7},
        "correlation_id": "conversation of parcel-p",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    }

    async def publisher(url: str) -> None:
        lines = f"{json.dumps(event)}\n" * 2  # as a publisher in doubt does
        assert await asyncio.to_thread(node.run, "publish.js", url, "warehouse.events", lines=lines) == [event["id"]] * 2

    await assert_a_foreign_event_is_reacted_to(publisher, tmp_path, rabbitmq_url)


async def test_a_read_model_takes_foreign_events_and_what_cannot_be_read_is_parked_g5(tmp_path: Path, rabbitmq_url: str) -> None:
    async with running(SERVICES, tmp_path, bus=rabbitmq_url, attempts=1) as system:
        await by_hand(rabbitmq_url, stream="parcel-bad", data={"parcel": "bad"})
        await by_hand(rabbitmq_url, stream="parcel-new", data={"parcel": "new", "grams": 1}, schema_version=9)
        await by_hand(rabbitmq_url, stream="parcel-text", data="no object")
        await by_hand(rabbitmq_url, stream="parcel-good", data={"parcel": "good", "grams": 3, "colour": "of a newer release"})

        async def is_there() -> bool:
            async with (await system.open("listeners")).tables.transaction() as session:
                return "good" in (await session.exec(select(PackedRow.parcel))).all()

        async def are_parked() -> bool:
            # The queues are those of the tests before, which may have left a repetition in them.
            return len(await parked(system, "listeners")) >= 4 and len(await refused(system, "listeners")) == 2

        await until(is_there, "the row of the good event")
        await until(are_parked, "two events parked and one refused, each by the reaction and by the read model")
        reasons = {row.stream: row.reason for row in await parked(system, "listeners")}
        assert "grams: Field required" in reasons["parcel-bad"]
        assert "parcel.packed 9" in reasons["parcel-new"]
        assert {row.body_excerpt for row in await refused(system, "listeners")} == {'"no object"'}
        assert {row.producer for row in await parked(system, "listeners")} == {"warehouse"}


async def test_a_binding_is_made_once_and_again(tmp_path: Path, rabbitmq_url: str) -> None:
    for attempt in range(2):
        async with running(SERVICES, tmp_path, bus=rabbitmq_url) as system:
            await by_hand(rabbitmq_url, stream=f"parcel-{attempt}", data={"parcel": f"q{attempt}", "grams": 7})
            await until(functools.partial(log, system, "listeners", f"valley-q{attempt}"), "the reaction")


async def test_the_bus_of_one_process_refuses_a_foreign_service(tmp_path: Path) -> None:
    async with System(load_settings(data=tmp_path), ServiceMap([WAREHOUSE, LISTENERS])) as system:
        with pytest.raises(InvalidInput, match=r"events of warehouse, a foreign service.*SAGAKIT_BUS"):
            await Runtime(system, NO_CLIENT).start()
        with pytest.raises(InvalidInput, match="warehouse is foreign"):
            Runtime(system, NO_CLIENT, ["warehouse"])
