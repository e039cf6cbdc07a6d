"""A semantic lock as a value: who gets it, who is refused, who waits, and in which order; failures E."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from sagakit.errors import LockHeld, LockHeldByElder, LockLost, NotYet
from sagakit.saga_source import check_source
from sagakit.semantic_lock import Claim, SemanticLock, judged_at
from sagakit.testing import given
from tests.support.isolation.semantic_lock import (
    BillOrder,
    HoldOrder,
    LetOrderGo,
    Order,
    OrderLockChanged,
    OrderLocked,
    OrderPlaced,
    OrderRevised,
    ReviseOrder,
    RevisePair,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def claim(owner: str, began: int = 0, at: float | None = None, **more: Any) -> Claim:
    """A claim by a saga that began so many minutes after noon, judged so many after it."""
    moment = None if at is None else NOON + timedelta(minutes=at)
    values: dict[str, Any] = {"state": "REVISION_PENDING", "lease": LEASE} | more
    return Claim(owner=owner, began=NOON + timedelta(minutes=began), at=moment, **values)


FREE = SemanticLock()
HELD = FREE.claimed(claim("s/1"))


def test_a_free_lock_is_its_first_claimants_and_says_what_it_is_pending_for() -> None:
    assert (FREE.owner, FREE.state) == (None, "")
    assert (HELD.owner, HELD.state, HELD.until) == ("s/1", "REVISION_PENDING", NOON + LEASE)
    HELD.require("s/1")


def test_only_its_owner_uses_it_and_gives_it_back() -> None:
    for lock in (FREE, HELD):
        with pytest.raises(LockLost, match="s/2 does not hold the lock"):
            lock.require("s/2")
        with pytest.raises(LockLost):
            lock.released(claim("s/2"))
    assert HELD.released(claim("s/1")) == FREE


def test_who_does_not_wait_is_refused() -> None:
    with pytest.raises(LockHeld, match="it is REVISION_PENDING for s/1") as refusal:
        HELD.claimed(claim("s/2", policy="fail"))
    assert refusal.value.code == "lock_held"


def test_an_older_saga_waits_and_a_younger_one_is_refused_unless_it_holds_nothing_else() -> None:
    held = FREE.claimed(claim("s/5", began=5))
    for policy in ("wait", "queue"):
        with pytest.raises(LockHeldByElder) as refusal:
            held.claimed(claim("s/9", began=9, policy=policy))
        assert refusal.value.code == "lock_held_by_elder"
    for may_wait in (claim("s/1", began=1, policy="wait"), claim("s/9", began=9, policy="wait", is_first=True)):
        with pytest.raises(NotYet, match="REVISION_PENDING for s/5 until 2026-01-01 12:10:00"):
            held.claimed(may_wait)


def test_of_two_that_began_together_one_is_older_all_the_same() -> None:
    one, two = claim("s/1"), claim("s/2")
    assert one.is_older_than(two)
    assert not two.is_older_than(one)
    assert not one.is_older_than(one)


def test_a_lock_is_taken_over_once_its_lease_is_over_and_its_former_owner_is_refused() -> None:
    for policy in ("fail", "wait", "queue"):
        with pytest.raises((LockHeld, NotYet)) if policy != "queue" else pytest.raises(LockHeldByElder):
            HELD.claimed(claim("s/2", began=1, at=4.9, policy=policy))
        taken_over = HELD.claimed(claim("s/2", began=1, at=5, policy=policy))
        assert (taken_over.owner, taken_over.until) == ("s/2", NOON + 2 * LEASE)
        with pytest.raises(LockLost, match="s/1 does not hold the lock: s/2 does"):
            taken_over.require("s/1")
        with pytest.raises(LockLost):
            taken_over.released(claim("s/1", at=6))


def test_the_owner_keeps_a_lock_that_nobody_took_over_however_late_it_is() -> None:
    """Time alone takes nothing away: a clock that is wrong costs an owner its lock only once another saga has it."""
    HELD.require("s/1")
    assert HELD.released(claim("s/1", at=60)) == FREE


def test_an_owners_claim_renews_its_lease_and_never_shortens_it() -> None:
    assert HELD.claimed(claim("s/1", at=3)).until == NOON + timedelta(minutes=8)
    assert HELD.claimed(claim("s/1", at=-3)) == HELD
    assert HELD.claimed(claim("s/1", at=7)).until == NOON + timedelta(minutes=12)


def test_a_queue_is_handed_on_in_order_with_a_lease_that_begins_then() -> None:
    first, second = (claim(f"s/{n}", began=n, at=n, policy="queue", is_first=True) for n in (2, 3))
    queued = HELD.claimed(first).claimed(second)
    assert (queued.owner, [each.owner for each in queued.queue]) == ("s/1", ["s/2", "s/3"])
    assert queued.claimed(first) == queued
    handed_on = queued.released(claim("s/1", at=4))
    assert (handed_on.owner, handed_on.until) == ("s/2", NOON + timedelta(minutes=9))
    assert handed_on.released(claim("s/2", at=5)).owner == "s/3"
    # Who leaves the queue, as its saga is undone, is passed over.
    assert queued.released(claim("s/2", at=4)).released(claim("s/1", at=4)).owner == "s/3"
    # An owner that does not come back is passed over by the next claim, whoever's it is, also by that of the first in the queue.
    assert queued.claimed(first.model_copy(update={"at": NOON + LEASE})).owner == "s/2"
    assert queued.claimed(claim("s/4", began=4, at=5, policy="queue", is_first=True)).owner == "s/2"


def test_a_saga_that_holds_other_locks_stands_in_front_of_the_older_ones() -> None:
    held = FREE.claimed(claim("s/9", began=9))
    queued = held.claimed(claim("s/1", began=1, policy="queue")).claimed(claim("s/5", began=5, policy="queue"))
    assert [each.owner for each in queued.queue] == ["s/5", "s/1"]


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["claim", "release"]),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from(["fail", "wait", "queue"]),
        st.integers(0, 2),
    ),
    max_size=40,
)


@examples(MOVES)
def test_whatever_is_asked_nobody_that_may_hold_other_locks_waits_for_an_older_saga(moves: list[Any]) -> None:
    lock, minutes = FREE, 0
    for kind, number, is_first, policy, passed in moves:
        minutes += passed
        wish = claim(f"s/{number}", began=-number, at=minutes, policy=policy, is_first=is_first)
        try:
            lock = lock.claimed(wish) if kind == "claim" else lock.released(wish)
        except NotYet:
            is_over = lock.until is not None and wish.moment >= lock.until
            ahead = lock.queue[0] if is_over and lock.queue else lock.holder
            assert ahead is not None
            assert is_first or wish.is_older_than(ahead)
        except (LockHeld, LockLost):
            continue
        line = [each for each in (lock.holder, *lock.queue) if each]
        assert len({each.owner for each in line}) == len(line)
        assert (lock.holder is None) == (lock.until is None)
        assert lock.holder is not None or not lock.queue
        for place, waiting in enumerate(lock.queue, 1):
            assert waiting.is_first or all(waiting.is_older_than(ahead) for ahead in line[:place])


@examples(
    st.lists(st.permutations(range(4)).map(lambda names: names[:3]), min_size=2, max_size=5),
    st.lists(st.sampled_from(["wait", "queue"]), min_size=5, max_size=5),
    st.randoms(use_true_random=False),
)
def test_sagas_that_lock_many_things_in_any_order_never_wait_in_a_circle(
    wanted: list[list[int]], policies: list[Any], chance: Any
) -> None:
    """No lease ends and no step has a time limit here: whoever waits, waits until it gets the lock or is refused."""
    locks, got = dict.fromkeys(range(4), FREE), dict.fromkeys(range(len(wanted)), 0)
    elders_that_lost = 0
    while got:
        order = list(got)
        chance.shuffle(order)
        moved = False
        for n in order:
            me = f"s/{n}"
            wish = claim(me, began=n, policy=policies[n], is_first=got[n] == 0)
            what = wanted[n][got[n]]
            is_refused = False
            try:
                locks[what] = locks[what].claimed(wish)
            except NotYet:
                continue
            except LockHeldByElder:
                is_refused = True
                elders_that_lost += n == 0
            if not is_refused and locks[what].owner != me:
                continue
            moved, got[n] = True, got[n] + 1
            if is_refused or got[n] == len(wanted[n]):
                for each in wanted[n][: got[n] - is_refused]:
                    locks[each] = locks[each].released(wish)
                del got[n]
        assert moved, "they wait for each other"
    assert all(lock == FREE for lock in locks.values())
    assert elders_that_lost == 0, "the oldest of all is never refused"


def test_a_claim_is_checked() -> None:
    for wrong in ({"state": "BUSY"}, {"lease": timedelta(0)}, {"policy": "hope"}):
        with pytest.raises(ValidationError):
            claim("s/1", **wrong)
    with pytest.raises(ValidationError, match="timezone"):
        Claim(owner="s/1", began=datetime(2026, 1, 1), state="A_PENDING", lease=LEASE)  # noqa: DTZ001 that is the mistake


def test_every_claim_of_a_command_is_judged_at_the_given_moment() -> None:
    hold = HoldOrder(order="o", claim=claim("s/1", at=99))
    assert judged_at(hold, NOON).claim.moment == NOON
    bill = BillOrder(order="o", owner="s/1")
    assert judged_at(bill, NOON) is bill
    assert claim("s/1", began=3).moment == NOON + timedelta(minutes=3)


PLACED = OrderPlaced(order="o", units=1)
LOCKED = OrderLocked(order="o", revision="1", lock=HELD)


def test_an_aggregate_with_a_lock_decides_purely_and_its_events_survive_the_log() -> None:
    given(Order, PLACED).when(HoldOrder(order="o", claim=claim("s/1"))).then(LOCKED)
    given(Order, PLACED, LOCKED).when(ReviseOrder(order="o", owner="s/2", units=9)).refused(LockLost)
    given(Order, PLACED, LOCKED).when(LetOrderGo(order="o", claim=claim("s/1"))).then(OrderLockChanged(order="o", lock=FREE))


def test_what_a_lost_owner_left_half_done_is_put_back_with_the_take_over() -> None:
    half_done = given(Order, PLACED, LOCKED, OrderRevised(order="o", units=9))
    late = claim("s/2", began=1, at=6)
    order = half_done.when(HoldOrder(order="o", claim=late)).then(
        OrderRevised(order="o", units=1), OrderLocked(order="o", revision="2", lock=HELD.claimed(late))
    )
    assert (order.units, order.lock.owner) == (1, "s/2")


def test_a_saga_that_takes_its_locks_first_is_proven() -> None:
    assert check_source(RevisePair, lambda _: True).verdict == "proven"
