"""The participant's side of a step: whatever order do and undo arrive in, each has one defined answer (G1, G4, failures D1, D2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from sagakit.steps import StepReply, StepRequest
from sagakit.system import OpenService
from sagakit.temporal.activities import command_activities
from tests.support.shop import COUNTING


class Participant:
    """The service `counting`, as a saga's step and its undo reach it: the undo of adding is adding the opposite."""

    def __init__(self, counting: OpenService) -> None:
        self.counting = counting
        self._add = next(
            activity
            for activity in command_activities(COUNTING, counting.repository, 4)
            if getattr(activity, "__temporal_activity_definition").name == "add"
        )

    async def send(
        self, amount: int = 5, *, is_undo: bool = False, attempt: int = 0, only_if_done: bool = False, was_done: bool = False
    ) -> StepReply:
        request = StepRequest(
            commands=[{"counter": "a", "amount": -amount if is_undo else amount}],
            key="saga/1/1",
            is_undo=is_undo,
            correlation_id="c",
            causation_id="e",
            actor="saga",
            attempt=attempt,
            only_if_done=only_if_done,
            was_done=was_done,
        )
        reply: StepReply = await ActivityEnvironment().run(self._add, request)
        return reply

    async def do(self, amount: int = 5, attempt: int = 0, *, only_if_done: bool = False) -> StepReply:
        return await self.send(amount, attempt=attempt, only_if_done=only_if_done)

    async def undo(self, *, was_done: bool = False) -> StepReply:
        return await self.send(is_undo=True, was_done=was_done)

    async def effects(self) -> list[str]:
        return [event.data for event in await self.counting.store.load("counter-a")]


@pytest.fixture
def participant(counting: OpenService) -> Participant:
    return Participant(counting)


DONE, UNDONE = ['{"amount":5}'], ['{"amount":5}', '{"amount":-5}']


async def test_do_again_has_one_effect_and_the_first_answer_g1(participant: Participant) -> None:
    assert await participant.do() == await participant.do()
    assert (await participant.do()).done == 1
    assert await participant.effects() == DONE


async def test_undo_undoes_once_g4(participant: Participant) -> None:
    await participant.do()
    assert (await participant.undo()).done == (await participant.undo()).done == 1
    assert await participant.effects() == UNDONE


async def test_undo_before_do_leaves_nothing_and_a_late_do_is_refused_d2(participant: Participant) -> None:
    assert (await participant.undo()).done == 0
    with pytest.raises(ApplicationError, match="its undo came first") as refused:
        await participant.do()
    assert (refused.value.type, refused.value.non_retryable) == ("fenced", True)
    assert await participant.effects() == []


async def test_do_after_undo_returns_the_first_answer_and_does_nothing_d2(participant: Participant) -> None:
    await participant.do()
    await participant.undo()
    assert (await participant.do()).done == 1, "a repetition of what was done, and undone since"
    assert await participant.effects() == UNDONE


async def test_the_undo_of_what_was_refused_does_nothing_g4(participant: Participant) -> None:
    with pytest.raises(ApplicationError, match="over 100"):
        await participant.do(amount=500)
    assert (await participant.undo()).done == 0
    assert await participant.effects() == []


async def test_a_refusal_is_remembered_for_its_attempt_only_g4(participant: Participant) -> None:
    for _ in range(2):
        with pytest.raises(ApplicationError, match="over 100"):
            await participant.do(amount=500)
    assert (await participant.do(amount=5, attempt=1)).done == 1
    assert (await participant.do(amount=5, attempt=1)).done == 1
    assert await participant.effects() == DONE


async def test_what_is_done_is_not_done_again_by_the_attempt_that_a_person_wants_g1(participant: Participant) -> None:
    """The rest of a batch was refused; of this item the outcome is there, of its undo as well."""
    await participant.do()
    assert (await participant.do(attempt=1)).done == (await participant.do(attempt=2)).done == 1
    assert await participant.effects() == DONE
    await participant.undo()
    assert (await participant.send(is_undo=True, attempt=1)).done == 1
    assert await participant.effects() == UNDONE


async def test_looking_up_does_nothing_and_a_late_do_is_refused_g4(participant: Participant) -> None:
    with pytest.raises(ApplicationError) as refused:
        await participant.do(only_if_done=True)
    assert refused.value.type == "not_done"
    with pytest.raises(ApplicationError, match="its undo came first"):
        await participant.do()  # an attempt that was still on its way
    assert await participant.effects() == []


async def test_looking_up_finds_what_was_done_g4(participant: Participant) -> None:
    await participant.do()
    assert (await participant.do(only_if_done=True)).done == 1
    assert await participant.effects() == DONE


async def test_what_a_long_saga_knows_to_be_done_is_undone_though_its_outcome_is_forgotten_g4(participant: Participant) -> None:
    await participant.do()
    assert await participant.counting.store.forget_outcomes(datetime.now(UTC) + timedelta(hours=1), 100) >= 1
    assert (await participant.undo(was_done=True)).done == (await participant.undo(was_done=True)).done == 1
    assert await participant.effects() == UNDONE
