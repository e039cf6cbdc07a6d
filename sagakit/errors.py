"""Every error that sagakit raises on purpose.

SagakitError
├── DomainError              the business says no: never retried, leads to compensation
│   └── StepRefused          a saga's step was refused by the aggregate that it went to
├── NotSendable              an event that no bus will ever take, for its own sake: the others go on
├── LogWentBack              a checkpoint stands past the end of its log: stops, for a person to decide
├── UnreadableEvent          a stored event that today's code cannot read: parked, or retried until a release can
└── InfrastructureError      the machine failed: retried
    ├── ConcurrencyError     somebody else appended first: reload and decide again
    ├── DuplicateCommand     the idempotency key is taken: its recorded outcome is the answer
    ├── StoreUnavailable     the database cannot be reached
    ├── BusUnavailable       the message could not be handed over for certain
    ├── TemporalUnavailable  no Temporal server, or none could be started
    └── LeaseLost            another process leads now
InvalidInput                 what was given cannot be used; the text names place and remedy
├── UnknownMessage           a type name that no registry entry knows
└── WrongSettings            all wrong settings at once
"""

from __future__ import annotations

from typing import ClassVar

from sagakit.outcome import CommandOutcome


class SagakitError(Exception):
    """The base of all of them."""


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
    """A saga's step was refused: ``refusal`` holds the code of the participant's own error."""

    def __init__(self, step: str, refusal: str, reason: str) -> None:
        """State which step, which rule, and the participant's words."""
        super().__init__(reason)
        self.step, self.refusal, self.reason = step, refusal, reason


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


class NotSendable(SagakitError):
    """An event that can never be handed over, whatever the state of the bus; the text says what is wrong with it."""


class TemporalUnavailable(InfrastructureError):
    """There is no Temporal server to talk to."""


class LeaseLost(InfrastructureError):
    """Another process took the lease over; whatever this one wanted to write was not written."""


class LogWentBack(SagakitError):
    """A checkpoint stands past the end of its log: the log was restored from a backup, or an acknowledged commit was lost.

    Not retried: going on would pass over new events that take the old positions.
    """

    def __init__(self, service: str, checkpoint: str, position: int, head: int) -> None:
        """Name the service, its checkpoint, and where both stand."""
        super().__init__(
            f"the log of service {service} ends at position {head}, and its checkpoint {checkpoint} stands at {position}: "
            "the log went back, as after a restore. Restore log and checkpoints from one backup, or set that row of "
            f"sagakit_checkpoints to a position up to {head} after making sure that what it fed agrees with the log"
        )
        self.service, self.checkpoint, self.position, self.head = service, checkpoint, position, head


class UnreadableEvent(SagakitError):
    """A stored event that today's code cannot read. It stays where it is; a release that knows it reads it."""

    def __init__(self, event_type: str, schema_version: int, place: str, why: str) -> None:
        """Name the stored type and version, where it stands, and what is wrong."""
        super().__init__(f"{event_type} {schema_version} ({place}) cannot be read: {why}")
        self.event_type, self.schema_version, self.place, self.why = event_type, schema_version, place, why


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
