"""The bounds of the memory image."""

from __future__ import annotations

import pytest

from sagakit.image import Live, MemoryImage
from tests.support.shop import Counter


def _live(weight: int) -> Live:
    return Live(Counter(id="a"), weight)


def test_the_least_recently_used_goes_first() -> None:
    image = MemoryImage(2, 100)
    image.put("a", _live(1))
    image.put("b", _live(1))
    assert image.get("a") is not None
    image.put("c", _live(1))
    assert [name for name in "abc" if image.get(name)] == ["a", "c"]


def test_the_heaviest_go_when_there_is_no_room() -> None:
    image = MemoryImage(10, 100)
    image.put("a", _live(60))
    image.put("b", _live(50))
    assert (image.get("a"), image.weight) == (None, 50)
    image.put("c", _live(101))
    assert (image.get("c"), image.weight) == (None, 50)


def test_an_aggregate_that_grew_while_it_was_kept_is_counted_right() -> None:
    image, live = MemoryImage(10, 100), _live(10)
    for weight in (10, 30, 70):
        live.weight = weight
        image.put("a", live)
        assert image.weight == weight
    live.weight = 90
    image.drop("a")
    assert (image.weight, len(image)) == (0, 0)


@pytest.mark.parametrize("bounds", [(0, 100), (10, 0)])
def test_no_room_keeps_nothing(bounds: tuple[int, int]) -> None:
    image = MemoryImage(*bounds)
    image.put("a", _live(1))
    assert image.get("a") is None
