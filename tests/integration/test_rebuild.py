"""A rebuilt read model equals the live one; nothing is lost or applied twice around it (G3, G6, failures A12, A13)."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Field, SQLModel, delete, select, update

import sagakit.rebuild
from sagakit import Projection, Service, projects
from sagakit.cli.doctor import _standing
from sagakit.errors import InvalidInput, LeaseLost, StoreUnavailable
from sagakit.messages import Command
from sagakit.rebuild import Rebuilt, rebuild, resume
from sagakit.repository import Context
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.sql import consumers, pausing
from sagakit.sql.tables import CheckpointRow, HeadRow, InboxRow, ParkedRow
from sagakit.system import System
from tests.support.command_line import run_command
from tests.support.counted import Counted, CountedRow
from tests.support.echoes import WAREHOUSE, Answer, Answered, ParcelPacked, Valley
from tests.support.running import NO_CLIENT
from tests.support.shop import Add, Added, Counter, Gain, Gained, Hoard, Note
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class HeardRow(SQLModel, table=True):
    __tablename__ = "heard"
    place: str = Field(primary_key=True)
    category: str = Field(primary_key=True)
    events: int = 0
    order: str = ""


class Heard(Projection, name="heard", table=HeardRow):
    """Of two services: its own valleys over the log, the counters and hoards of the other over the bus."""

    async def _hear(self, session: Any, recorded: Any) -> None:
        category, _, place = recorded.stream.partition("-")
        row = await session.get(HeardRow, (place, category)) or HeardRow(place=place, category=category)
        row.events += 1
        row.order += f"{recorded.version} "
        session.add(row)

    @projects(Answered)
    async def _answered(self, session: Any, event: Answered, recorded: Any) -> None:
        await self._hear(session, recorded)

    @projects(Added)
    async def _added(self, session: Any, event: Added, recorded: Any) -> None:
        if event.amount == 99 and not Heard.is_cured:
            raise ValueError("poison")
        await self._hear(session, recorded)

    @projects(Gained)
    async def _gained(self, session: Any, event: Gained, recorded: Any) -> None:
        await self._hear(session, recorded)

    is_cured = False


SERVICES = ServiceMap(
    [
        Service("counting", aggregates=(Counter, Hoard), projections=(Counted,)),
        Service("valleys", aggregates=(Valley,), projections=(Heard,)),
    ]
)


@dataclass
class Place:
    """Where the databases are, so that a command line or another process finds them too."""

    folder: Path
    database: str

    def system(self) -> System:
        return System(load_settings(data=self.folder, database=self.database), SERVICES)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path, "sqlite")
    return Place(tmp_path, f"{request.getfixturevalue('postgres_url')}/b{uuid.uuid4().hex[:8]}_{{service}}")


@pytest.fixture
async def system(place: Place) -> AsyncIterator[System]:
    async with place.system() as system:
        yield system


@asynccontextmanager
async def _live(system: System) -> AsyncIterator[None]:
    runtime = Runtime(system, NO_CLIENT, roles=["relay", "consumers", "projections"])
    await runtime.start()
    try:
        yield
    finally:
        await runtime.drain()


def _load(count: int, seed: int = 1) -> list[Command]:
    draw = random.Random(seed)
    return [
        draw.choice(
            [
                Add(counter=f"c{draw.randrange(7)}", amount=draw.choice([0, 1])),
                Note(counter=f"c{draw.randrange(7)}", text="n"),
                Gain(hoard=f"h{draw.randrange(3)}", item="x"),
                Answer(valley=f"v{draw.randrange(4)}"),
            ]
        )
        for _ in range(count)
    ]


async def _send(system: System, commands: list[Command]) -> None:
    for command in commands:
        await system.send(command, Context())


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


async def _rows(system: System, service: str, table: type[SQLModel]) -> list[dict[str, Any]]:
    async with (await system.open(service)).tables.transaction() as session:
        rows = (await session.exec(select(table))).all()
    return sorted((row.model_dump() for row in rows), key=_key)


async def _orders(system: System) -> list[dict[str, Any]]:
    """What `Heard` must say, by the logs alone."""
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for service in ("counting", "valleys"):
        store = (await system.open(service)).store
        for event in await store.reader(0).read(100_000):
            if event.type in ("counter.added", "hoard.gained", "valley.answered"):
                category, _, name = event.stream.partition("-")
                row = expected.setdefault((name, category), {"place": name, "category": category, "events": 0, "order": ""})
                row["events"] += 1
                row["order"] += f"{event.version} "
    return sorted(expected.values(), key=_key)


async def _caught_up(system: System) -> bool:
    await asyncio.sleep(0.2)  # looking is dear: it reads both logs
    counting = await system.open("counting")
    async with counting.tables.transaction() as session:
        found = (await session.exec(select(CheckpointRow.position).where(CheckpointRow.name == "projection counted"))).first()
    return found == await counting.store.head() and await _rows(system, "valleys", HeardRow) == await _orders(system)


def _quiet(*_: int) -> None: ...


async def _rebuild(system: System, name: str, **options: bool) -> Rebuilt:
    return await rebuild(system, name, _quiet, **options)


async def test_a_rebuilt_read_model_equals_the_live_one_g6(system: System) -> None:
    async with _live(system):
        await _send(system, _load(120))
        await until(lambda: _caught_up(system), "the read models to be at the end")
        for service, name, table in (("counting", "counted", CountedRow), ("valleys", "heard", HeardRow)):
            before = await _rows(system, service, table)
            done = await _rebuild(system, name)
            assert (done.comparison.different, done.comparison.equal, done.rows) == (0, len(before), len(before))
            assert done.is_replaced
            assert await _rows(system, service, table) == before
        await _send(system, _load(30, seed=2))
        await until(lambda: _caught_up(system), "what came after the rebuild, once")


async def test_a_rebuild_while_events_arrive_loses_and_doubles_nothing_g6(system: System) -> None:
    async with _live(system):
        await _send(system, _load(90))
        sending = asyncio.create_task(_send(system, _load(100, seed=3)))
        for _ in range(3):
            for name in ("counted", "heard"):
                done = await _rebuild(system, name)
                assert done.comparison.different == 0
        assert not sending.done() or (await sending) is None
        await sending
        await until(lambda: _caught_up(system), "everything to arrive, once")
        done = await _rebuild(system, "counted", is_comparison=True)
        assert done.comparison.different == 0


async def test_what_the_read_model_has_not_handled_yet_is_no_drift_and_is_not_applied_twice_g6(system: System) -> None:
    async with _live(system):
        await _send(system, _load(60))
        await until(lambda: _caught_up(system), "the read models to be at the end")
    await _send(system, _load(60, seed=4))  # nobody is there to project them
    for name in ("counted", "heard"):
        done = await _rebuild(system, name)
        assert done.comparison.different == 0
    assert await _rows(system, "valleys", HeardRow) == await _orders(system)
    async with _live(system):
        await _send(system, _load(10, seed=5))
        await until(lambda: _caught_up(system), "what came after the rebuild, once")


async def test_a_planted_drift_is_named_g6(system: System, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _live(system):
        await _send(system, _load(90))
        await until(lambda: _caught_up(system), "the read models to be at the end")
    right = await _rows(system, "valleys", HeardRow)
    async with (await system.open("valleys")).tables.transaction() as session:
        await session.exec(update(HeardRow).where(HeardRow.place == "v1").values(events=1000))
        gone = await session.get(HeardRow, ("h1", "hoard"))
        await session.delete(gone)
        session.add(HeardRow(place="ghost", category="counter", events=1))
    wrong = await _rows(system, "valleys", HeardRow)
    done = await _rebuild(system, "heard", is_comparison=True)
    named = {(each.key["place"], each.what) for each in done.comparison.named}
    assert named == {("v1", "differs"), ("h1", "missing"), ("ghost", "extra")}
    assert done.comparison.different == 3
    (columns,) = [each.columns for each in done.comparison.named if each.what == "differs"]
    assert columns == {"events": (1000, next(row["events"] for row in right if row["place"] == "v1"))}
    assert await _rows(system, "valleys", HeardRow) == wrong, "comparing changes nothing"
    monkeypatch.setenv("SAGAKIT_DATABASE", place.database)

    def run(*args: str) -> tuple[int, str]:
        return run_command(SERVICES, "--data", str(place.folder), "projections", *args)

    code, said = await asyncio.to_thread(run, "rebuild", "heard", "--compare-only", "--json")
    assert (code, json.loads(said)["different"], json.loads(said)["is_replaced"]) == (1, 3, False)
    code, said = await asyncio.to_thread(run, "rebuild", "heard")
    assert code == 1
    assert "ghost" in said
    assert "events: 1000 ->" in said
    assert await _rows(system, "valleys", HeardRow) == right
    code, said = await asyncio.to_thread(run, "rebuild", "heard", "--json")
    assert (code, json.loads(said)["different"]) == (0, 0)
    code, said = await asyncio.to_thread(run, "list", "--json")
    assert [(each["name"], each["held_by"], each["parked"]) for each in json.loads(said)] == [
        ("counted", None, 0),
        ("heard", None, 0),
    ]


async def test_a_rebuild_accepts_a_difference_that_is_expected(
    system: System, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAKIT_DATABASE", place.database)
    async with (await system.open("valleys")).tables.transaction() as session:
        session.add(HeardRow(place="ghost", category="counter", events=1))
    args = ("--data", str(place.folder), "projections", "rebuild", "heard", "--accept")
    code, _ = await asyncio.to_thread(run_command, SERVICES, *args)
    assert code == 0
    assert await _rows(system, "valleys", HeardRow) == []


async def test_what_was_parked_is_applied_or_parked_anew_g5(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _live(system):
        await _send(
            system,
            [
                Add(counter="a", amount=99),
                Add(counter="a", amount=1),
                Add(counter="b", amount=1),
                Note(counter="n", text="poison"),
            ],
        )
        valleys = await system.open("valleys")

        async def parked() -> int:
            async with valleys.tables.transaction() as session:
                return len((await session.exec(select(ParkedRow))).all())

        async def are_parked() -> bool:
            return await parked() == 2

        await until(are_parked, "the poison and what is behind it to be parked", 60)
        done = await _rebuild(system, "heard")
        assert (done.parked, done.comparison.different) == (2, 0)
        assert await parked() == 2
        done = await _rebuild(system, "counted")
        assert (done.parked, done.comparison.different) == (1, 0)
        monkeypatch.setattr(Heard, "is_cured", True)
        done = await _rebuild(system, "heard")
        assert (done.parked, done.comparison.different) == (0, 0)
        assert await parked() == 0
        await _send(system, [Add(counter="b", amount=1)])

        async def is_right() -> bool:
            return await _rows(system, "valleys", HeardRow) == await _orders(system)

        await until(is_right, "the cured counter, and what came after, once")


async def test_an_effect_that_the_bus_lost_comes_back_g6(system: System) -> None:
    """A consumer's inbox and rows are gone, as after a restore of its database alone: the logs have it all."""
    async with _live(system):
        await _send(system, _load(60))
        await until(lambda: _caught_up(system), "the read models to be at the end")
    async with (await system.open("valleys")).tables.transaction() as session:
        for table in (InboxRow, HeadRow):
            await session.exec(delete(table))
    done = await _rebuild(system, "heard")
    assert done.comparison.different > 0
    assert await _rows(system, "valleys", HeardRow) == await _orders(system)


async def test_killed_in_the_middle_it_stays_held_and_a_second_one_ends_well_g6(system: System, place: Place) -> None:
    async with _live(system):
        await _send(system, _load(160))
        await until(lambda: _caught_up(system), "the read models to be at the end")
        before = await _rows(system, "counting", CountedRow)
        command = [sys.executable, "-m", "tests.support.rebuilding", place.database, str(place.folder)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert line == "half way\n"
            process.send_signal(signal.SIGKILL)
        assert await _rows(system, "counting", CountedRow) == before, "queries go on reading the rows of before"
        await _send(system, [Add(counter="late", amount=1)])
        opened = await system.open("counting")
        async with opened.tables.transaction() as session:
            (holder,) = await pausing.holders(session, ["counted"])
        assert holder.startswith("rebuild ")
        await asyncio.sleep(0.5)  # long enough for a projector that is not held still
        assert await _rows(system, "counting", CountedRow) == before
        done = await _rebuild(system, "counted")
        assert done.comparison.different == 0
        await until(lambda: _caught_up(system), "the late one")
        assert any(row["counter"] == "counter-late" for row in await _rows(system, "counting", CountedRow))


async def test_a_person_may_give_up_and_resume(system: System) -> None:
    async with _live(system):
        await _send(system, _load(20))
        await until(lambda: _caught_up(system), "the read models to be at the end")
        async with (await system.open("counting")).tables.transaction() as session:
            await consumers.pause(session, "counted", "rebuild of a process that is dead")
        wrong = [detail for _, state, detail in await _standing(await system.open("counting"), None) if state == "wrong"]
        assert wrong == [
            (
                "counted is held still by rebuild of a process that is dead; "
                "if that has ended, `projections rebuild` again, or `projections resume`"
            )
        ]
        await _send(system, [Add(counter="late", amount=1)])
        assert await resume(system, "counted")
        assert not await resume(system, "counted")
        await until(lambda: _caught_up(system), "the late one")


async def test_the_second_of_two_rebuilders_wins_and_the_first_changes_nothing_a12(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sagakit.rebuild, "_BATCH", 10)
    await _send(system, _load(100))
    await _rebuild(system, "counted")  # from here on all of it counts as handled
    original, asked, second = sagakit.rebuild._Work._handled, [], []

    async def handled(work: Any, batch: Any) -> set[str]:
        asked.append(work)
        if len(asked) == 3:  # the first is half way
            second.append(await _rebuild(system, "counted"))
        return await original(work, batch)

    monkeypatch.setattr(sagakit.rebuild._Work, "_handled", handled)
    with pytest.raises(LeaseLost, match="took over"):
        await _rebuild(system, "counted")
    assert second[0].is_replaced
    assert (await _rebuild(system, "counted")).comparison.different == 0
    async with (await system.open("counting")).tables.transaction() as session:
        assert await pausing.holders(session, ["counted"]) == set()


async def test_an_error_lets_it_go_on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await _send(system, _load(20))
    opened = await system.open("counting")

    async def away() -> int:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr("sagakit.refeed.read_to_head", lambda *_: _broken())
        with pytest.raises(StoreUnavailable):
            await _rebuild(system, "counted")
    async with opened.tables.transaction() as session:
        assert await pausing.holders(session, ["counted"]) == set()
        await consumers.pause(session, "counted", "ann, who counts by hand")
    with pytest.raises(InvalidInput, match="paused by ann"):
        await _rebuild(system, "counted")


async def _broken() -> AsyncIterator[Any]:
    raise StoreUnavailable("away")
    yield


async def test_what_a_foreign_service_feeds_cannot_be_rebuilt(tmp_path: Path) -> None:
    class Packed(Projection, name="packed", table=HeardRow):
        @projects(ParcelPacked)
        async def _packed(self, session: Any, event: ParcelPacked, recorded: Any) -> None: ...

    services = ServiceMap([WAREHOUSE, Service("valleys", aggregates=(Valley,), projections=(Packed,))])
    async with System(load_settings(data=tmp_path), services) as system:
        with pytest.raises(InvalidInput, match="fed by warehouse, a foreign service"):
            await _rebuild(system, "packed")
