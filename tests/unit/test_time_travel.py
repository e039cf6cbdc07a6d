"""What changed between two states, field by field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from sagakit.time_travel import changes


class Line(BaseModel):
    product: str
    quantity: int = 1


class State(BaseModel):
    total: Decimal = Decimal(0)
    lines: tuple[Line, ...] = ()
    held: dict[str, int] = {}
    seen: set[str] = set()
    flag: Any = None


def _found(before: State, after: State) -> list[tuple[str, str, Any, Any]]:
    return [(change.path, change.kind, change.before, change.after) for change in changes(before, after)]


def test_equal_states_differ_in_nothing() -> None:
    assert _found(State(total=Decimal("1.0")), State(total=Decimal("1.00"))) == []


def test_models_mappings_and_tuples_are_compared_inside() -> None:
    before = State(lines=(Line(product="a"), Line(product="b")), held={"x": 1, "y": 2})
    after = State(total=Decimal(3), lines=(Line(product="a", quantity=4),), held={"y": 5, "z": 6})
    assert _found(before, after) == [
        ("total", "changed", Decimal(0), Decimal(3)),
        ("lines[0].quantity", "changed", 1, 4),
        ("lines[1]", "removed", {"product": "b", "quantity": 1}, None),
        ("held.x", "removed", 1, None),
        ("held.y", "changed", 2, 5),
        ("held.z", "added", None, 6),
    ]


def test_a_set_is_one_value_and_a_changed_type_is_a_change() -> None:
    assert _found(State(seen={"a"}, flag=1), State(seen={"a", "b"}, flag=True)) == [
        ("seen", "changed", {"a"}, {"a", "b"}),
        ("flag", "changed", 1, True),
    ]
    assert changes(State(), State(total=Decimal("2.50")))[0].as_json() == {
        "path": "total", "kind": "changed", "before": "0", "after": "2.50"
    }  # fmt: skip
