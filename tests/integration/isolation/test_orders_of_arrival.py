"""Order conflicts, without and with commutative updates and with a version file (failures E)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sagakit import Aggregate, Command, DomainError, Event, applies, handles
from tests.support.isolation.commutative_update import BookPoints, Card, PointsBooked
from tests.support.isolation.version_file import Operate, OperationArrived, Payment


def _after(kind: type[Any], commands: Iterable[Command]) -> Any:
    """Have an aggregate handle commands as they come; what it refuses is gone."""
    subject = kind(id="x")
    for command in commands:
        try:
            events = subject.decide(command)
        except DomainError:
            continue
        subject.evolve(events)
    return subject


class CardTooLow(DomainError):
    pass


class StrictCard(Aggregate, category="card"):
    """The card without the countermeasure: a debit is refused when its credit is late."""

    points: int = 0

    @handles(BookPoints)
    def book(self, command: BookPoints) -> Event:
        if self.points + command.points < 0:
            raise CardTooLow
        return PointsBooked(card=self.id, booking=command.booking, points=command.points)

    @applies(PointsBooked)
    def _booked(self, event: PointsBooked) -> None:
        self.points += event.points


BOOKINGS = st.lists(st.integers(-100, 100), min_size=1, max_size=6).flatmap(
    lambda amounts: st.tuples(
        st.just(amounts),
        # Every booking at least once, in any order, some again.
        st.lists(st.sampled_from(range(len(amounts))), max_size=6).flatmap(
            lambda repeats: st.permutations([*range(len(amounts)), *repeats])
        ),
    )
)


@given(BOOKINGS)
def test_credits_and_debits_come_to_the_same_in_every_order_however_often_they_come(case: tuple[list[int], list[int]]) -> None:
    amounts, arrivals = case
    card = _after(Card, [BookPoints(card="x", booking=str(n), points=amounts[n]) for n in arrivals])
    assert card.points == sum(amounts)
    assert card.is_overdrawn == (sum(amounts) < 0)


def test_without_it_a_debit_that_comes_before_its_credit_is_lost() -> None:
    bookings = [BookPoints(card="x", booking=str(points), points=points) for points in (30, -20)]
    assert {_after(StrictCard, order).points for order in itertools.permutations(bookings)} == {10, 30}
    assert {_after(Card, order).points for order in itertools.permutations(bookings)} == {10}


class NotAuthorized(DomainError):
    pass


class HastyPayment(Aggregate, category="payment"):
    """The payment without the countermeasure: each operation is done as it arrives, and one that does not fit is refused."""

    held: int = 0

    @handles(Operate)
    def operate(self, command: Operate) -> Event:
        if command.operation != "authorize" and not self.held:
            raise NotAuthorized
        return OperationArrived(**command.model_dump())

    @applies(OperationArrived)
    def _arrived(self, event: OperationArrived) -> None:
        self.held = 0 if event.operation == "cancel" else self.held + event.pence


OPERATIONS: Sequence[Operate] = (
    Operate(payment="x", number=1, operation="authorize", pence=50),
    Operate(payment="x", number=2, operation="raise", pence=25),
    Operate(payment="x", number=3, operation="cancel"),
)


def test_without_it_a_cancelled_payment_stays_held_when_the_cancellation_comes_first() -> None:
    assert {_after(HastyPayment, order).held for order in itertools.permutations(OPERATIONS)} == {0, 50, 75}


def test_with_it_all_operations_come_to_the_same_in_every_order_with_repetitions() -> None:
    for order in itertools.permutations([*OPERATIONS, OPERATIONS[0], OPERATIONS[2]]):
        payment = _after(Payment, order)
        assert (payment.held, payment.has_gap) == (0, False)


def test_what_comes_behind_a_gap_takes_no_effect_until_the_gap_is_filled() -> None:
    authorized, raised, cancelled = OPERATIONS
    assert (_after(Payment, [authorized, cancelled]).held, _after(Payment, [authorized, cancelled]).has_gap) == (50, True)
    assert _after(Payment, [raised]).held == 0
    assert _after(Payment, [raised, authorized]).held == 75
