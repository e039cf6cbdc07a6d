"""A conversation over several services is taken out whole and masked, and its failed command fails alike elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagakit.errors import InvalidInput
from sagakit.export import Asked, export
from sagakit.messages import Command
from sagakit.replay import fill, fresh_system, steps, try_again
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.slices import read_slice
from sagakit.sql.log_queries import events_named
from sagakit.system import System
from tests.support.letters import SERVICES, Address, PostLetter, ReturnLetter, StampLetter

MAP = ServiceMap(SERVICES)
CANARY = "ann O'Canary"


@pytest.fixture(params=["sqlite", "postgres"])
async def system(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[System]:
    database = "sqlite"
    if request.param == "postgres":
        database = f"{request.getfixturevalue('postgres_url')}/t{uuid.uuid4().hex[:8]}_{{service}}"
    async with System(load_settings(data=tmp_path / "prod", database=database), MAP) as opened:
        yield opened


async def _talk(system: System) -> None:
    """Two conversations, crossing on letter a and stamp s; the first ends in the planted bug."""

    async def send(command: Command, correlation: str) -> None:
        await system.send(command, Context(correlation_id=correlation, actor="kim"))

    await send(PostLetter(letter="a", sender=CANARY, grams=20, address=Address(town="Ely", street="Canary Row")), "other")
    await send(PostLetter(letter="b", sender="bob", grams=5), "other")
    await send(StampLetter(stamp="s", pence=1), "talk")
    await send(ReturnLetter(letter="a", to="the desk"), "talk")
    await send(StampLetter(stamp="s", pence=2), "other")
    with pytest.raises(KeyError):
        await send(ReturnLetter(letter="a", to=CANARY), "talk")
    await send(ReturnLetter(letter="a", to="later"), "other")


async def test_a_conversation_is_gathered_over_services_with_what_its_streams_need(system: System) -> None:
    await _talk(system)
    part = await export(system, Asked(correlation="talk"))
    told = [(event.service, event.stream, event.version, event.earlier) for event in part.events]
    assert told == [("letters", "letter-a", 1, True), ("stamps", "stamp-s", 1, False), ("letters", "letter-a", 2, False)]
    assert (part.header.events, part.header.earlier, part.header.failed_commands) == (3, 1, 1)
    text = "\n".join(part.lines())
    assert "anary" not in text
    assert part.header.masked == [
        "letter.posted: address.street",
        "letter.posted: sender",
        "letter.returned: to",
        "return_letter: to",
    ]
    assert part.failures[0].fields["to"] == part.events[0].data["sender"]
    assert (part.failures[0].version, part.events[0].data["grams"]) == (2, 20)


async def test_it_is_replayed_elsewhere_and_fails_alike(system: System, tmp_path: Path) -> None:
    await _talk(system)
    path = tmp_path / "slice.jsonl"
    path.write_text("\n".join((await export(system, Asked(correlation="talk"), ["grams"])).lines()) + "\n")
    part = read_slice(path)
    store = (await system.open("letters")).store
    async with fresh_system(tmp_path / "bench", MAP) as bench:
        done = list(steps(bench, await fill(bench, part)))
        assert done[-1].state.model_dump(include={"version", "sender"}) == {"version": 2, "sender": part.events[0].data["sender"]}
        attempt = await try_again(bench, part.failures[0])
        assert attempt.is_reproduced, attempt.answer
        assert attempt.text == f"'{part.events[0].data['sender']} has no desk for {part.events[0].data['grams']} g'"
        there, here = await store.load("letter-a"), await (await bench.open("letters")).store.load("letter-a")
        for one, other in zip(there[:2], here, strict=True):
            assert (one.id, one.version, one.metadata, one.recorded_at) == (
                other.id,
                other.version,
                other.metadata,
                other.recorded_at,
            )
    with pytest.raises(InvalidInput, match=r"holds databases \(letters.db, stamps.db\)"):
        fresh_system(tmp_path / "bench", MAP)


async def test_after_a_position_and_one_stream(system: System) -> None:
    await _talk(system)
    part = await export(system, Asked(after=2, service="letters"))
    assert [(event.stream, event.earlier) for event in part.events] == [
        ("letter-a", True),
        ("letter-a", False),
        ("letter-a", False),
    ]
    assert part.header.failed_commands == 1
    one = await export(system, Asked(stream="letter-b"))
    assert [(event.stream, event.version) for event in one.events] == [("letter-b", 1)]
    assert one.failures == ()


async def test_what_cannot_be_exported(system: System) -> None:
    await _talk(system)
    for asked, says in (
        (Asked(), "one of --stream, --correlation and --after"),
        (Asked(stream="letter-a", after=1), "one of --stream, --correlation and --after"),
        (Asked(after=1), "give --service with --after, one of letters, stamps"),
        (Asked(correlation="nobody"), "no failed command of the correlation nobody"),
        (Asked(stream="letter-z"), "no failed command of the stream letter-z"),
        (Asked(stream="letter-a", service="stamps"), "the stream letter-a is one of letters"),
        (Asked(stream="parcel-a"), "no aggregate called 'parcel'"),
    ):
        with pytest.raises(InvalidInput, match=says):
            await export(system, asked)
    with pytest.raises(InvalidInput, match="--mask sendr: no event and no failed command"):
        await export(system, Asked(stream="letter-a"), ["sendr"])


async def test_events_are_found_by_their_ids(system: System) -> None:
    await _talk(system)
    opened = await system.open("stamps")
    (first, second) = await opened.store.load("stamp-s")
    found = await events_named(opened.tables, [first.id, uuid.uuid4()])
    assert found == {str(first.id): {"stream": "stamp-s", "version": 1, "type": "letter.stamped"}}
    assert len(await events_named(opened.tables, [first.id, second.id, *(uuid.uuid4() for _ in range(600))])) == 2
