"""Where a saga waits for people: parked steps and questions, and what was decided about them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Entry, Parked
    from sagakit.errors import NotInTime
    from sagakit.step_table import StepTable
    from sagakit.steps import Answer, Question, Status, Step, Verdict


class Desk:
    """The people's side of one saga."""

    def __init__(self, table: StepTable) -> None:
        """Begin with nothing to decide."""
        self._table = table
        self._parked: dict[int, Step] = {}
        self._verdicts: dict[int, Verdict] = {}
        self.question: Question | None = None
        self._answer: Answer | None = None
        self.is_hurried = False
        self.known_answers: list[Answer] = []
        self.status_before: Status = "running"
        self.kept: dict[int, Parked] = {}

    async def decide(self, step: Step, why: str, attempt: int) -> Verdict:
        """Park a step until a person decides about it."""
        if step.number not in self.kept:  # else an earlier run had parked it
            if not self._parked:
                self.status_before = self._table.status
            self._table.mark(step, f"parked: {why}")
        self.kept[step.number] = Parked(why=why, attempt=attempt, attempts=step.attempts, since=step.since)
        self._parked[step.number] = step
        self._table.set_status("parked")
        await self._table.decided(lambda: step.number in self._verdicts)
        verdict = self._verdicts.pop(step.number)
        del self._parked[step.number], self.kept[step.number]
        if not self._parked:
            self._table.set_status(self.status_before)
        return verdict

    def taken_up(self, step: Step) -> Parked | None:
        """Find a step that an earlier run of this saga had parked, and show it so."""
        kept = self.kept.get(step.number)
        if kept is not None:
            step.attempts, step.since, step.state = kept.attempts, kept.since, f"parked: {kept.why}"
        return kept

    def step_of(self, verdict: Verdict) -> Step:
        """Find the parked step that a verdict is about. Raises `ValueError`, in words for the person."""
        if not self._parked:
            raise ValueError("this saga is not parked: there is nothing to decide")
        if not verdict.reason.strip() or not verdict.actor.strip():
            raise ValueError("a decision needs an actor and a reason")
        if verdict.action == "supply" and verdict.reply is None:
            raise ValueError("supply needs the result to go on with")
        if verdict.step is None and len(self._parked) > 1:
            raise ValueError(f"several steps are parked, name one: {', '.join(map(str, sorted(self._parked)))}")
        number = next(iter(self._parked)) if verdict.step is None else verdict.step
        if number not in self._parked:
            raise ValueError(f"step {number} is not parked; parked: {', '.join(map(str, sorted(self._parked)))}")
        return self._parked[number]

    def check_verdict(self, verdict: Verdict) -> None:
        """Refuse a decision that cannot be taken. Raises `ValueError`, in words for the person."""
        step = self.step_of(verdict)
        if verdict.action == "supply" and verdict.reply is not None and not 0 <= verdict.reply.done <= step.items:
            raise ValueError(f"step {step.number} has {step.items} command(s): {verdict.reply.done} cannot have taken effect")

    def take_verdict(self, verdict: Verdict) -> str:
        """Take a decision that `check_verdict` has found right."""
        step = self.step_of(verdict)
        self._verdicts[step.number] = verdict
        return f"{verdict.action}: {step.name}"

    async def ask(self, question: Question, within: timedelta | None, call: Entry) -> Answer:
        """Ask, and wait for the answer. Raises `NotInTime`."""
        if self.known_answers and self.known_answers[0].choice in question.choices:
            return self.known_answers.pop(0)  # what an earlier run of this saga was told
        call.until = call.until or (workflow.now() + within if within else None)
        before: Status = "running" if self._table.status == "asking" else self._table.status
        self.question = question
        waits = f"an answer: {question.text} ({' | '.join(question.choices)})"
        self._table.set_status("asking")
        try:
            await self._table.wait(waits, lambda: self._answer is not None or self.is_hurried, call.until)
        except asyncio.CancelledError:
            self.question = None
            raise
        answer, self._answer, self.question = self._answer, None, None
        self._table.set_status(before)
        if answer is None:
            raise NotInTime(question.text, within)
        return answer

    def check_answer(self, answer: Answer) -> None:
        """Refuse an answer to nothing, or one that is no choice. Raises `ValueError`."""
        if self.question is None:
            raise ValueError("this saga asks nothing")
        if answer.choice not in self.question.choices:
            raise ValueError(f"{answer.choice!r} is no answer; choose one of: {', '.join(self.question.choices)}")
        if not answer.actor.strip() or not answer.reason.strip():
            raise ValueError("an answer needs an actor and a reason")

    def take_answer(self, answer: Answer) -> str:
        """Take an answer that `check_answer` has found right."""
        self._answer = answer
        return answer.choice
