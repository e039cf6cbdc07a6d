"""A semantic lock: a value in an aggregate's state that says which saga it is pending for, until when, and who waits for it.

An aggregate asks it in a handler, puts the lock that it answers into an event, and takes it from there in an applier.

Safety rests on the owner alone: who has lost the lock is refused by `SemanticLock.require`, whatever any clock says. Time only
tells when a lock may be taken over from an owner that does not come back, and it is part of the claim, so deciding stays pure.
No deadlock: who holds another lock waits for younger sagas only (wait-die). A holder is never made to give up, since it may be
behind its pivot. Sources: semantic locks, Frank and Zahle, Software: Practice and Experience 28(1), 1998, and Richardson,
Microservices Patterns, chapter 4; wait-die, Rosenkrantz, Stearns and Lewis, ACM TODS 3(2), 1978.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from sagakit.errors import LockHeld, LockHeldByElder, LockLost, NotYet
from sagakit.messages import Command, Identifier

C = TypeVar("C", bound=Command)


class Claim(BaseModel):
    """A saga's wish to have an aggregate to itself; a field of the commands that take, wait for, renew and give back.

    ``owner`` is the saga's workflow id (`Saga.workflow_id`): it stays the same in every run and attempt. ``began`` is its age,
    kept when the same business is begun anew, so that it grows old enough in the end. ``state`` is what the aggregate is
    meanwhile, such as ``REVISION_PENDING``. ``lease`` is how long the owner may be silent once others want the lock.

    ``policy`` says what happens while another saga holds it: *fail* refuses the step, *wait* has it tried again with its
    backoff, *queue* takes a place and is told by an event. With ``is_first`` the saga says that it holds no other lock, and
    asks for no other side by side with this one: so it may wait for whoever holds this one, older or younger.

    ``at`` is the moment at which the claim is judged. For a saga's step it is the time at which Temporal's server began the
    attempt, whatever was written here; without any it is ``began``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    owner: Identifier
    began: AwareDatetime
    state: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*_PENDING$")]
    lease: timedelta = Field(gt=timedelta(0))
    policy: Literal["fail", "wait", "queue"] = "fail"
    is_first: bool = False
    at: AwareDatetime | None = None

    @property
    def moment(self) -> datetime:
        """When it is judged."""
        return self.at or self.began

    def is_older_than(self, other: Claim) -> bool:
        """Compare by age; no two sagas are of one age, since the owner's name decides between those that began together."""
        return (self.began, self.owner) < (other.began, other.owner)


class SemanticLock(BaseModel):
    """Who holds it until when, and who is next. A value: what changes it returns another one, for an event to carry."""

    model_config = ConfigDict(frozen=True)
    holder: Claim | None = None
    until: AwareDatetime | None = None
    queue: tuple[Claim, ...] = ()

    @property
    def owner(self) -> str | None:
        """The saga that holds it; None when it is free."""
        return self.holder.owner if self.holder else None

    @property
    def state(self) -> str:
        """What the aggregate is meanwhile, such as ``REVISION_PENDING``; empty when it is free."""
        return self.holder.state if self.holder else ""

    def require(self, owner: str) -> None:
        """Raise `LockLost` unless this saga holds it: every command that relies on the lock asks first."""
        if owner != self.owner:
            raise LockLost(owner, self.owner)

    def claimed(self, claim: Claim) -> SemanticLock:
        """Answer a claim by the lock as it is then: held by the claim's owner, or with it in the queue; its ``owner`` tells.

        It is the same lock when nothing changes. An owner's claim renews its lease. A lock whose lease is over goes to the next
        in the queue, or to the claim. Raises `LockHeld` when the policy is *fail*, `LockHeldByElder` when waiting might be for
        ever, `NotYet` when the policy is *wait*.
        """
        if self.until is not None and claim.moment >= self.until:
            return self._passed_on(claim.moment).claimed(claim)
        if self.holder is None or self.owner == claim.owner:
            ends = claim.moment + claim.lease
            return self.model_copy(update={"holder": self.holder or claim, "until": max(self.until or ends, ends)})
        if claim.policy == "fail":
            raise LockHeld(self.state, self.holder.owner)
        if not claim.is_first and self.holder.is_older_than(claim):
            raise LockHeldByElder(self.state, self.holder.owner)
        if claim.policy == "wait":
            raise NotYet(f"it is {self.state} for {self.owner} until {self.until:%Y-%m-%d %H:%M:%S} at most")
        return self.model_copy(update={"queue": self._queue_with(claim)})

    def released(self, claim: Claim) -> SemanticLock:
        """Answer the lock without this owner, from its queue or handed over to the next in it, which gets its lease from now on.

        Raises `LockLost` when the owner neither holds it nor waits.
        """
        if self.owner == claim.owner:
            return self._passed_on(claim.moment)
        remaining = tuple(waiting for waiting in self.queue if waiting.owner != claim.owner)
        if remaining == self.queue:
            raise LockLost(claim.owner, self.owner)
        return self.model_copy(update={"queue": remaining})

    def _passed_on(self, moment: datetime) -> SemanticLock:
        if not self.queue:
            return SemanticLock()
        return SemanticLock(holder=self.queue[0], until=moment + self.queue[0].lease, queue=self.queue[1:])

    def _queue_with(self, claim: Claim) -> tuple[Claim, ...]:
        """Put it behind all whom it may wait for: all for a first lock, else the younger ones."""
        queue = self.queue
        if any(waiting.owner == claim.owner for waiting in queue):
            return queue
        elders = (n for n, waiting in enumerate(queue) if not claim.is_first and waiting.is_older_than(claim))
        place = next(elders, len(queue))
        return (*queue[:place], claim, *queue[place:])


def judged_at(command: C, moment: datetime) -> C:
    """Return the command with every claim in it judged at this moment."""
    claims = {name: claim.model_copy(update={"at": moment}) for name, claim in vars(command).items() if isinstance(claim, Claim)}
    return command.model_copy(update=claims) if claims else command
