"""Drives `workflows/`: a saga is a Temporal workflow whose steps are commands to aggregates.

Write ``@workflow.defn`` over a class that derives from `Saga`, with ``@workflow.run`` over a method that takes the event
the saga starts on. Whatever that method raises, a refusal, a time-out, a cancellation or a plain Python error, makes the saga
undo its steps in reverse; the author writes no handler. Source: Garcia-Molina and Salem, Sagas, SIGMOD 1987; step kinds
after Richardson, Microservices Patterns, chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from random import Random
from typing import Any, ClassVar, NoReturn, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import author_calls
    from sagakit.asking import command_to_send, require_declared
    from sagakit.author_calls import waited_for
    from sagakit.calls import TOGETHER
    from sagakit.children import Child, require_served
    from sagakit.course import Course, all_of
    from sagakit.errors import InvalidInput
    from sagakit.messages import Command, Event
    from sagakit.outcomes import run_to_an_outcome
    from sagakit.saga_class import handlers_of
    from sagakit.sending import request_of
    from sagakit.steering import Steered
    from sagakit.steps import Answer, Question, SagaResult, StepReply, Undo

E = TypeVar("E", bound=Event)
_group: ContextVar[int | None] = ContextVar("group", default=None)


class Saga(Steered):
    """The base of every saga: ``class OrderFulfilment(Saga, starts_on=OrderPlaced, key="order_id")``.

    Delivery: the saga runs once per ``<saga>/<key>``; each step takes effect at most once, and is retried until its fate
    is known. A step's undo is registered before the step is tried, because a failed attempt may have taken effect.
    """

    saga_name: ClassVar[str]
    starts_on: ClassVar[type[Event]]
    key_field: ClassVar[str]
    asks: ClassVar[frozenset[type[Event]]]
    deadline: ClassVar[timedelta | None]
    patience: ClassVar[timedelta]
    run_events: ClassVar[int | None]

    def __init_subclass__(
        cls,
        *,
        starts_on: type[Event],
        key: str,
        name: str | None = None,
        expects: Mapping[type[Event], str] | None = None,
        asks: Sequence[type[Event]] = (),
        cancels_on: Mapping[type[Event], str] | None = None,
        deadline: timedelta | None = None,
        patience: timedelta = timedelta(hours=1),
        run_events: int | None = None,
    ) -> None:
        """Take the event the saga starts on and its field that names the instance; wrap the run method.

        ``expects`` are the events that it may wait for, each with the field that names the instance; those of ``cancels_on``
        make it compensate, as long as it is before its pivot. Past the ``deadline`` it compensates as well. ``asks`` are the
        messages that it sends by `ask_service`. A step that has to succeed (the pivot, an undo, what is behind the pivot) is
        tried for ``patience``, then parked for a person.
        A saga goes on in a new run of its workflow once its history is long: as Temporal suggests, or at ``run_events`` events.
        """
        snake = "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("-")
        cls.saga_name, cls.starts_on, cls.key_field = name or snake, starts_on, key
        cls.expects = {**(expects or {}), **(cancels_on or {})}
        cls.cancels_on, cls.asks = frozenset(cancels_on or ()), frozenset(asks)
        cls.deadline, cls.patience, cls.run_events = deadline, patience, run_events
        for event, field in {starts_on: key, **cls.expects}.items():
            if field not in event.model_fields:
                raise InvalidInput(f"{cls.__name__}: {field!r} is not a field of {event.__name__}")
        if starts_on in cls.expects:
            raise InvalidInput(f"{cls.__name__}: {starts_on.__name__} starts it, and cannot be waited for as well")
        for attribute, method in list(vars(cls).items()):
            if hasattr(method, "__temporal_workflow_run"):
                setattr(cls, attribute, run_to_an_outcome(method))

    def __init__(self) -> None:
        """Begin with no step done. A saga's own ``__init__`` calls this one."""
        self.course = Course(self.saga_name, self.patience, self.run_events)

    @classmethod
    def workflow_id(cls, event: Event) -> str:
        """Name the instance that an event starts, or is for."""
        field = cls.key_field if isinstance(event, cls.starts_on) else cls.expects[type(event)]
        return f"{cls.saga_name}/{getattr(event, field)}"

    async def step(
        self,
        command: Command | Sequence[Command],
        *,
        undo: Command | Sequence[Command] | None = None,
        pivot: bool = False,
        within: timedelta | None = None,
    ) -> StepReply:
        """Send a command, or a batch of commands of one type, to its service and wait until it took effect.

        With ``undo`` the step is *compensable*; ``pivot=True`` marks the point of no return; every step behind the pivot
        is *retriable*: a refusal there parks the saga for a person; a step with neither leaves nothing to undo, and is
        *read-only*. A step before the pivot that is not done ``within`` its time makes the saga compensate; without it, it
        is tried until its fate is known. Raises `StepRefused` when the business says no, `StepTimedOut`. A saga that catches
        that and goes on has it undone as it completes, so that no late effect of it stays.
        """
        commands, undos = _batch(command), _batch(undo)
        if not commands:
            return StepReply(done=0)
        name, group = commands[0].command_name, _group.get()
        kind = self.course.kind_of(name, commands, undos, pivot=pivot, group=group)
        call = self.course.calls.begin(f"step {name}")
        touched = [each.aggregate_id for each in commands[:3]]
        step = self.course.table.begin(name, len(commands), kind, group, call, touched)
        key = f"{workflow.info().workflow_id}/{step.number}"
        self.course.fast.consider(step, within, is_in_order=self.course.calls.is_in_order)
        if undos:
            self.course.undos.append(Undo(step, key, undos))
        if not call.is_open:
            return self.course.retold(call, step)
        request = request_of(self.saga_name, commands, key)
        if kind != "retriable":
            request = self.course.looked_up(request)
        if kind in ("compensable", "read-only"):
            sending = self.course.once(step, commands[0], request, within)
        else:
            sending = self.course.until_decided(step, commands[0], request, within or self.patience)
        # A cancellation waits until the fate of the step is known: a step cut off half way might have been the pivot.
        with self.course.calls.noted(call):
            reply = await self.course.whole(sending, call)
            self.course.table.mark(step, "done", call=call)
            call.outcome = reply.model_dump_json()
        return self.course.retold(call, step)

    async def together(self, *steps: Coroutine[Any, Any, StepReply]) -> list[StepReply]:
        """Take steps side by side: ``await self.together(self.step(...), self.step(...))``.

        When one fails, the others are waited for, so that the fate of each is known; then the first failure is raised. The
        undos of a group go side by side as well.
        """
        call = self.course.calls.begin(TOGETHER)
        token = _group.set(self.course.group_of(call))
        try:
            tasks = self.course.calls.side_by_side(steps)
        finally:
            _group.reset(token)
        with self.course.calls.noted(call):
            replies = await self.course.whole(all_of(tasks), call)
        self.course.require_no_cancellation(call)
        return replies

    async def child(self, saga: type[Saga], event: Event, *, pivot: bool = False) -> SagaResult:
        """Run another saga, begun by this event, as a child of this one, and wait until it has completed.

        It is a *compensable* step: when this saga fails later, all that the child and its own children did is undone; such a
        child has no pivot. With ``pivot=True`` the child is this saga's pivot and may have one of its own; behind the pivot it
        is *retriable*. A child outlives its parent. Raises `ChildCompensated` when the child was undone.
        """
        require_served(self.course, saga.__name__)
        begun = Child(self.course, saga.__name__, saga.saga_name, event, saga.workflow_id(event))
        return await begun.run(pivot=pivot, group=_group.get())

    async def expect(
        self, event_type: type[E], *, match: Callable[[E], bool] | None = None, within: timedelta | None = None
    ) -> E:
        """Wait for an event of this saga's; ``match`` chooses among several. Raises `NotInTime` after ``within``.

        Delivery: an event is handed out once, however often it came; one that came before the saga waited is kept.
        """
        if event_type not in self.expects:
            raise InvalidInput(f"{self.saga_name} does not say in expects= which field of {event_type.__name__} names it")
        return await waited_for(
            self.course,
            f"expect {event_type.event_name}",
            event_type,
            lambda call: self.course.letters.expect(event_type, match, within, call),
        )

    async def ask_service(
        self,
        message: Event,
        *,
        reply: type[E],
        match: Callable[[E], bool] | None = None,
        within: timedelta | None = None,
        undo: Event | None = None,
    ) -> E:
        """Send a message to a service that is no Temporal worker, and wait for the event it answers with, as by `expect`.

        Delivery: ``message`` is recorded once in the log of the saga's service, and goes out over its relay, in order. ``within``
        counts from then on. ``undo`` is the message that takes it back. Raises `NotInTime`, `InvalidInput`.
        """
        sent = [message] if undo is None else [message, undo]
        require_declared(self.saga_name, self.asks, self.expects, sent, reply)
        command, *undos = (command_to_send(each, workflow.info().workflow_id) for each in sent)
        await self.step(command, undo=undos or None)
        return await self.expect(reply, match=match, within=within)

    async def ask_person(self, question: str, choices: Sequence[str], *, within: timedelta | None = None) -> Answer:
        """Ask a person, who answers by `sagas answer`; return who chose what, and why. Raises `NotInTime`."""
        if len(set(choices)) <= 1:
            raise InvalidInput(f"{question!r}: a question needs two choices or more")
        return await author_calls.ask(self.course, Question(text=question, choices=tuple(choices)), within)

    async def sleep(self, duration: timedelta) -> None:
        """Wait for some time. Use no other sleep: this one knows what is left of it when a long saga goes on in a new run."""
        await author_calls.sleep(self.course, duration)

    async def sleep_until(self, moment: datetime) -> None:
        """Wait for a moment, given with its time zone; one that is over is no wait."""
        await self.sleep(max(moment - self.now(), timedelta(0)))

    def now(self) -> datetime:
        """Read the time (UTC): the same that the saga read before, where it goes on in a new run. Use no other clock."""
        return author_calls.now(self.course)

    @property
    def random(self) -> Random:
        """Draw what is to stay the same in every run: seeded by the workflow's id, so never use it for secrets."""
        return self.course.random

    async def new_chapter(self, state: Any = None) -> NoReturn:
        """Begin the run method anew with ``state`` as its second argument: how a saga lives for years. Never returns.

        Nothing of the chapters before can be undone any more, the pivot is ahead again and the deadline counts anew; the
        events that nobody waited for yet are kept, and steps go on counting, so that no key comes twice. A cancellation that
        came behind the pivot compensates the new chapter as it begins.
        """
        await author_calls.new_chapter(self.course, state)
        raise AssertionError("the run has ended")

    def patched(self, change: str) -> bool:
        """Tell whether a saga begins, or is still to come to, a change of its code: an open one keeps to the old way.

        Write ``if self.patched("insure"): await self.step(...)``; drop it once no saga from before is open (`sagas gate`).
        """
        is_changed = self.course.calls.patched(change, workflow.patched)
        if is_changed:  # one from before goes on as its history says: to it this is no news
            self.course.fast.hear()
        return is_changed

    async def conclude(self, command: Command) -> StepReply:
        """Send a command that has to succeed as the saga ends; a refusal parks the saga for a person."""
        call = self.course.calls.begin(f"conclude {command.command_name}")
        step = self.course.table.begin(command.command_name, 1, "retriable", None, call, [command.aggregate_id])
        self.course.fast.consider(step, None, is_in_order=self.course.calls.is_in_order)
        if not call.is_open:
            return self.course.retold(call, step)
        request = request_of(self.saga_name, [command], f"{workflow.info().workflow_id}/{step.number}")
        with self.course.calls.noted(call):
            reply = await self.course.until_decided(step, command, request, self.patience)
            self.course.table.mark(step, "done", call=call)
            call.outcome = reply.model_dump_json()
        return reply

    async def compensated(self, reason: str) -> None:
        """Say what else has to happen once every step is undone, as `conclude` steps; nothing by default."""


Saga.sagakit_handlers = handlers_of(Saga)


def _batch(commands: Command | Sequence[Command] | None) -> list[Command]:
    if commands is None:
        return []
    batch = [commands] if isinstance(commands, Command) else list(commands)
    if len({command.command_name for command in batch}) > 1:
        raise InvalidInput("a batch holds commands of one type: one step per command type")
    return batch
