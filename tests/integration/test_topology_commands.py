"""`topology show`, `check` and `apply` as a person meets them: what is drawn, what differs, and what repairs it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sagakit import Service
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.topology import QUEUE_ARGUMENTS, layout
from sagakit.service import ServiceMap
from tests.support.bus_load import Receiver, make_event
from tests.support.command_line import run_command
from tests.support.readers import There
from tests.support.shop import Counter, Hoard
from tests.support.waiting import until


class Operator:
    """Works at the command line of services whose consumer nobody else has."""

    def __init__(self) -> None:
        reading = Service(f"reading{uuid.uuid4().hex[:8]}", projections=(There,))
        self.services = ServiceMap([Service("counting", aggregates=(Counter, Hoard)), reading])
        (self.subscription,) = self.services.subscriptions()
        self.layout = layout(self.subscription)

    async def say(self, *args: str) -> tuple[int, str]:
        code, output = await asyncio.to_thread(run_command, self.services, "topology", *args)
        return code, " ".join(output.split())

    async def differences(self) -> set[tuple[str, str, bool]]:
        code, output = await asyncio.to_thread(run_command, self.services, "topology", "check", "--json")
        found = json.loads(output)
        assert code == (1 if found else 0)
        return {(one["what"], one["problem"], one["is_reparable"]) for one in found}

    async def drawn(self) -> dict[str, Any]:
        _, output = await asyncio.to_thread(run_command, self.services, "topology", "show", "--json")
        (found,) = json.loads(output)["subscriptions"]
        return dict(found)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rabbitmq_url: str) -> Operator:
    monkeypatch.setenv("SAGAKIT_DATA", str(tmp_path))
    monkeypatch.setenv("SAGAKIT_BUS", rabbitmq_url)
    return Operator()


@pytest.fixture
async def bus(rabbitmq_url: str) -> AsyncIterator[RabbitBus]:
    rabbit = RabbitBus(rabbitmq_url, 5, 50)
    yield rabbit
    await rabbit.close()


async def test_what_is_missing_is_named_and_applied_and_then_only_the_consumer_is_missing(
    operator: Operator, bus: RabbitBus
) -> None:
    (queue,) = operator.layout.queues
    assert await operator.differences() == {
        ("subscription in counting", "not recorded", True),
        (f"exchange {operator.layout.exchange}", "missing", True),
        (f"queue {queue}", "missing", True),
    }
    code, told = await operator.say("check")
    assert (code, "topology apply" in told) == (1, True)
    assert await operator.say("apply") == (0, "1 subscriptions recorded and declared")
    assert await operator.differences() == {(f"queue {queue}", "no consumer", False)}
    receiver = Receiver()
    stop = await bus.consume(operator.subscription, receiver.handle)
    assert await operator.differences() == set()
    code, told = await operator.say("check")
    assert code == 0
    assert told.startswith("everything is as declared")
    await stop()


async def test_it_is_drawn_with_what_waits_and_who_consumes(operator: Operator, bus: RabbitBus) -> None:
    (queue,) = operator.layout.queues
    await operator.say("apply")
    events = [make_event("counting", "counter-a", version, version) for version in (1, 2, 3)]
    assert await bus.publish(operator.subscription, events) == [None] * 3
    await until(lambda: _waits(operator, 3), "the queue to tell its length")
    drawn = await operator.drawn()
    assert (drawn["producer"], drawn["events"]) == ("counting", ["counter.added"])
    assert drawn["queues"] == [{"name": queue, "binding": drawn["queues"][0]["binding"], "messages": 3, "consumers": 0}]
    code, told = await operator.say("show")
    assert code == 0
    assert "refused without a table to keep it: sagakit.dead" in told
    code, told = await operator.say("show", "--mermaid")
    assert told.startswith("flowchart LR")
    assert f"{queue}<br/>3 waiting, 0 consuming" in told


async def test_another_number_of_partitions_and_other_arguments_are_told_apart(
    operator: Operator, bus: RabbitBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue,) = operator.layout.queues
    await operator.say("apply")
    monkeypatch.setenv("SAGAKIT_PARTITIONS", json.dumps({operator.subscription.consumer: 2}))
    assert ("subscription in counting", "recorded with 1 partitions, set are 2", True) in await operator.differences()
    monkeypatch.delenv("SAGAKIT_PARTITIONS")
    await _declare_otherwise(bus, operator.subscription)
    found = await operator.differences()
    ((problem, is_reparable),) = [(problem, mends) for what, problem, mends in found if what == f"queue {queue}"]
    assert problem.startswith("declared otherwise")
    assert "x-delivery-limit" in problem
    assert not is_reparable


async def test_without_a_broker_it_is_drawn_and_says_so(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAKIT_BUS", "amqp://guest:guest@127.0.0.1:1/")
    code, told = await operator.say("show")
    assert code == 0
    assert "without live counts: RabbitMQ does not answer" in told
    for command in ("check", "apply"):
        code, told = await operator.say(command)
        assert (code, "RabbitMQ does not answer" in told, "Traceback" in told) == (1, True, False)
    monkeypatch.delenv("SAGAKIT_BUS")
    for command in ("check", "apply"):
        assert await operator.say(command) == (2, "error: the in-process bus has no queues: set SAGAKIT_BUS to an AMQP URL")


async def _waits(operator: Operator, messages: int) -> bool:
    return bool((await operator.drawn())["queues"][0]["messages"] == messages)


async def _declare_otherwise(bus: RabbitBus, subscription: Subscription) -> None:
    channel = await bus._asking.channel()
    (name,) = layout(subscription).queues
    await channel.queue_delete(name)
    await channel.declare_queue(name, durable=True, arguments=QUEUE_ARGUMENTS | {"x-delivery-limit": 7})
    await channel.close()
