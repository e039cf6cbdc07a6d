"""What reaches a running saga from outside: events, and what people decide, answer, wish and ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.course import Course
    from sagakit.messages import Event
    from sagakit.saga_class import SagaClass, handlers_of
    from sagakit.steps import Answer, Arrived, Verdict, Wish


class Steered(metaclass=SagaClass):
    """The part of `Saga` that others call."""

    saga_name: ClassVar[str]
    expects: ClassVar[Mapping[type[Event], str]]
    cancels_on: ClassVar[frozenset[type[Event]]]
    course: Course
    sagakit_handlers: ClassVar[frozenset[str]]

    @workflow.signal(name="sagakit_event", description="An event that this saga may wait for")
    def receive_event(self, arrived: Arrived) -> None:
        """Take an event in; a repeated one changes nothing."""
        self.course.rest.hear()
        event = self.event_of(arrived)
        if event is None:
            workflow.logger.error("an event that this saga does not know: %s", arrived.type)
        elif self.course.letters.put(arrived, event) and type(event) in self.cancels_on:
            self.course.cancelled_by = arrived.type

    def event_of(self, arrived: Arrived) -> Event | None:
        """Read an event that reached this saga; None for one that it does not know."""
        for known in self.expects:
            if (known.event_name, known.schema_version) == (arrived.type, arrived.schema_version):
                return known.model_validate_json(arrived.data)
        return None

    @workflow.update(
        name="decide_parked_step", description="Retry, skip or supply the step that the saga is parked at, or end it"
    )
    async def decide_parked_step(self, verdict: Verdict) -> str:
        """Take a person's decision about a parked step."""
        self.course.rest.hear()
        return self.course.desk.take_verdict(verdict)

    @decide_parked_step.validator
    def _check_verdict(self, verdict: Verdict) -> None:
        self.course.desk.check_verdict(verdict)

    @workflow.update(name="answer_question", description="Answer what the saga asks")
    async def answer_question(self, answer: Answer) -> str:
        """Take a person's answer."""
        self.course.rest.hear()
        return self.course.desk.take_answer(answer)

    @answer_question.validator
    def _check_answer(self, answer: Answer) -> None:
        self.course.desk.check_answer(answer)

    @workflow.update(name="cancel_saga", description="Undo what was done, as long as the saga is before its pivot")
    async def cancel_saga(self, wish: Wish) -> str:
        """Make the saga compensate because a person wants it."""
        self.course.rest.hear()
        self.course.cancelled_by = f"{wish.actor}: {wish.reason}"
        await self.course.record("cancel", self.saga_name, wish.actor, wish.reason)
        return "cancelled"

    @cancel_saga.validator
    def _check_cancel(self, wish: Wish) -> None:
        if not wish.actor.strip() or not wish.reason.strip():
            raise ValueError("a decision needs an actor and a reason")
        if self.course.is_after_pivot:
            raise ValueError("the saga is behind its pivot: what is done cannot be undone any more")

    @workflow.query(name="steps", description="The steps so far, and how the saga stands")
    def show_steps(self) -> dict[str, Any]:
        """Tell how the saga stands."""
        question = self.course.desk.question
        return {
            "status": self.course.table.status,
            "after_pivot": self.course.is_after_pivot,
            "steps": [vars(step) for step in self.course.table.steps],
            "waited": self.course.table.waited,
            "question": question.model_dump() if question else None,
            "unmatched": list(self.course.letters.unclaimed),
        }


Steered.sagakit_handlers = handlers_of(Steered)
