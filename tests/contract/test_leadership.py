"""Lease rows with epochs, on both databases (B10, I8)."""

from __future__ import annotations

import pytest

from sagakit.errors import LeaseLost
from sagakit.leadership import Leader
from sagakit.system import OpenService


async def test_one_leads_and_the_other_stands_by(counting: OpenService) -> None:
    one, two = (Leader(counting.tables, "relay", name, 30) for name in ("one", "two"))
    assert await one.take()
    assert not await two.take()
    await one.advance(7)
    await one.release()
    assert await two.take()
    assert two.position == 7


async def test_a_leader_whose_lease_ran_out_changes_nothing_any_more(counting: OpenService) -> None:
    old, new = Leader(counting.tables, "relay", "old", -1), Leader(counting.tables, "relay", "new", 30)
    assert await old.take()
    assert await new.take()
    await new.advance(5)
    with pytest.raises(LeaseLost):
        await old.advance(3)
    with pytest.raises(LeaseLost):
        await old.renew()
    await new.advance(9)
    assert new.position == 9


async def test_a_former_leader_is_fenced_before_the_new_one_has_moved_i8(counting: OpenService) -> None:
    old, new = Leader(counting.tables, "relay", "old", -1), Leader(counting.tables, "relay", "new", 30)
    assert await old.take()
    assert await new.take()
    with pytest.raises(LeaseLost):
        await old.advance(3)
    await new.advance(4)
    assert new.position == 4
