"""A command whose handler raised what nobody expected is recorded, masked, on both databases; the error itself comes through."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import OpenService, System
from tests.support.letters import SERVICES, Letter, PostLetter, ReturnLetter

CANARY = "ann O'Canary"


@pytest.fixture(params=["sqlite", "postgres"])
async def letters(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    database = "sqlite"
    if request.param == "postgres":
        database = f"{request.getfixturevalue('postgres_url')}/t{uuid.uuid4().hex[:8]}_{{service}}"
    async with System(load_settings(data=tmp_path, database=database), ServiceMap(SERVICES)) as system:
        yield await system.open("letters")


async def _fail(letters: OpenService, key: str | None = "k", letter: str = "a") -> None:
    context = Context(key=key, correlation_id="talk", causation_id="before", actor="kim")
    with pytest.raises(KeyError, match="has no desk for 20 g"):
        await letters.repository.handle(Letter, ReturnLetter(letter=letter, to=CANARY), context)


async def _post(letters: OpenService, letter: str = "a") -> None:
    await letters.repository.handle(Letter, PostLetter(letter=letter, sender=CANARY, grams=20), Context())


async def test_it_is_recorded_with_the_version_it_met_and_no_personal_value(letters: OpenService) -> None:
    await _post(letters)
    await letters.repository.handle(Letter, ReturnLetter(letter="a", to="bob"), Context())
    await _fail(letters)
    (failed,) = await letters.failures.find()
    assert (failed.command, failed.stream, failed.version) == ("return_letter", "letter-a", 2)
    assert (failed.correlation_id, failed.causation_id, failed.command_key, failed.actor) == ("talk", "before", "k", "kim")
    assert failed.exception == "KeyError"
    assert failed.recorded_at.tzinfo is not None
    masked = failed.fields["to"]
    assert failed.fields == {"letter": "a", "to": masked}
    assert f"{masked} has no desk for 20 g" in failed.text
    assert "letters.py" in failed.traceback
    assert failed.text in failed.traceback
    assert "Canary" not in repr(failed)
    assert await letters.repository.load(Letter, "a") == Letter(id="a", version=2, sender=CANARY, grams=20, returned_to=("bob",))


async def test_a_repeat_under_its_key_is_recorded_once_and_without_a_key_each_time(letters: OpenService) -> None:
    await _post(letters)
    for _ in range(3):
        await _fail(letters)
    assert len(await letters.failures.find()) == 1
    await _fail(letters, None)
    await _fail(letters, None)
    assert len(await letters.failures.find(stream="letter-a")) == 3
    assert await letters.failures.find(stream="letter-b") == []
    assert len(await letters.failures.find(correlation_id="talk")) == 3
    assert await letters.failures.find(correlation_id="other") == []


async def test_an_appliers_error_is_recorded_at_the_end_of_the_stream(letters: OpenService) -> None:
    await _post(letters)
    await letters.repository.handle(Letter, ReturnLetter(letter="a", to="the dog"), Context())
    with pytest.raises(RuntimeError, match="a dog has no desk"):
        await letters.repository.handle(Letter, ReturnLetter(letter="a", to="bob"), Context())
    (failed,) = await letters.failures.find()
    assert (failed.version, failed.exception) == (2, "RuntimeError")


async def test_refusals_and_errors_that_sagakit_knows_are_not_recorded(letters: OpenService) -> None:
    assert (await letters.repository.handle(Letter, ReturnLetter(letter="b", to="bob"), Context())).status == "refused"
    with pytest.raises(InvalidInput):
        await letters.repository.handle(Letter, ReturnLetter(letter="", to="bob"), Context())
    assert await letters.failures.find() == []


async def test_a_recording_that_fails_hides_nothing(letters: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(letters.failures, "record", break_down)
    await _post(letters)
    await _fail(letters)
