"""Commands on both databases: idempotent, fenced, retried on conflict (G1; failures D1, D2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from sagakit.errors import InvalidInput
from sagakit.messages import Command, Registry
from sagakit.repository import Context, Repository
from sagakit.steps import StepRequest
from sagakit.system import OpenService
from sagakit.temporal.activities import command_activities
from tests.support.shop import COUNTING, Add, Added, Counter, Hoard, Note


def activity_name(made: Callable[..., Any]) -> str | None:
    definition = activity._Definition.from_callable(made)
    return definition.name if definition else None


async def _total(counting: OpenService) -> int:
    return (await counting.repository.load(Counter, "a")).total  # type: ignore[attr-defined]


async def test_a_repeated_key_has_one_effect_and_the_first_outcome_g1(counting: OpenService) -> None:
    outcomes = await asyncio.gather(
        *(counting.repository.handle(Counter, Add(counter="a", amount=5), Context(key="k")) for _ in range(5))
    )
    assert len(set(map(repr, outcomes))) == 1
    assert outcomes[0].status == "done"
    assert await _total(counting) == 5


async def test_a_refusal_is_remembered_g1(counting: OpenService) -> None:
    refused = await counting.repository.handle(Counter, Add(counter="a", amount=101), Context(key="k"))
    assert (refused.status, refused.code) == ("refused", "over_limit")
    again = await counting.repository.handle(Counter, Add(counter="a", amount=1), Context(key="k"))
    assert again == refused
    assert await _total(counting) == 0


async def test_two_repositories_racing_lose_nothing_g1(counting: OpenService) -> None:
    two = [Repository(counting.store, Registry([Added], [Add])) for _ in range(2)]
    await asyncio.gather(*(two[n % 2].handle(Counter, Add(counter="a", amount=1), Context()) for n in range(60)))
    assert await _total(counting) == 60


async def test_the_undo_of_what_never_happened_fences_the_late_do_d2(counting: OpenService) -> None:
    undo = await counting.repository.undo(Counter, Add(counter="a", amount=-5), Context(key="k/undo"), "k")
    assert undo.status == "nothing_to_undo"
    late = await counting.repository.handle(Counter, Add(counter="a", amount=5), Context(key="k"))
    assert late.status == "fenced"
    assert await _total(counting) == 0


async def test_the_undo_of_what_happened_happens_once_d1(counting: OpenService) -> None:
    await counting.repository.handle(Counter, Add(counter="a", amount=5), Context(key="k"))
    for _ in range(2):
        undo = await counting.repository.undo(Counter, Add(counter="a", amount=-5), Context(key="k/undo"), "k")
        assert undo.status == "done"
    assert await _total(counting) == 0


async def test_ids_that_cannot_be_stored_are_refused(counting: OpenService) -> None:
    for wrong in ("", "x" * 201, "a\0b", "a\nb"):
        with pytest.raises(InvalidInput):
            await counting.repository.handle(Counter, Add(counter=wrong, amount=1), Context())
    assert await counting.store.head() == 0


async def test_the_chain_of_causes_is_rebuilt_from_stored_events_g8(counting: OpenService) -> None:
    context = Context(correlation_id="talk", causation_id="event-1", actor="kim", key="k")
    await counting.repository.handle(Counter, Add(counter="a", amount=5), context)
    metadata = (await counting.store.load("counter-a"))[0].metadata
    assert (metadata.correlation_id, metadata.causation_id, metadata.actor) == ("talk", "event-1", "kim")
    assert (metadata.command, metadata.command_key) == ("add", "k")


async def test_the_character_nul_is_refused_and_its_written_form_is_not(counting: OpenService) -> None:
    with pytest.raises(InvalidInput, match=r"counter\.noted holds the character U\+0000"):
        await counting.repository.handle(Counter, Note(counter="a", text="\\\0"), Context(key="k"))
    assert await counting.store.head() == 0
    for text in ("\\u0000", "\\\\u0000"):
        assert (await counting.repository.handle(Counter, Note(counter="a", text=text), Context())).status == "done"


async def test_a_step_that_cannot_be_stored_is_not_retried(counting: OpenService) -> None:
    found = {activity_name(each): each for each in command_activities(COUNTING, counting.repository, 1)}
    request = StepRequest(
        commands=[{"counter": "a", "text": "\0"}], key="k", is_undo=False, correlation_id="c", causation_id="e", actor="saga"
    )
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(found["note"], request)
    assert (raised.value.non_retryable, raised.value.type) == (True, "invalid_input")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Note(counter="a", text="x" * (256 * 1024)), "over 256 KiB"),
        (Add(counter="a", amount=2**63), "amount is an integer of more than 64 bits"),
        (Add(counter="a", amount=-(10**30)), "amount is an integer of more than 64 bits"),
        (Note(counter="", text="x"), "at least 1 character"),
        (Note(counter="x" * 201, text="x"), "at most 200 characters"),
    ],
)
async def test_a_command_that_cannot_be_stored_writes_nothing(counting: OpenService, command: Command, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        await counting.repository.handle(Counter, command, Context(key="k"))
    assert await counting.store.head() == 0
    assert await counting.store.outcome("k") is None


async def test_a_command_of_another_aggregate_writes_nothing(counting: OpenService) -> None:
    with pytest.raises(InvalidInput, match="Hoard does not handle add"):
        await counting.repository.handle(Hoard, Add(counter="a", amount=1), Context(key="k"))
    assert await counting.store.outcome("k") is None


def test_names_that_no_message_could_carry_are_refused_b16() -> None:
    assert Context(correlation_id="c" * 200, actor="kim").actor == "kim"
    with pytest.raises(InvalidInput, match="over 4000 characters"):
        Context(correlation_id="c" * 4000, actor="kim")
