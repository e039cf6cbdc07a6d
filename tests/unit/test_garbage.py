"""A process that lives long looks seldom through what it holds, and still finds cycles that nobody needs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sagakit import garbage

_PYTHONS = (700, 10, 10)


@pytest.fixture(autouse=True)
def _as_python_has_it() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_PYTHONS)
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


class _Node:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_there_is_not_looked_through_again() -> None:
    kept = [_Node() for _ in range(1000)]
    garbage.settle()
    assert gc.get_freeze_count() > len(kept)
    assert not any(isinstance(found, _Node) for found in gc.get_objects())
    assert gc.get_threshold() == (10_000, *_PYTHONS[1:])


def test_cycles_are_found_before_and_after_it() -> None:
    before = weakref.ref(_Node())
    garbage.settle()
    assert before() is None
    after = weakref.ref(_Node())
    more = [[] for _ in range(20_000)]  # type: ignore[var-annotated]
    assert after() is None, f"not among {len(more)} new ones"


def test_it_is_looked_seldom_without_anything_set_apart() -> None:
    frozen = gc.get_freeze_count()
    garbage.seldom()
    assert (gc.get_threshold(), gc.get_freeze_count()) == ((10_000, *_PYTHONS[1:]), frozen)


def test_what_the_process_has_set_itself_stays() -> None:
    gc.set_threshold(50_000, 5, 7)
    garbage.settle()
    assert gc.get_threshold() == (50_000, 5, 7)
    gc.set_threshold(0)
    garbage.settle()
    assert gc.get_threshold()[0] == 0
    gc.unfreeze()
    gc.disable()
    garbage.settle()
    assert (gc.isenabled(), gc.get_freeze_count()) == (False, 0)
