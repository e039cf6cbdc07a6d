"""A store of the first release, read by old and new code side by side; and what happens to events that code does not know (A15)."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from sagakit.consumer import Consumer
from sagakit.errors import UnreadableEvent
from sagakit.leadership import Leader
from sagakit.messages import NewEvent, RecordedEvent
from sagakit.patience import Patience
from sagakit.ports import Append
from sagakit.projection import Projection
from sagakit.projector import Projector
from sagakit.repository import Context
from sagakit.service import Service, ServiceMap
from sagakit.settings import load_settings
from sagakit.sql.tables import InboxRow, ParkedRow
from sagakit.system import OpenService, System
from tests.fixtures.make_first_release import FIRST_RELEASE, PARCELS
from tests.support import parcels_new, parcels_old
from tests.support.command_line import run_command
from tests.support.parcels_new import NEW
from tests.support.parcels_old import OLD


@pytest.fixture
def store(tmp_path: Path) -> Path:
    shutil.copy(FIRST_RELEASE, tmp_path / "parcels.db")
    return tmp_path


@asynccontextmanager
async def _open(folder: Path, services: ServiceMap) -> AsyncIterator[OpenService]:
    async with System(load_settings(data=folder), services) as system:
        yield await system.open("parcels")


async def _log(opened: OpenService) -> list[RecordedEvent]:
    return await opened.store.reader(0).read(10_000)


async def _project(opened: OpenService, services: ServiceMap, projection: type[Projection]) -> list[Any]:
    leader = Leader(opened.tables, f"projection {projection.name}", "test", 30)
    projector = Projector(projection(), opened.store, opened.tables, services.registry, leader, 0.01)
    running = asyncio.create_task(projector.run())
    async with asyncio.timeout(20):
        while leader.position < await opened.store.head() and not running.done():
            await asyncio.sleep(0.01)
    projector.stop()
    await running
    async with opened.tables.transaction() as session:
        return list((await session.exec(select(projection.table))).all())


async def _parked(opened: OpenService) -> list[ParkedRow]:
    async with opened.tables.transaction() as session:
        return list((await session.exec(select(ParkedRow).order_by(ParkedRow.consumer, ParkedRow.version))).all())


async def test_a_store_of_the_first_release_is_read_by_old_and_new_code_side_by_side(store: Path) -> None:
    async with _open(store, OLD) as old, _open(store, NEW) as new:
        log = await _log(new)
        assert {(event.type, event.schema_version) for event in log} == {("parcel.sent", 1), ("parcel.delivered", 1)}
        delivered = 0
        for number in range(PARCELS):
            before: Any = await old.repository.load(parcels_old.Parcel, f"p{number}")
            after: Any = await new.repository.load(parcels_new.Parcel, f"p{number}")
            assert before.version == after.version == len([e for e in log if e.stream == f"parcel-p{number}"])
            assert (after.recipient, after.pounds, after.express) == (before.to, before.pounds, False)
            assert (after.signed_by, after.stars) == (before.signed_by, before.stars)
            delivered += bool(before.signed_by)
        assert 0 < delivered < PARCELS
        rows_before = await _project(old, OLD, parcels_old.OldParcels)
        rows_after = await _project(new, NEW, parcels_new.NewParcels)
        assert {(r.parcel, r.to, r.stars) for r in rows_before} == {(r.parcel, r.recipient, r.stars) for r in rows_after}
        assert len(rows_after) == PARCELS
        assert sum(row.is_delivered for row in rows_after) == delivered
        assert await _parked(new) == []


async def test_new_code_goes_on_in_old_streams_and_old_code_says_what_it_cannot_read(store: Path) -> None:
    async with _open(store, OLD) as old, _open(store, NEW) as new:
        log = await _log(old)
        waiting = next(n for n in range(PARCELS) if len([event for event in log if event.stream == f"parcel-p{n}"]) == 1)
        deliver = parcels_new.DeliverParcel(parcel=f"p{waiting}", signed_by="Kim", stars=4)
        outcome = await new.repository.handle(parcels_new.Parcel, deliver, Context())
        assert (outcome.status, outcome.version) == ("done", 3)
        loaded: Any = await new.repository.load(parcels_new.Parcel, f"p{waiting}")
        assert (loaded.version, loaded.signed_by, loaded.stars) == (3, "Kim", 4)
        with pytest.raises(
            UnreadableEvent, match=rf"parcel.delivered 2 \(parcel-p{waiting} version 2, position \d+ of service parcels\)"
        ):
            await old.repository.load(parcels_old.Parcel, f"p{waiting}")


async def test_a_command_behind_a_split_event_expects_the_stored_version(store: Path) -> None:
    async with _open(store, NEW) as new:
        stream = next(event.stream for event in await _log(new) if event.version == 2)
        again = parcels_new.SendParcel(parcel=stream.partition("-")[2], recipient="Kim", pounds=1, express=True)
        outcome = await new.repository.handle(parcels_new.Parcel, again, Context())
        assert (outcome.status, outcome.version) == ("done", 3)
        assert [event.version for event in await new.store.load(stream)] == [1, 2, 3]


async def test_a_projector_parks_what_its_code_does_not_know_and_goes_on(store: Path) -> None:
    async with _open(store, NEW) as new:
        for parcel in ("n1", "n2"):
            await new.repository.handle(
                parcels_new.Parcel, parcels_new.SendParcel(parcel=parcel, recipient="Kim", pounds=1), Context()
            )
        await new.repository.handle(
            parcels_new.Parcel, parcels_new.DeliverParcel(parcel="n1", signed_by="Kim", stars=4), Context()
        )
    async with _open(store, OLD) as old:
        rows = await _project(old, OLD, parcels_old.OldParcels)
        assert len(rows) == PARCELS
        parked = await _parked(old)
        assert sorted((row.stream, row.version) for row in parked) == [
            ("parcel-n1", 1),
            ("parcel-n1", 2),
            ("parcel-n1", 3),
            ("parcel-n2", 1),
        ]
        assert "parcel.sent 3 (parcel-n1 version 1, position" in parked[0].reason
        # Also a type that the projection never named: a newer release may project it.
        assert {json.loads(row.message)["type"] for row in parked} == {"parcel.sent", "parcel.delivered", "parcel.rated"}


async def test_a_type_nobody_knows_is_parked_even_at_the_head_of_its_stream(store: Path) -> None:
    with closing(sqlite3.connect(store / "parcels.db")) as file:
        file.execute("update events set type = 'parcel.lost' where position = 1")
        file.commit()
    async with _open(store, OLD) as old:
        await _project(old, OLD, parcels_old.OldParcels)
        parked = await _parked(old)
        assert (parked[0].version, "there is no event called 'parcel.lost 1'" in parked[0].reason) == (1, True)


async def test_a_consumer_parks_what_its_code_does_not_know(store: Path) -> None:
    async with _open(store, OLD) as old:
        projection = parcels_old.OldParcels()

        async def effect(session: Any, event: RecordedEvent) -> None:
            await projection.apply(session, OLD.registry.decode_all(event), event)

        consumer = Consumer("remote", old.tables, Patience(1), effect=effect)
        first, second = (await _log(old))[:2]
        await consumer.handle([replace(first, schema_version=9)])
        (parked,) = await _parked(old)
        assert f"parcel.sent 9 ({first.stream} version 1, position {first.position} of service parcels)" in parked.reason
        if second.stream == first.stream:
            await consumer.handle([second])
            assert len(await _parked(old)) == 2


async def test_the_events_of_a_split_share_one_inbox_row_and_one_transaction(store: Path) -> None:
    async with _open(store, NEW) as new:
        projection = parcels_new.NewParcels()
        attempts: list[int] = []

        async def effect(session: Any, event: RecordedEvent) -> None:
            attempts.append(event.version)
            await projection.apply(session, NEW.registry.decode_all(event), event)
            await session.flush()
            if len(attempts) == 2:
                raise ValueError("both parts have to go back")

        consumer = Consumer("remote", new.tables, Patience(3), effect=effect)
        delivered = next(event for event in await _log(new) if event.type == "parcel.delivered")
        for event in await new.store.load(delivered.stream):
            await consumer.handle([event])
            await consumer.handle([event])
        async with new.tables.transaction() as session:
            (row,) = (await session.exec(select(parcels_new.NewParcelRow))).all()
            inbox = (await session.exec(select(InboxRow))).all()
        assert attempts == [1, 2, 2]
        assert (row.is_delivered, row.stars) == (True, json.loads(delivered.data)["stars"])
        assert len(inbox) == 2


def _verify(services: ServiceMap, *args: str) -> tuple[int, list[dict[str, Any]]]:
    code, output = run_command(services, "contracts", "verify", "--json", *args)
    return code, json.loads(output)


def test_verify_reads_every_stored_event_and_names_the_first_that_does_not_load(store: Path) -> None:
    path = store / "parcels.db"
    code, (result,) = _verify(NEW, "--store", str(path))
    total = result["read"]
    assert (code, result["failure"], result["upcast"]) == (0, None, total)
    assert total > PARCELS
    code, (result,) = _verify(OLD, "--store", str(path))
    assert (code, result["upcast"]) == (0, 0)
    without = ServiceMap([Service("parcels", aggregates=(parcels_new.Parcel,))])
    code, (result,) = _verify(without, "--store", str(path))
    assert (code, result["read"], result["failure"]["position"]) == (1, 0, 1)
    with closing(sqlite3.connect(path)) as file:
        file.execute(
            "update events set data = '{\"to\": 3}' where position = (select min(position) from events where position > 20 and type = 'parcel.sent')"
        )
        file.commit()
    code, (result,) = _verify(OLD, "--store", str(path))
    failure = result["failure"]
    assert (code, failure["type"], failure["schema_version"], failure["version"]) == (1, "parcel.sent", 1, 1)
    assert result["read"] == failure["position"] - 1 >= 20
    assert failure["stream"].startswith("parcel-p")
    assert "to: Input should be a valid string" in failure["why"]


async def _copy(log: list[RecordedEvent], url: str) -> None:
    async with System(load_settings(database=url), NEW) as system:
        target = (await system.open("parcels")).store
        for event in log:
            fields = {name: getattr(event, name) for name in NewEvent.__dataclass_fields__}
            await target.append(Append(event.stream, event.version - 1, (NewEvent(**fields),)))


def test_verify_reads_a_postgresql_store_by_its_url(store: Path, postgres_url: str) -> None:
    async def log() -> list[RecordedEvent]:
        async with _open(store, OLD) as old:
            return await _log(old)

    events = asyncio.run(log())
    run = uuid.uuid4().hex[:8]
    asyncio.run(_copy(events, f"{postgres_url}/t{run}_{{service}}"))
    code, (result,) = _verify(NEW, "--store", f"{postgres_url}/t{run}_parcels")
    assert (code, result["read"], result["upcast"], result["failure"]) == (0, len(events), len(events), None)
    without = ServiceMap([Service("parcels", aggregates=(parcels_new.Parcel,))])
    code, (result,) = _verify(without, "--store", f"{postgres_url}/t{run}_parcels")
    assert (code, result["failure"]["type"], result["failure"]["version"]) == (1, "parcel.sent", 1)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nowhere.db", 2, "there is no store"),
        ("empty.db", 1, "no such table: events"),
        ("text.db", 1, "file is not a database"),
        ("postgresql://h:port/x", 2, "URL is not like"),
    ],
)
def test_a_store_that_cannot_be_verified_is_refused(tmp_path: Path, name: str, code: int, says: str) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database, and long enough to be seen as none" * 10)
    path = name if "://" in name else str(tmp_path / name)
    exit_code, output = run_command(NEW, "contracts", "verify", "--store", path)
    assert (exit_code, says in output) == (code, True), output


def test_the_command_line_names_what_it_cannot_read(store: Path) -> None:
    without = ServiceMap([Service("parcels", aggregates=(parcels_new.Parcel,))])
    code, output = run_command(without, "--data", str(store), "show", "parcel", "p0")
    assert code == 1
    assert "parcel.sent 1 (parcel-p0 version 1, position 1 of service parcels) cannot be read" in output
