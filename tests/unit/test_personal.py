"""Personal fields are found where they are declared, and a pseudonym keeps type and equality."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, TypeAdapter

from sagakit.personal import Personal, Pseudonyms, leaves, personal_paths, replaced, without


class Person(BaseModel):
    name: Annotated[str, Personal()]
    age: int
    parent: Person | None = None


class Form(BaseModel):
    id: str
    signed: Annotated[str, Personal()] | None = None
    people: tuple[Person, ...] = ()
    by_role: dict[str, Person] = {}
    note: Annotated[dict[str, list[str]], Personal()] = {}


FORM = Form(
    id="f",
    signed="kim",
    people=(Person(name="ann", age=4),),
    by_role={"boss": Person(name="kim", age=5)},
    note={"a": ["kim", "x"]},
)


def test_paths_lead_through_models_lists_mappings_and_options() -> None:
    paths = personal_paths(Form)
    assert {("signed",), ("people", "*", "name"), ("by_role", "*", "name"), ("note",)} <= paths
    assert personal_paths(Person) == {("name",), ("parent",)}


def test_a_person_within_a_person_is_masked_whole() -> None:
    deep = Person(name="ann", age=4, parent=Person(name="kim", age=40, parent=Person(name="eve", age=70)))
    masked = replaced(deep.model_dump(mode="json"), personal_paths(Person), (), lambda _: "#")
    assert masked == {
        "name": "#",
        "age": 4,
        "parent": {"name": "#", "age": "#", "parent": {"name": "#", "age": "#", "parent": "#"}},
    }


class Node(BaseModel):
    weight: int
    next: Node | None = None


def test_a_model_within_itself_without_anything_personal_has_no_paths() -> None:
    assert personal_paths(Node) == frozenset()


def test_what_is_personal_is_replaced_and_nothing_else() -> None:
    masked = replaced(FORM.model_dump(mode="json"), personal_paths(Form), (), lambda value: f"<{value}>")
    assert masked == {
        "id": "f",
        "signed": "<kim>",
        "people": [{"name": "<ann>", "age": 4, "parent": "<None>"}],
        "by_role": {"boss": {"name": "<kim>", "age": 5, "parent": "<None>"}},
        "note": {"a": ["<kim>", "<x>"]},
    }
    assert leaves(FORM.model_dump(), personal_paths(Form)) == ["kim", "ann", None, "kim", None, "kim", "x"]


def test_a_named_field_is_masked_at_any_depth() -> None:
    assert replaced({"age": 1, "in": [{"age": 2, "b": 3}]}, (), ["age"], lambda _: 0) == {"age": 0, "in": [{"age": 0, "b": 3}]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, "Ann Ex"), (int, 42), (int, -3), (float, 1.5), (Decimal, Decimal("12.50")), (datetime, datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        (date, date(2010, 12, 1)), (UUID, UUID(int=7)), (str, "17850"), (str, "ann@example.org"), (bool, True),
    ],
)  # fmt: skip
def test_a_pseudonym_keeps_type_and_equality(kind: Any, value: Any) -> None:
    adapter, one, two = TypeAdapter(kind), Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
    written = adapter.dump_python(value, mode="json")
    masked = one.of(written)
    adapter.validate_json(TypeAdapter(Any).dump_json(masked))
    assert type(masked) is type(written)
    assert masked == one.of(written)
    if kind is not bool:
        assert len({written, masked, two.of(written)}) == 3
    if kind is Decimal:
        assert Decimal(masked).as_tuple().exponent == -2


def test_nothing_stays_nothing() -> None:
    assert [Pseudonyms(b"k" * 32).of(value) for value in (None, "")] == [None, ""]


def test_many_values_get_as_many_pseudonyms() -> None:
    mask = Pseudonyms(b"k" * 32).of
    assert len({mask(str(n)) for n in range(20_000)}) == len({mask(n) for n in range(20_000)}) == 20_000


def test_short_values_are_replaced_in_a_text_only_as_words() -> None:
    assert without("at 7: 17 of Johnson, johnson's 7", {"7": "#", "John": "?", "Johnson": "!"}) == "at #: 17 of !, johnson's #"
    assert without("as it is", {}) == "as it is"
