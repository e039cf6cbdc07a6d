"""What operators do about sagas, through the command line, on a real Temporal server (G4): each with who and why, kept for good."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.client import Client

from sagakit import telemetry
from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from sagakit.temporal import executions, watch
from sagakit.temporal.executions import Executions
from sagakit.temporal.plugin import connect
from sagakit.temporal.watch import SagaWatch
from tests.support.command_line import Said, ask
from tests.support.voyage import LEGS, VOYAGES, Embark, Permit, Tell
from tests.support.waiting import until

SERVICES = ServiceMap([VOYAGES, LEGS])
_DECIDED = ("--actor", "kim", "--reason", "the captain said so")


@dataclass
class Operator:
    """A person at the command line."""

    system: System
    client: Client
    runtime: Runtime

    async def says(self, *args: str, group: str = "sagas") -> Said:
        return await asyncio.to_thread(ask, SERVICES, "--data", str(self.system.settings.data), group, *args)

    async def of_the_log(self, stream: str) -> list[dict[str, Any]]:
        said = await self.says("--stream", stream, "--json", group="events")
        found: list[dict[str, Any]] = json.loads(said.stdout)
        return found

    async def does(self, *args: str) -> str:
        said = await self.says(*args)
        assert (said.code, said.stderr) == (0, ""), said
        return said.stdout

    async def refused(self, *args: str) -> str:
        return (await self.says(*args)).refusal()

    async def sees(self, saga: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.does("show", saga, "--json"))
        return found

    async def embarks(self, plan: str) -> str:
        voyage = uuid.uuid4().hex[:12]
        await self.sends(Embark(voyage=voyage, plan=plan))
        return f"voyage-saga/{voyage}"

    async def sends(self, command: Any) -> None:
        assert (await self.system.send(command, Context())).status == "done"

    async def awaits(self, saga: str, status: str) -> None:
        async def stands() -> bool:
            try:
                return (await Executions(self.client).look(saga)).status == status
            except InvalidInput:  # it has not begun
                return False

        await until(stands, f"{saga} to be {status}", 30)

    async def steps(self, saga: str) -> list[tuple[str, str]]:
        return [(step["name"], step["state"]) for step in (await self.sees(saga))["steps"]]

    async def decisions(self, saga: str) -> list[tuple[str, str, str, str]]:
        return [(d["action"], d["about"], d["actor"], d["reason"]) for d in (await self.sees(saga))["decisions"]]


@pytest.fixture
async def operator(tmp_path: Path, fresh_temporal: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", fresh_temporal)
    client = await connect(fresh_temporal, "default")
    async with System(load_settings(data=tmp_path), SERVICES) as system:
        runtime = Runtime(system, client)
        await runtime.start()
        yield Operator(system, client, runtime)
        await runtime.drain()


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """What an alarm would see of the parked sagas."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(telemetry.metrics, "get_meter", MeterProvider([reader]).get_meter)
    made = telemetry.parked_sagas.__wrapped__()
    monkeypatch.setattr(watch, "parked_sagas", lambda: made)
    return reader


def _parked(reader: InMemoryMetricReader) -> dict[str, float]:
    found = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
    metrics = found["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    (metric,) = [each for each in metrics if each["name"] == "sagakit.sagas.parked"]
    assert metric["unit"] == "{saga}"
    return {point["attributes"]["sagakit.saga"]: point["value"] for point in metric["data"]["data_points"]}


async def _alarm(reader: InMemoryMetricReader, looking: SagaWatch, count: int) -> None:
    async def is_shown() -> bool:
        await looking.look()
        return _parked(reader) == {"voyage-saga": count}

    await until(is_shown, f"{count} parked sagas in the gauge")


async def test_an_undo_that_is_refused_for_ever_is_alarmed_and_skipped_with_a_reason_g4_d3(
    operator: Operator, gauge: InMemoryMetricReader
) -> None:
    looking = SagaWatch(Executions(operator.client), ["voyage-saga"])
    await _alarm(gauge, looking, 0)
    saga = await operator.embarks("sticky refuse:pivot")
    await operator.awaits(saga, "parked")
    await _alarm(gauge, looking, 1)
    assert saga in await operator.does("list", "--status", "parked")
    refusal = f"parked: {saga.partition('/')[2]}-sticky-a cannot be given back"
    assert (await operator.steps(saga))[0] == ("book", refusal)

    assert await operator.does("retry", saga, "--actor", "lee", "--reason", "try again") == f"{saga}: retry: book\n"

    async def is_refused_again() -> bool:
        step = (await operator.sees(saga))["steps"][0]
        return (step["attempts"], step["state"]) == (2, refusal)

    await until(is_refused_again, "the second refusal")
    assert await operator.does("skip", saga, *_DECIDED) == f"{saga}: skip: book\n"
    await operator.awaits(saga, "compensated")
    assert (await operator.steps(saga))[0] == ("book", "left to a person"), "nobody undid it, and nobody is told so"
    assert await operator.decisions(saga) == [
        ("retry", "step 1, book", "lee", "try again"),
        ("skip", "step 1, book", "kim", "the captain said so"),
    ]
    shown = await operator.does("show", saga)
    assert ("decided by people" in shown, "lee" in shown, "the captain said so" in shown) == (True, True, True)
    kept = await operator.of_the_log(f"sagakit_saga-{saga}")
    assert [(event["type"], event["data"]["actor"], event["data"]["reason"]) for event in kept] == [
        ("sagakit.saga_decided", "lee", "try again"),
        ("sagakit.saga_decided", "kim", "the captain said so"),
    ]
    assert await operator.refused("retry", saga, *_DECIDED) == f"error: {saga} has ended: compensated"
    await _alarm(gauge, looking, 0)


async def test_every_other_decision_is_made_at_the_command_line_g4(operator: Operator) -> None:
    retried, supplied, completed = [await operator.embarks(plan) for plan in ("sticky refuse:pivot", *["refuse:after"] * 2)]
    answered, cancelled, resumed, undone = [await operator.embarks(plan) for plan in ("ask", *["news"] * 3)]
    for saga in (retried, supplied, completed):
        await operator.awaits(saga, "parked")
    await operator.sends(Permit(leg=f"{retried.partition('/')[2]}-sticky-a"))
    await operator.does("retry", retried, *_DECIDED)
    await operator.does("supply", supplied, "--result", '{"done": 1, "recorded": "leg-9@1"}', "--step", "3", *_DECIDED)
    await operator.does("complete", completed, *_DECIDED)
    await operator.awaits(answered, "asking")
    assert "asks: Sail at night? (sail | stay)" in await operator.does("show", answered)
    await operator.does("answer", answered, "stay", *_DECIDED)
    assert await operator.does("cancel", cancelled, *_DECIDED) == f"{cancelled}: cancelled\n"
    for saga in (resumed, undone):
        await operator.awaits(saga, "running")
        await operator.client.get_workflow_handle(saga).terminate("by mistake")
        await operator.awaits(saga, "parked (terminated)")
        refused = await operator.refused("cancel", saga, *_DECIDED)
        assert "has ended: parked (terminated); begin it anew with `sagas resume` or `sagas compensate`" in refused
    assert await operator.does("resume", resumed, *_DECIDED) == f"{resumed}: begun anew to resume\n"
    await operator.sends(Tell(voyage=resumed.partition("/")[2], news="fair"))
    assert await operator.does("compensate", undone, *_DECIDED) == f"{undone}: begun anew to compensate\n"
    for saga in (supplied, completed, resumed):
        await operator.awaits(saga, "completed")
    for saga in (retried, answered, cancelled, undone):
        await operator.awaits(saga, "compensated")
    ended = {
        retried: ("retry", "step 1, book"),
        supplied: ("supply", "step 3, book"),
        completed: ("complete", "step 3, book"),
        answered: ("answer stay", "Sail at night?"),
        cancelled: ("cancel", "voyage-saga"),
        resumed: ("resume", "a saga that ended without an outcome"),
        undone: ("compensate", "a saga that ended without an outcome"),
    }
    for saga, (action, about) in ended.items():
        assert await operator.decisions(saga) == [(action, about, "kim", "the captain said so")]


async def test_what_cannot_be_decided_is_one_clear_line_each(operator: Operator) -> None:
    saga = await operator.embarks("together sticky-pair refuse:pivot")
    await operator.awaits(saga, "parked")

    async def both_are() -> bool:
        return sum(state.startswith("parked") for _, state in await operator.steps(saga)) == 2

    await until(both_are, "both undos to be parked")
    skip, supply = ("skip", saga), ("supply", saga, *_DECIDED, "--step", "2")
    for args, says in {
        ("retry", "voyage-saga/nobody", *_DECIDED): "there is no saga 'voyage-saga/nobody'; `sagas list` names them",
        ("show", "voyage-saga/nobody"): "there is no saga 'voyage-saga/nobody'",
        (*skip, *_DECIDED): f"{saga}: several steps are parked, name one: 2, 3",
        (*skip, *_DECIDED, "--step", "9"): f"{saga}: step 9 is not parked; parked: 2, 3",
        (*skip, "--reason", " "): "a decision needs a reason: say --reason TEXT",
        (*skip, "--reason", "r", "--actor", ""): "a decision needs an actor: --actor is blank",
        (*skip, "--reason", "r" * 2_100_000, "--step", "2"): "Verdict has 2100066 bytes, and Temporal takes 2000000",
        supply: "supply needs the result: say either --done NUMBER or --result JSON",
        (*supply, "--done", "1", "--result", "{}"): "supply needs the result: say either --done NUMBER or --result JSON",
        (*supply, "--result", "{"): '--result is no result of a step, like {"done": 1}: it: Invalid JSON',
        (*supply, "--result", "[1]"): '--result is no result of a step, like {"done": 1}: it: Input should be an object',
        (*supply, "--result", '{"done": "1"}'): 'like {"done": 1}: done: Input should be a valid integer',
        (*supply, "--result", '{"done": 1, "x": 2}'): 'like {"done": 1}: x: Extra inputs are not permitted',
        (*supply, "--result", '{"done": 5}'): f"{saga}: step 2 has 1 command(s): 5 cannot have taken effect",
        (*supply, "--done", "5"): f"{saga}: step 2 has 1 command(s): 5 cannot have taken effect",
        ("answer", saga, "sail", *_DECIDED): f"{saga}: this saga asks nothing",
        ("resume", saga, *_DECIDED): f"{saga} has not ended without an outcome: it is parked",
    }.items():
        assert says in await operator.refused(*args), args
    assert await operator.decisions(saga) == [], "what was refused decided nothing"

    for number in ("2", "3"):
        await operator.does("skip", saga, *_DECIDED, "--step", number)
    await operator.awaits(saga, "compensated")
    for action in (("retry",), ("cancel",), ("supply", "--done", "1")):
        assert await operator.refused(action[0], saga, *action[1:], *_DECIDED) == f"error: {saga} has ended: compensated"
    asking, pivoted = await operator.embarks("ask"), await operator.embarks("refuse:after")
    await operator.awaits(asking, "asking")
    assert "'swim' is no answer; choose one of: sail, stay" in await operator.refused("answer", asking, "swim", *_DECIDED)
    assert f"{asking}: this saga is not parked: there is nothing to decide" in await operator.refused("skip", asking, *_DECIDED)
    await operator.awaits(pivoted, "parked")
    assert f"{pivoted}: the saga is behind its pivot" in await operator.refused("cancel", pivoted, *_DECIDED)


async def test_a_saga_whose_worker_is_away_is_said_to_be_silent(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = await operator.embarks("refuse:after")
    await operator.awaits(saga, "parked")
    await operator.runtime.drain()
    monkeypatch.setattr(executions, "_PATIENCE", timedelta(seconds=1))
    for command in (("show", saga), ("skip", saga, *_DECIDED)):
        refused = await operator.refused(*command)
        assert refused.startswith(f"error: {saga} does not answer: does a worker of its service run, of the build ")
