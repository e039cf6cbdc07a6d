"""Every error that sagakit raises on purpose.

SagakitError
├── DomainError              the business says no: never retried, leads to compensation
│   ├── StepRefused          a saga's step was refused by the aggregate that it went to
│   ├── StepTimedOut         a saga's step was not done within its time; whether it was done is unknown
│   ├── NotInTime            what a saga waited for did not come within its time
│   ├── ChildCompensated     a saga that a saga began as its child was undone
│   ├── LockHeld             another saga holds a semantic lock, and this one does not wait
│   │   └── LockHeldByElder  it would wait, but for an older saga, which might come to wait for it
│   ├── LockLost             a semantic lock is used or given back by a saga that does not hold it
│   └── PayloadTooLarge      more than Temporal takes in one piece: it would be refused for ever
├── NotYet                   an aggregate does not decide yet: nothing is recorded, a saga's step is tried again
├── SagaNotStarted           an event for a saga that has never begun: tried again, then parked
├── LogWentBack              a checkpoint does not fit its log any more: stops, for a person to decide
├── NotSendable              an event that no broker takes, by its own fault: its stream waits for a person
├── TooManyHops              reactions and sagas go in a circle: parked at once
├── UnreadableEvent          a stored event that today's code cannot read: parked, or retried until a release can
└── InfrastructureError      the machine failed: retried
    ├── ConcurrencyError     somebody else appended first: reload and decide again
    ├── DuplicateCommand     the idempotency key is taken: its recorded outcome is the answer
    ├── StoreUnavailable     the database cannot be reached
    ├── BusUnavailable       the message could not be handed over for certain
    ├── BackPressure         too much of what was recorded is not delivered yet: commands wait
    ├── TemporalUnavailable  no Temporal server, or none could be started
    └── LeaseLost            another process leads now
InvalidInput                 what was given cannot be used; the text names place and remedy
├── UnknownMessage           a type name that no registry entry knows
└── WrongSettings            all wrong settings at once
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from sagakit.outcome import CommandOutcome


class SagakitError(Exception):
    """The base of all of them. ``parks_at_once`` says that an event whose handling raises it need not be tried again."""

    parks_at_once: ClassVar[bool] = False


class DomainError(SagakitError):
    """The business says no. Subclass it per rule; the class name in snake case is the stored code.

    It is never retried: the command's refusal is recorded under its idempotency key, and a saga compensates.
    """

    code: ClassVar[str] = "domain_error"

    def __init_subclass__(cls, code: str | None = None) -> None:
        """Name the rule: ``code`` is what is stored and shown, and survives a rename of the class."""
        name = cls.__name__
        cls.code = code or "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class StepRefused(DomainError, code="step_refused"):
    """A saga's step was refused: ``refusal`` holds the code of the participant's own error, ``done`` how much took effect.

    Of a batch some commands may have taken effect where others were refused.
    """

    def __init__(self, step: str, refusal: str, reason: str, done: int = 0) -> None:
        """State which step, which rule, the participant's words, and how many commands of the step took effect."""
        super().__init__(reason)
        self.step, self.refusal, self.reason, self.done = step, refusal, reason, done


class StepTimedOut(DomainError, code="step_timed_out"):
    """A saga's step was not done within the time that the saga gives it. It may have taken effect: its undo knows."""

    def __init__(self, step: str, seconds: float, last: str) -> None:
        """State which step, its time in seconds, and what its last attempt said."""
        super().__init__(f"{step} was not done within {seconds:g} s: {last}")
        self.step, self.seconds, self.reason = step, seconds, last


class NotInTime(DomainError, code="not_in_time"):
    """What a saga waited for, an event or a person's answer, did not come within its time."""

    def __init__(self, what: str, within: timedelta | None) -> None:
        """Name it, and how long the saga waited."""
        super().__init__(f"{what} did not come within {within}")
        self.what, self.within = what, within


class ChildCompensated(DomainError, code="child_compensated"):
    """A saga that this one began as its child ended compensated: everything of it is undone."""

    def __init__(self, child: str, reason: str) -> None:
        """Name the child, and why it was undone."""
        super().__init__(f"{child} was undone: {reason}")
        self.child, self.reason = child, reason


class LockHeld(DomainError, code="lock_held"):
    """Another saga holds a semantic lock (`sagakit.semantic_lock`)."""

    why = ""

    def __init__(self, state: str, owner: str) -> None:
        """Name what the aggregate is meanwhile, and the saga that holds it."""
        super().__init__(f"it is {state} for {owner}{self.why}")
        self.state, self.owner = state, owner


class LockHeldByElder(LockHeld, code="lock_held_by_elder"):
    """A saga that may hold other locks does not wait for an older one: each might wait for the other. Begin it anew later."""

    why = ", which is older and might come to wait for this one"


class LockLost(DomainError, code="lock_lost"):
    """A saga that does not hold a semantic lock acts as if it did: its lease was over, and another saga took it."""

    def __init__(self, claimant: str, owner: str | None) -> None:
        """Name the saga, and the one that holds the lock, if any does."""
        super().__init__(f"{claimant} does not hold the lock: {f'{owner} does' if owner else 'nobody does'}")
        self.claimant, self.owner = claimant, owner


class PayloadTooLarge(DomainError, code="payload_too_large"):
    """What a saga sends, takes with it or is told is more than Temporal takes; no other attempt would fare better."""

    parks_at_once = True

    def __init__(self, what: str, size: int, limit: int) -> None:
        """Name it, its size and the limit, in bytes."""
        super().__init__(
            f"{what} has {size} bytes, and Temporal takes {limit}: keep the large part elsewhere, and send its address"
        )
        self.what, self.size, self.limit, self.reason = what, size, limit, str(self)


class NotYet(SagakitError):
    """An aggregate does not decide yet; a handler raises it, and nothing is recorded under the command's key.

    A saga's step is tried again with its backoff until its time, ``within=``, is over. Any other sender gets this error.
    """


class InfrastructureError(SagakitError):
    """The machine failed, the business did not: safe to try again."""


class ConcurrencyError(InfrastructureError):
    """The stream moved on since it was loaded."""

    def __init__(self, stream: str, expected: int) -> None:
        """Name the stream and the version that the writer had seen."""
        super().__init__(f"{stream} has moved past version {expected}: load it again and decide again")
        self.stream, self.expected = stream, expected


class DuplicateCommand(InfrastructureError):
    """The idempotency key was used before; ``outcome`` is what happened then."""

    def __init__(self, key: str, outcome: CommandOutcome) -> None:
        """Carry the first outcome, so that the caller can return it."""
        super().__init__(f"the command with key {key} has been handled before: {outcome.status}")
        self.key, self.outcome = key, outcome


class StoreUnavailable(InfrastructureError):
    """The event store's database does not answer."""


class BusUnavailable(InfrastructureError):
    """A message was not confirmed: its fate is unknown, so it is sent again with the same id."""


class BackPressure(InfrastructureError):
    """Commands are refused before anything is decided, until more of what was recorded before is delivered."""

    def __init__(self, service: str, undelivered: int, limit: int, consumer: str) -> None:
        """Name the service, how much is undelivered, the limit, and the consumer that is furthest behind."""
        super().__init__(
            f"service {service} takes no command: {undelivered} events are not delivered yet, over the limit of {limit} "
            f"(SAGAKIT_MAX_UNDELIVERED); {consumer} is furthest behind, `doctor` says why. It goes on by itself once they are"
        )
        self.facts = service, undelivered, limit, consumer


class NotSendable(SagakitError):
    """The bus will never take this event as it is, and takes others: too large, say. Sending it again is no use."""


class TemporalUnavailable(InfrastructureError):
    """There is no Temporal server to talk to."""


class LeaseLost(InfrastructureError):
    """Another process took the lease over; whatever this one wanted to write was not written."""


class SagaNotStarted(SagakitError):
    """An event is for a saga that has never begun. It may be early: it is tried again, and parked when nothing comes of it."""

    def __init__(self, saga: str, event_type: str) -> None:
        """Name both."""
        super().__init__(f"{event_type} is for {saga}, which has never been started")
        self.saga, self.event_type = saga, event_type


class LogWentBack(SagakitError):
    """A checkpoint does not fit its log: that was restored from a backup, or an acknowledged commit was lost.

    It stands past the end, or at a position where another event is by now. Not retried: going on would pass over new events
    that took the old positions.
    """

    def __init__(self, service: str, checkpoint: str, position: int, head: int) -> None:
        """Name the service, its checkpoint, and where both stand; a log that has grown past it has another event there."""
        where = (
            f"the log of service {service} ends at position {head}, and its checkpoint {checkpoint} stands at {position}"
            if position > head
            else f"the log of service {service} has another event at position {position} than its checkpoint {checkpoint} saw"
        )
        super().__init__(
            f"{where}: "
            "the log went back, as after a restore. Restore log and checkpoints from one backup, or set that row of "
            f"sagakit_checkpoints to a position up to {head}, its event_id to null, after making sure that what it fed agrees "
            "with the log"
        )
        self.service, self.checkpoint, self.position, self.head = service, checkpoint, position, head


class UnreadableEvent(SagakitError):
    """A stored event that today's code cannot read. It stays where it is; a release that knows it reads it."""

    def __init__(self, event_type: str, schema_version: int, place: str, why: str) -> None:
        """Name the stored type and version, where it stands, and what is wrong."""
        super().__init__(f"{event_type} {schema_version} ({place}) cannot be read: {why}")
        self.event_type, self.schema_version, self.place, self.why = event_type, schema_version, place, why


class UnreadablePayload(SagakitError):
    """A payload that Temporal keeps cannot be decrypted: a key is missing or wrong, or it belongs elsewhere."""


class TooManyHops(SagakitError):
    """An event at the end of too long a chain of reactions and sagas: parked at once, nothing more comes of it."""

    parks_at_once = True

    def __init__(self, limit: int, event_type: str, cycle: tuple[str, ...], correlation_id: str) -> None:
        """Name the limit, the event, what goes in a circle as far as the code tells, and the conversation."""
        circle = f"the circle is {' -> '.join(cycle)}" if cycle else "the circle leads through code that is not here"
        super().__init__(
            f"{event_type} comes after {limit} reactions and sagas, the most that SAGAKIT_MAX_HOPS allows: {circle}; "
            f"conversation {correlation_id}. Break the circle, then drop this event; or raise the limit, then retry it"
        )
        self.limit, self.event_type, self.cycle, self.correlation_id = limit, event_type, cycle, correlation_id


class InvalidInput(SagakitError):
    """What a person or another system gave cannot be used. The text names the place and the remedy."""


class UnknownMessage(InvalidInput):
    """No message of that name is registered."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        """Name what was asked for and what there is."""
        super().__init__(f"there is no {kind} called {name!r}; known: {', '.join(sorted(known)) or 'none'}")
        self.kind, self.name = kind, name


class WrongSettings(InvalidInput):
    """One or more settings are wrong; all are listed."""
