"""`parked`: what a person sees and decides about, from the command line, for every kind of consumer (G5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from sagakit.consumer import Consumer
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.ports import Append
from sagakit.projector import Projector
from sagakit.sql import parking
from sagakit.sql.tables import ParkedActionRow
from sagakit.system import OpenService
from tests.support.command_line import run_command
from tests.support.counted import Counted, CountedRow
from tests.support.deliveries import Summing, event, events, exhaust, orders, waiting
from tests.support.shop import SERVICES, added
from tests.support.stores import open_counting
from tests.support.waiting import until


@dataclass
class Place:
    opened: OpenService
    folder: Path

    async def run(self, *args: str, code: int = 0) -> Any:
        """Run a command, as an operator beside the running consumers; a list is read as JSON."""
        got, output = await asyncio.to_thread(run_command, SERVICES, "--data", str(self.folder), "parked", *args)
        assert got == code, output
        return json.loads(output) if "--json" in args else " ".join(output.split())


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as opened:
        if url is not None:
            monkeypatch.setenv("SAGAKIT_DATABASE", opened.store._url.replace("_counting", "_{service}"))
        await opened.tables.create([CountedRow])
        yield Place(opened, tmp_path)


def _consumer(place: Place, effect: Any, name: str = "counting.projection.sums") -> Consumer:
    return Consumer(name, place.opened.tables, Patience(1), effect=effect)


@asynccontextmanager
async def _running(*loops: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield
    finally:
        for loop in loops:
            loop.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def test_list_show_and_retry_a_parked_stream_with_its_followers_g5(place: Place) -> None:
    effect, batch = Summing(("counter-a", 2)), events("counter-a", 4)
    consumer = _consumer(place, effect)
    await consumer.handle([*batch, *events("counter-b", 2)])
    (row,) = await place.run("list", "--json")
    assert {name: row[name] for name in ("service", "consumer", "stream", "version", "state", "behind", "attempts", "reason")} == {
        "service": "counting", "consumer": "counting.projection.sums", "stream": "counter-a", "version": 2,
        "state": "parked", "behind": 2, "attempts": 1, "reason": "ValueError: poison",
    }  # fmt: skip
    assert await place.run("list", "--json", "--consumer", "nobody") == []
    assert "1 streams wait" in await place.run("list", "--service", "counting")
    bad = row["event_id"]
    refusal = await place.run("retry", consumer.name, str(batch[2].id), "--reason", "why", code=2)
    assert f"counter-a version 3 waits behind version 2: retry or drop {bad} first" in refusal
    effect.poison.clear()
    await place.run("retry", consumer.name, bad, "--reason", "fixed in release 7", "--actor", "kim")
    shown = await place.run("show", consumer.name, bad, "--json")
    assert (shown["state"], shown["message"]["stream"], shown["original"]) == ("retrying", "counter-a", None)
    assert [(a["action"], a["actor"], a["reason"]) for a in shown["actions"]] == [("retry", "kim", "fixed in release 7")]
    async with _running(consumer.retrier):
        await until(lambda: _is_empty(place), "the stream to be released")
    assert await orders(place.opened) == {"counter-a": "1 2 3 4", "counter-b": "1 2"}


async def _is_empty(place: Place) -> bool:
    return not await waiting(place.opened)


async def test_edit_keeps_the_original_and_refuses_what_does_not_load(place: Place) -> None:
    seen: list[int] = []

    async def effect(_session: Any, event: RecordedEvent) -> None:
        (loaded,) = SERVICES.registry.decode_all(event)
        seen.append(loaded.amount)

    wrong = replace(event("counter-a", 1), data='{"amount": "many"}')
    consumer = _consumer(place, effect)
    await consumer.handle([wrong, event("counter-a", 2)])
    at = (consumer.name, str(wrong.id), "--reason", "the producer wrote a word")
    assert "--data is not JSON" in await place.run("edit", *at, "--data", "{", code=2)
    refusal = await place.run("edit", *at, "--data", '{"amount": "few"}', code=2)
    assert "the new data does not load: counter.added 1" in refusal
    for amount in (6, 7):
        await place.run("edit", *at, "--data", json.dumps({"amount": amount}))
    shown = await place.run("show", consumer.name, str(wrong.id), "--json")
    assert (json.loads(shown["message"]["data"]), json.loads(shown["original"]["data"])) == ({"amount": 7}, {"amount": "many"})
    assert shown["state"] == "parked"
    await place.run("retry-all", "--reason", "edited", "--consumer", consumer.name)
    await exhaust(consumer)
    assert (seen, await waiting(place.opened)) == ([7, 2], [])
    async with place.opened.tables.transaction() as session:
        noted = (await session.exec(select(ParkedActionRow).order_by(ParkedActionRow.id))).all()
    assert [row.action for row in noted] == ["edit", "edit", "retry"]
    assert [json.loads(json.loads(row.message)["data"]) for row in noted] == [{"amount": "many"}, {"amount": 6}, {"amount": 7}]
    assert all(row.actor for row in noted), "without --actor it is the login"


async def test_drop_releases_the_followers_and_is_written_down(place: Place) -> None:
    consumer, batch = _consumer(place, Summing(("counter-a", 1))), events("counter-a", 3)
    await consumer.handle(batch)
    await place.run("drop", consumer.name, str(batch[0].id), "--reason", "a test order", "--actor", "kim")
    async with _running(consumer.retrier):
        await until(lambda: _is_empty(place), "the followers")
    assert await orders(place.opened) == {"counter-a": "2 3"}
    answer = await place.run("drop", consumer.name, str(batch[0].id), "--reason", "again", code=2)
    assert "nothing waits at a consumer" in answer


async def test_own_projections_and_feeds_are_decided_about_in_the_same_way_g5(place: Place) -> None:
    opened, feed = place.opened, "subscription elsewhere.saga.x"
    poison = Poisoned()
    leader = Leader(opened.tables, "projection counted", "one", 30)
    projector = Projector(poison, opened.store, opened.tables, SERVICES.registry, leader, 0.02, Patience(1))
    await opened.store.append(Append("counter-a", 0, tuple(added(n) for n in (1, 2, 3))))
    unsendable = event("counter-f", 1)
    async with opened.tables.transaction() as session:
        await parking.set_aside(session, feed, unsendable, "too large", "parked")
        assert await parking.standing(session, feed, event("counter-f", 2)) == "behind"
    async with _running(projector, projector.retrier):
        await until(lambda: _has(place, "counter-a"), "the projection's poison")
        rows = {row["consumer"]: row for row in await place.run("list", "--json")}
        assert {name: row["stream"] for name, row in rows.items()} == {"counted": "counter-a", feed: "counter-f"}
        poison.is_healed = True
        await place.run("retry", "counted", rows["counted"]["event_id"], "--reason", "healed")
        await place.run("drop", feed, str(unsendable.id), "--reason", "nobody needs it")
        await until(lambda: _is_empty(place), "both")
    assert await orders(opened) == {"counter-a": "1 2 3"}
    async with opened.tables.transaction() as session:
        assert await parking.standing(session, feed, unsendable) == "handled"


async def _has(place: Place, stream: str) -> bool:
    return any(row[0] == stream and row[2] == "parked" for row in await waiting(place.opened))


class Poisoned:
    """The counters' projection, with poison in each second event until it is healed."""

    def __init__(self) -> None:
        self.projection, self.is_healed = Counted(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.projection, name)

    async def apply(self, session: Any, found: Any, recorded: RecordedEvent) -> None:
        await self.projection.apply(session, found, recorded)
        if recorded.version == 2 and not self.is_healed:
            raise ValueError("poison")


async def test_what_is_asked_for_wrongly_ends_in_one_sentence(place: Place) -> None:
    consumer, bad = _consumer(place, Summing(("counter-a", 1))), event("counter-a", 1)
    await consumer.handle([bad])
    for action in ("show", "retry", "drop"):
        reason = [] if action == "show" else ["--reason", "why"]
        answer = await place.run(action, "nobody", str(bad.id), *reason, code=2)
        assert f"error: nothing waits at a consumer 'nobody'; it does at: {consumer.name}" in answer
        answer = await place.run(action, consumer.name, "no-id", *reason, code=2)
        assert f"error: no event 'no-id' waits at {consumer.name}" in answer
    for args in (["retry", consumer.name, str(bad.id)], ["retry-all"], ["drop", consumer.name, str(bad.id)]):
        assert "--reason" in await place.run(*args, code=2)
        assert "a decision needs a reason" in await place.run(*args, "--reason", "  ", code=2)
    assert await waiting(place.opened) == [("counter-a", 1, "parked", 1)]


@dataclass
class Refused:
    message_id: str | None
    reason: str
    headers: dict[str, str]
    body_excerpt: str
    size: int


async def test_refused_messages_are_kept_in_part_listed_and_shown(place: Place) -> None:
    consumer = _consumer(place, Summing())
    giant = Refused("m1", "not\0JSON", {f"h{n}": "\ud800" + "v" * 5000 for n in range(500)}, "x\0" * 100_000, 10**8)
    small = Refused(None, "no stream", {"a": "b"}, "{", 1)
    for refused in (giant, small, giant, small):
        await consumer.refuse(refused)
    rows = await place.run("refused", "--json")
    assert {(row["message_id"], row["size"]) for row in rows} == {("m1", 10**8), (None, 1)}
    kept = next(row for row in rows if row["message_id"])
    assert len(kept["body_excerpt"]) <= 200_000
    assert len(json.dumps(kept["headers"])) < 200_000
    assert "not\\0JSON" in kept["reason"]
    assert "2 refused" in await place.run("refused")
    other = next(row for row in rows if not row["message_id"])
    assert "no stream" in await place.run("refused", other["id"])
    assert "no message was refused under the id 'x'" in await place.run("refused", "x", code=2)
