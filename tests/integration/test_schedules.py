"""Schedules on a real Temporal server: each scheduled time leads to one event in the log, and that to one saga (G1, G3)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, ScheduleDescription

from sagakit import Command, Service, schedule
from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.service import ServiceMap
from sagakit.steps import CORRELATION_ID, SAGA_STATUS, SagaResult
from sagakit.system import System
from sagakit.temporal.keyring import new_key
from sagakit.temporal.plugin import connect
from sagakit.temporal.scheduling import Schedules
from sagakit.testing import rehearsing
from tests.support.command_line import Said, ask
from tests.support.ledger import LEDGER, BeginDay, DayBegun, DaySaga, each_day
from tests.support.running import running
from tests.support.waiting import until

_DAYS = [f"2026-03-{day}" for day in range(25, 32)] + [f"2026-04-0{day}" for day in range(1, 4)]
_SPAN = ("--from", "2026-03-25", "--to", "2026-04-03T23:00+02:00")
_DECIDED = ("--actor", "kim", "--reason", "the books were away")


@pytest.fixture
async def client(fresh_temporal: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("TEMPORAL_ADDRESS", fresh_temporal)
    return await connect(fresh_temporal, "default")


async def _says(folder: Path, *args: str) -> Said:
    return await asyncio.to_thread(ask, ServiceMap([LEDGER]), "--data", str(folder), *args)


async def _does(folder: Path, *args: str) -> str:
    said = await _says(folder, *args)
    assert (said.code, said.stderr) == (0, ""), said
    return said.stdout


async def _events(system: System, event_type: str) -> list[RecordedEvent]:
    reader = (await system.open("ledger")).store.reader(0)
    return [event for event in await reader.read(1000) if event.type == event_type]


async def _described(client: Client, name: str = "ledger.schedule.each_day") -> ScheduleDescription:
    return await client.get_schedule_handle(name).describe()


async def test_ten_days_are_gone_through_once_each_even_if_asked_twice_g1_g3(tmp_path: Path, client: Client) -> None:
    """The span holds the day on which the clock is set: by the zone's own dates it is ten days, each with its own date."""
    async with running([LEDGER], tmp_path, client=client) as system:
        await _does(tmp_path, "sagas", "schedules", "backfill", "ledger.each_day", *_SPAN, *_DECIDED)

        async def ran(count: int) -> bool:
            return len(await _closed_runs(client)) == count

        async def all_closed() -> bool:
            return len(await _events(system, "day.closed")) == len(_DAYS)

        await until(all_closed, "ten days to be closed", 60)
        await until(lambda: ran(10), "ten runs of the schedule", 30)
        await _does(tmp_path, "sagas", "schedules", "backfill", "ledger.each_day", *_SPAN, *_DECIDED)
        await until(lambda: ran(20), "the ten times to be gone through again", 60)

        begun = await _events(system, "day.begun")
        assert sorted(event.aggregate_id for event in begun) == _DAYS
        assert [event.aggregate_id for event in begun] == _DAYS, "in their order"
        assert len(await _events(system, "day.closed")) == len(_DAYS)
        assert {event.metadata.actor for event in begun} == {"schedule each_day"}
        hours = [json.loads(event.data)["closes_at"] for event in begun]
        assert (hours[0], hours[-1]) == ("2026-03-25T18:00:00+01:00", "2026-04-03T18:00:00+02:00")
        for event in begun:
            saga = client.get_workflow_handle(f"day-saga/{event.aggregate_id}", result_type=SagaResult)
            described = await saga.describe()
            assert (await saga.result()).status == described.typed_search_attributes.get(SAGA_STATUS) == "completed"
            assert described.typed_search_attributes.get(CORRELATION_ID) == event.metadata.correlation_id
            assert event.metadata.correlation_id.startswith("each_day/2026-0")
        sagas = [found.id async for found in client.list_workflows("WorkflowType = 'DaySaga'")]
        assert sorted(sagas) == [f"day-saga/{day}" for day in _DAYS]


async def _closed_runs(client: Client) -> list[str]:
    query = "WorkflowType = 'sagakit_scheduled_command' and ExecutionStatus = 'Completed'"
    return [found.id async for found in client.list_workflows(query)]


async def test_people_look_at_a_schedule_hold_it_and_let_it_run(tmp_path: Path, client: Client) -> None:
    async with running([LEDGER], tmp_path, client=client) as system:
        asked = ("sagas", "schedules")
        (row,) = json.loads(await _does(tmp_path, *asked, "--json"))
        assert (row["schedule"], row["when"], row["paused"]) == ("ledger.each_day", "30 6 * * * (Europe/Brussels)", False)
        assert [datetime.fromisoformat(at) - datetime.now(UTC) < timedelta(days=4) for at in row["next"]] == [True] * 3
        assert await _does(tmp_path, *asked, "pause", "ledger.each_day", *_DECIDED) == "ledger.each_day: pause\n"
        (row,) = json.loads(await _does(tmp_path, *asked, "--json"))
        assert (row["paused"], row["note"]) == (True, "paused by kim: the books were away")

        await Schedules(client).declare(LEDGER)
        assert (await _described(client)).schedule.state.paused, "a worker that starts lets it be"
        await _does(tmp_path, *asked, "resume", "ledger.each_day", *_DECIDED)
        assert not (await _described(client)).schedule.state.paused
        await _does(tmp_path, *asked, "trigger", "ledger.each_day", *_DECIDED)

        async def has_begun() -> bool:
            return len(await _events(system, "day.begun")) == 1

        await until(has_begun, "the day of the trigger", 30)
        assert "resumed by kim" in await _does(tmp_path, *asked)
        kept = json.loads(await _does(tmp_path, "events", "--stream", "sagakit_saga-ledger.schedule.each_day", "--json"))
        assert [(event["data"]["action"], event["data"]["actor"]) for event in kept] == [
            (action, "kim") for action in ("pause", "resume", "trigger")
        ]
        day = ("ledger.each_day", *_DECIDED)
        for args, says in {
            ("pause", "ledger.each_day"): "a decision needs a reason: say --reason TEXT",
            ("pause", "ledger", *_DECIDED): "'ledger' names no schedule: expected <service>.<schedule>",
            ("trigger", "ledger.weekly", *_DECIDED): "service ledger has no schedule 'weekly'; known: each_day",
            ("trigger", "sales.weekly", *_DECIDED): "there is no service 'sales'",
            ("backfill", *day, "--from", "soon", "--to", "2026-01-01"): "--from 'soon' is no time",
            ("backfill", *day, "--from", "2026-01-02", "--to", "2026-01-01"): "is no span that has passed",
            ("backfill", *day, "--from", "2026-01-02", "--to", "9000-01-01"): "is no span that has passed",
        }.items():
            assert says in (await _says(tmp_path, *asked, *args)).refusal()


async def test_a_worker_that_starts_declares_what_the_code_says_and_changes_nothing_else(client: Client) -> None:
    schedules = Schedules(client)
    with pytest.raises(InvalidInput, match="each_day is not triggered: no worker of its service has declared it yet"):
        await schedules.trigger(LEDGER, "each_day")
    await asyncio.gather(*(schedules.declare(LEDGER) for _ in range(4)))
    first = await _described(client)
    await schedules.declare(LEDGER)
    again = await _described(client)
    assert (first.info.last_updated_at, again.info.last_updated_at) == (None, None), "nothing was different"

    hourly = dataclasses.replace(each_day, cron=None, every=timedelta(hours=1), time_zone="UTC")
    await schedules.declare(dataclasses.replace(LEDGER, schedules=(hourly,)))
    changed = await _described(client)
    assert changed.schedule.spec.intervals[0].every == timedelta(hours=1)
    updated = changed.info.last_updated_at
    assert updated is not None
    await schedules.declare(dataclasses.replace(LEDGER, schedules=(hourly,)))
    assert (await _described(client)).info.last_updated_at == updated
    await schedules.declare(Service("ledgers", schedules=()))
    other = dataclasses.replace(each_day, name="other")

    async def is_replaced() -> bool:  # the server's list may lag behind
        await schedules.declare(dataclasses.replace(LEDGER, schedules=(other,)))
        return [found.id async for found in await client.list_schedules()] == ["ledger.schedule.other"]

    await until(is_replaced, "the schedule that is gone from the code to be gone")
    impossible = dataclasses.replace(each_day, cron="30 6 31 2 *", time_zone="Mars/Olympus")
    with pytest.raises(InvalidInput, match=r"the schedules of ledger could not be declared: .*unknown time zone"):
        await schedules.declare(dataclasses.replace(LEDGER, schedules=(impossible,)))


@pytest.mark.parametrize("keys", [None, new_key("k1")], ids=["plain", "encrypted"])
async def test_time_itself_starts_sagas(tmp_path: Path, fresh_temporal: str, keys: str | None) -> None:
    began = datetime.now(UTC)

    @schedule(every=timedelta(seconds=1), name="each_second")
    def each_second(at: datetime) -> Command:
        return BeginDay(day=f"{at:%H-%M-%S}", closes_at=at)

    ledger = dataclasses.replace(LEDGER, schedules=(each_second,))
    client = await connect(fresh_temporal, "default", keys)
    async with running([ledger], tmp_path, client=client) as system:

        async def two_are_closed() -> bool:
            return len(await _events(system, "day.closed")) >= 2

        await until(two_are_closed, "two seconds of sagas", 30)
        begun = await _events(system, "day.begun")
        times = [datetime.fromisoformat(event.metadata.correlation_id.partition("/")[2]) for event in begun]
        assert [time.microsecond for time in times] == [0] * len(times)
        assert all(began - timedelta(seconds=1) < time <= event.recorded_at for time, event in zip(times, begun, strict=True))
        assert len(set(times)) == len(times)


async def test_the_saga_of_a_day_takes_its_real_time(temporal_binary: Path) -> None:
    async with rehearsing([LEDGER], temporal_binary) as stage:
        evening = datetime.now(UTC) + timedelta(hours=11, minutes=30)
        played = await stage.play(DaySaga, DayBegun(day="2026-03-25", closes_at=evening))
        assert (played.status, [call.command for call in played.calls]) == ("completed", ["close_day"])
        too_late = await stage.play(DaySaga, DayBegun(day="2026-03-26", closes_at=evening + timedelta(hours=12)))
        assert (too_late.status, too_late.reason) == ("compensated", "cancelled by its deadline of 20:00:00")
        assert too_late.calls == ()
