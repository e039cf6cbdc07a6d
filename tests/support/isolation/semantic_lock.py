"""Semantic lock: while a saga revises a pair of orders, each is REVISION_PENDING, and other sagas fail, wait or queue."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, DomainError, Event, Saga, Service, applies, handles
    from sagakit.messages import Identifier
    from sagakit.semantic_lock import Claim, SemanticLock


class PlaceOrder(Command, name="place_order", id_field="order"):
    order: Identifier
    units: int


class HoldOrder(Command, name="hold_order", id_field="order"):
    order: Identifier
    claim: Claim


class ReviseOrder(Command, name="revise_order", id_field="order"):
    order: Identifier
    owner: str
    units: int


class PutBack(Command, name="put_back", id_field="order"):
    order: Identifier
    owner: str


class BillOrder(Command, name="bill_order", id_field="order"):
    order: Identifier
    owner: str


class LetOrderGo(Command, name="let_order_go", id_field="order"):
    order: Identifier
    claim: Claim


class OrderPlaced(Event, name="order.placed", version=1):
    order: str
    units: int


class OrderLocked(Event, name="order.locked", version=1):
    """A revision has it now; the saga is told by this event where it had to queue."""

    order: str
    revision: str
    lock: SemanticLock


class OrderLockChanged(Event, name="order.lock_changed", version=1):
    """It is free, or somebody came into the queue, or left it."""

    order: str
    lock: SemanticLock


class OrderRevised(Event, name="order.revised", version=1):
    order: str
    units: int


class OrderBilled(Event, name="order.billed", version=1):
    order: str
    units: int


class Order(Aggregate, category="order"):
    """Whoever revises or bills it has it to itself meanwhile."""

    units: int = 0
    before: int | None = None
    billed: int = 0
    lock: SemanticLock = SemanticLock()

    @handles(PlaceOrder)
    def place(self, command: PlaceOrder) -> Event:
        return OrderPlaced(order=self.id, units=command.units)

    @handles(HoldOrder)
    def hold(self, command: HoldOrder) -> list[Event]:
        lock = self.lock.claimed(command.claim)
        is_taken_over = lock.owner != self.lock.owner and self.before is not None
        put_back = [OrderRevised(order=self.id, units=self.before)] if is_taken_over else []
        return [*put_back, *self._moved(lock)]

    @handles(LetOrderGo)
    def let_go(self, command: LetOrderGo) -> list[Event]:
        return self._moved(self.lock.released(command.claim))

    @handles(ReviseOrder)
    def revise(self, command: ReviseOrder) -> Event:
        self.lock.require(command.owner)
        return OrderRevised(order=self.id, units=command.units)

    @handles(PutBack)
    def put_back(self, command: PutBack) -> Event | None:
        self.lock.require(command.owner)
        return None if self.before is None else OrderRevised(order=self.id, units=self.before)

    @handles(BillOrder)
    def bill(self, command: BillOrder) -> Event:
        self.lock.require(command.owner)
        return OrderBilled(order=self.id, units=self.units)

    def _moved(self, lock: SemanticLock) -> list[Event]:
        if lock == self.lock:
            return []
        if lock.owner is None or lock.owner == self.lock.owner:
            return [OrderLockChanged(order=self.id, lock=lock)]
        return [OrderLocked(order=self.id, revision=lock.owner.partition("/")[2], lock=lock)]

    @applies(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.units = event.units

    @applies(OrderLocked)
    def _locked(self, event: OrderLocked) -> None:
        self.lock, self.before = event.lock, None

    @applies(OrderLockChanged)
    def _lock_changed(self, event: OrderLockChanged) -> None:
        if event.lock.owner is None:
            self.before = None
        self.lock = event.lock

    @applies(OrderRevised)
    def _revised(self, event: OrderRevised) -> None:
        self.before = self.units if self.before is None else self.before
        self.units = event.units

    @applies(OrderBilled)
    def _billed(self, event: OrderBilled) -> None:
        self.billed += event.units


class AskRevision(Command, name="ask_revision", id_field="revision"):
    revision: Identifier
    first: Identifier
    second: Identifier
    units: int
    asked_at: datetime
    policy: Literal["fail", "wait", "queue"] = "wait"
    within: timedelta = timedelta(minutes=10)


class ApproveRevision(Command, name="approve_revision", id_field="revision"):
    revision: Identifier


class RevisionAsked(Event, name="revision.asked", version=1):
    revision: str
    first: str
    second: str
    units: int
    asked_at: datetime
    policy: Literal["fail", "wait", "queue"]
    within: timedelta


class RevisionApproved(Event, name="revision.approved", version=1):
    revision: str


class TooMany(DomainError):
    """Nobody gets more than a hundred."""


class Revision(Aggregate, category="revision"):
    units: int = 0

    @handles(AskRevision)
    def ask(self, command: AskRevision) -> Event:
        return RevisionAsked(**command.model_dump())

    @handles(ApproveRevision)
    def approve(self, _command: ApproveRevision) -> Event:
        if self.units > 100:
            raise TooMany(f"{self.units} are too many")
        return RevisionApproved(revision=self.id)

    @applies(RevisionAsked)
    def _asked(self, event: RevisionAsked) -> None:
        self.units = event.units

    @applies(RevisionApproved)
    def _approved(self, event: RevisionApproved) -> None: ...


@workflow.defn
class RevisePair(Saga, starts_on=RevisionAsked, key="revision", expects={OrderLocked: "revision"}):
    """Both orders of a pair get the same units, or neither changes."""

    @workflow.run
    async def run(self, asked: RevisionAsked) -> None:
        me, pair = self.workflow_id(asked), (asked.first, asked.second)
        lease = timedelta(minutes=5)
        claim = Claim(owner=me, began=asked.asked_at, state="REVISION_PENDING", lease=lease, policy=asked.policy)
        for number, order in enumerate(pair):
            mine = claim.model_copy(update={"is_first": number == 0})
            hold = HoldOrder(order=order, claim=mine)
            let_go = LetOrderGo(order=order, claim=mine)
            await self.step(hold, undo=let_go, within=asked.within)
            if asked.policy == "queue":
                await self.expect(OrderLocked, match=lambda locked, held=order: locked.order == held, within=asked.within)
        for order in pair:
            await self.step(ReviseOrder(order=order, owner=me, units=asked.units), undo=PutBack(order=order, owner=me))
        await self.step(ApproveRevision(revision=asked.revision), pivot=True)
        for order in reversed(pair):
            await self.step(LetOrderGo(order=order, claim=claim))


SERVICES = (Service("orders", aggregates=(Order,)), Service("revisions", aggregates=(Revision,), sagas=(RevisePair,)))
