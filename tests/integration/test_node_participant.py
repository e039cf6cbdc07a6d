"""A participant that is not Python, written from `docs/messages.md` alone, reads our events and publishes its own."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import jsonschema
import pytest
from aio_pika.abc import AbstractChannel

from sagakit.asyncapi import export
from sagakit.messages import Metadata, RecordedEvent
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.messages import from_message
from sagakit.service import ServiceMap
from tests.support.demo_log import demo_log
from tests.support.node_participant import Node
from worker.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
async def operator(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(rabbitmq_url)
    yield await connection.channel()
    await connection.close()


async def _published(rabbitmq_url: str, events: list[RecordedEvent]) -> Subscription:
    subscription = Subscription(f"q{uuid.uuid4().hex[:8]}", "orders", frozenset(event.type for event in events))
    bus = RabbitBus(rabbitmq_url, 5, 50)
    await bus.open()
    await bus.declare([subscription])
    assert await bus.publish(subscription, events) == [None] * len(events)
    await bus.close()
    return subscription


async def _waiting(operator: AbstractChannel, queue: str) -> int:
    return (await operator.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def test_it_reads_checks_and_acknowledges_every_event_of_the_demo(
    rabbitmq_url: str, operator: AbstractChannel, node: Node, tmp_path: Path
) -> None:
    events = await demo_log(tmp_path / "data")
    export(ServiceMap(SERVICES), None, tmp_path)
    repeated = [*events, events[0]]
    subscription = await _published(rabbitmq_url, repeated)
    arguments = (rabbitmq_url, subscription.consumer, str(tmp_path / "schemas"), str(len(repeated)))
    lines = [json.loads(line) for line in await asyncio.to_thread(node.run, "consume.js", *arguments)]
    assert [line.get("refused") for line in lines] == [None] * len(repeated)
    assert [line["isRepeat"] for line in lines] == [False] * len(events) + [True]
    for line, event in zip(lines, repeated, strict=True):
        assert line["data"] == json.loads(event.data)
        assert (line["id"], line["type"], line["service"]) == (str(event.id), event.type, event.service)
        assert (line["stream"], line["version"], line["position"]) == (event.stream, event.version, event.position)
        assert (line["correlationId"], line["traceparent"]) == (event.metadata.correlation_id, event.metadata.traceparent)
        assert line["metadata"] == {"command": event.metadata.command, "actor": "kim"}
    assert await _waiting(operator, subscription.consumer) == 0


async def test_what_does_not_fit_is_set_aside_and_the_next_is_read(
    rabbitmq_url: str, operator: AbstractChannel, node: Node, tmp_path: Path
) -> None:
    good, other = (await demo_log(tmp_path / "data"))[:2]
    export(ServiceMap(SERVICES), None, tmp_path)
    wrong = RecordedEvent(**{**_fields(good), "data": '{"order_id":7}', "id": uuid.uuid4()})
    unknown = RecordedEvent(**{**_fields(good), "type": "order.dreamt", "id": uuid.uuid4()})
    subscription = await _published(rabbitmq_url, [wrong, unknown, other])
    arguments = (rabbitmq_url, subscription.consumer, str(tmp_path / "schemas"), "3")
    lines = [json.loads(line) for line in await asyncio.to_thread(node.run, "consume.js", *arguments)]
    assert "customer" in lines[0]["refused"]
    assert lines[1]["refused"] == "no schema for order.dreamt 1"
    assert lines[2]["id"] == str(other.id)
    assert await _waiting(operator, subscription.consumer) == 0


async def test_a_queue_that_goes_out_of_use_is_emptied_and_deleted(
    rabbitmq_url: str, operator: AbstractChannel, node: Node, tmp_path: Path
) -> None:
    (event, *_) = await demo_log(tmp_path / "data")
    export(ServiceMap(SERVICES), None, tmp_path)
    subscription = await _published(rabbitmq_url, [event])
    queue = subscription.consumer
    await operator.default_exchange.publish(_retiring(queue), queue)
    arguments = (rabbitmq_url, queue, str(tmp_path / "schemas"), "9")
    lines = [json.loads(line) for line in await asyncio.to_thread(node.run, "consume.js", *arguments)]
    assert (lines[0]["id"], lines[1]) == (str(event.id), {"retired": queue})
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await _waiting(operator, queue)


def _retiring(queue: str) -> aio_pika.Message:
    return aio_pika.Message(b"", type="sagakit.retire", headers={"sagakit_retire": queue, "service": "orders"})


def _fields(event: RecordedEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in RecordedEvent.__match_args__ if not name.startswith("_")}


async def test_its_own_events_are_read_here_with_their_trace(rabbitmq_url: str, operator: AbstractChannel, node: Node) -> None:
    service = f"w{uuid.uuid4().hex[:8]}"
    exchange = await operator.declare_exchange(f"{service}.events", "topic", durable=True)
    queue = await operator.declare_queue(exclusive=True)
    await queue.bind(exchange, "warehouse.parcel_packed")
    packed = {"type": "warehouse.parcel_packed", "stream": "parcel-7", "data": {"order_id": "1", "weight": 2.5, "note": "Zoë"}}
    told = {"traceparent": TRACEPARENT, "tracestate": "w=1", "correlation_id": "c", "causation_id": "d", "schema_version": 2}
    told |= {"metadata": {"actor": "kim"}, "time": "2026-01-31T12:00:00.5Z", "id": str(UUID(int=7))}
    lines = [json.dumps(packed | {"version": 1}), json.dumps(packed | {"version": 2} | told)]
    ids = await asyncio.to_thread(node.run, "publish.js", rabbitmq_url, exchange.name, lines="\n".join(lines))
    first, second = [from_message(await queue.get(no_ack=True)) for _ in range(2)]
    assert [str(first.id), str(second.id)] == ids
    assert (first.service, first.stream, first.version, first.position) == (service, "parcel-7", 1, 0)
    assert (first.type, first.schema_version, json.loads(first.data)) == ("warehouse.parcel_packed", 1, packed["data"])
    assert first.metadata == Metadata(correlation_id=ids[0])
    assert (second.version, second.schema_version, second.recorded_at.isoformat()) == (2, 2, "2026-01-31T12:00:00.500000+00:00")
    assert second.metadata == Metadata(correlation_id="c", causation_id="d", actor="kim", traceparent=TRACEPARENT)
    assert json.loads(second.metadata_text)["tracestate"] == "w=1"


async def test_it_learns_that_no_queue_takes_its_event(rabbitmq_url: str, node: Node) -> None:
    line = json.dumps({"type": "warehouse.parcel_packed", "stream": "parcel-7", "version": 1, "data": {}})
    with pytest.raises(AssertionError, match=r"no queue takes warehouse\.parcel_packed"):
        await asyncio.to_thread(node.run, "publish.js", rabbitmq_url, f"w{uuid.uuid4().hex[:8]}.events", lines=line)


async def test_the_examples_of_the_document_run(rabbitmq_url: str, operator: AbstractChannel, node: Node, tmp_path: Path) -> None:
    consume, publish = re.findall(r"```js\n(.*?)```", (ROOT / "docs/messages.md").read_text(), re.DOTALL)
    (tmp_path / "consume.js").write_text(consume)
    (tmp_path / "publish.js").write_text(publish)
    exchange = await operator.declare_exchange("warehouse.events", "topic", durable=True)
    queue = await operator.declare_queue(exclusive=True)
    await queue.bind(exchange, "warehouse.*")
    (told,) = await asyncio.to_thread(node.run, str(tmp_path / "publish.js"), rabbitmq_url)
    event = from_message(await queue.get(no_ack=True))
    assert told == f"sent {event.id}"
    assert (event.service, event.stream, event.type) == ("warehouse", "parcel-7", "warehouse.parcel_packed")

    events = (await demo_log(tmp_path / "data"))[:3]
    export(ServiceMap(SERVICES), None, tmp_path)
    unknown = RecordedEvent(**{**_fields(events[0]), "type": "../asyncapi", "id": uuid.uuid4()})
    subscription = await _published(rabbitmq_url, [unknown, *events])
    with node.start(str(tmp_path / "consume.js"), rabbitmq_url, subscription.consumer, str(tmp_path / "schemas")) as process:
        try:
            assert process.stdout is not None
            lines = [await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 20) for _ in range(4)]
            await operator.default_exchange.publish(_retiring(subscription.consumer), subscription.consumer)
            assert await asyncio.wait_for(asyncio.to_thread(process.wait), 20) == 0
        finally:
            process.kill()
    assert lines[0].split() == ["set", "aside", str(unknown.id), "no", "such", "type"]
    for line, event in zip(lines[1:], events, strict=True):
        event_id, stream, version, data = line.split(" ", 3)
        assert (event_id, stream, int(version), json.loads(data)) == (
            str(event.id), event.stream, event.version, json.loads(event.data)
        )  # fmt: skip


def test_the_document_fits_the_official_schema_of_asyncapi(node: Node, tmp_path: Path) -> None:
    schema = json.loads((node.modules / "@asyncapi/specs/schemas/3.0.0-without-$id.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    export(ServiceMap(SERVICES), None, tmp_path)
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    validator.validate(document)
    operation = next(iter(document["operations"]))
    for broken in ({"asyncapi": "2.6.0"}, {"operations": {operation: {"action": "shout"}}}, {"channels": {"a": {"surprise": 1}}}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(document | broken)
