"""Old events in today's form: each kind of change, chains, and what is refused before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sagakit import Aggregate, Event, Projection, Saga, Service, applies, projects, upcasts
from sagakit.errors import InvalidInput, UnreadableEvent
from sagakit.messages import Metadata, NewEvent, Registry, new_event
from sagakit.service import ServiceMap
from sagakit.testing import ImpureUpcaster, upcast
from sagakit.upcasting import Upcaster
from tests.support.shop import Added
from tests.support.versions import RunRow


class Sent(Event, name="letter.sent", version=4):
    to: str
    weight_grams: int
    address: str


class Stamped(Event, name="letter.stamped", version=1):
    pence: int


@upcasts("letter.sent", 1)
def _rename(fields: dict[str, Any]) -> dict[str, Any]:
    return {"to": fields["recipient"]} | {name: value for name, value in fields.items() if name != "recipient"}


@upcasts("letter.sent", 2)
def _add(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"weight_grams": 20}


@upcasts("letter.sent", 3, into=[("letter.stamped", 1), ("letter.sent", 4)])
def _split_and_merge(fields: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    kept = {name: fields[name] for name in ("to", "weight_grams")}
    return [
        ("letter.stamped", 1, {"pence": fields["pence"]}),
        ("letter.sent", 4, kept | {"address": f"{fields['street']}, {fields['town']}"}),
    ]


@upcasts("post.sent", 1, into=[("letter.sent", 1)])
def _move(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


@upcasts("letter.admired", 1, into=())
def _drop(_fields: dict[str, Any]) -> tuple[()]:
    return ()


CHAIN = (_rename, _add, _split_and_merge, _move, _drop)
REGISTRY = Registry([Sent, Stamped], upcasters=CHAIN)
OLD = '{"recipient": "ann", "street": "High St 1", "town": "Ely", "pence": 60}'


def _stored(name: str, version: int, data: str) -> NewEvent:
    return replace(new_event(Added(amount=1), Metadata(correlation_id="c")), type=name, schema_version=version, data=data)


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [
        ("post.sent", 1, OLD),
        ("letter.sent", 1, OLD),
        ("letter.sent", 2, OLD.replace("recipient", "to")),
        ("letter.sent", 3, OLD.replace('"recipient"', '"weight_grams": 20, "to"')),
    ],
)
def test_every_old_form_comes_out_as_todays(name: str, version: int, data: str) -> None:
    today = (Stamped(pence=60), Sent(to="ann", weight_grams=20, address="High St 1, Ely"))
    assert REGISTRY.decode_all(_stored(name, version, data)) == today


def test_a_dropped_event_means_nothing() -> None:
    assert REGISTRY.decode_all(_stored("letter.admired", 1, "{}")) == ()


def test_an_event_of_today_meets_no_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "_upcast", lambda *_: pytest.fail("today's event went through the chain"))
    assert REGISTRY.decode_all(_stored("letter.stamped", 1, '{"pence": 1}')) == (Stamped(pence=1),)


def test_subscribers_are_owed_the_old_names_too() -> None:
    assert REGISTRY.stored_names([Sent]) == {"letter.sent", "post.sent"}
    assert REGISTRY.stored_names([Stamped]) == {"letter.stamped", "letter.sent", "post.sent"}


@pytest.mark.parametrize(
    ("name", "version", "data", "says"),
    [
        ("letter.sent", 5, "{}", "there is no event called 'letter.sent 5'"),
        ("letter.sent", 1, "{}", "its upcaster failed: KeyError: 'recipient'"),
        ("letter.sent", 1, "[", "its upcaster failed: ValueError"),
        ("letter.sent", 1, "[" * 100_000, "its upcaster failed: ValueError"),
        ("letter.stamped", 1, '{"pence": "secret"}', "pence: Input should be a valid integer"),
        ("letter.stamped", 1, "[" * 100_000, "Invalid JSON: recursion limit exceeded"),
    ],
)
def test_what_cannot_be_read_is_named_and_its_values_are_not(name: str, version: int, data: str, says: str) -> None:
    with pytest.raises(UnreadableEvent) as caught:
        REGISTRY.decode_all(_stored(name, version, data))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (caught.value.event_type, caught.value.schema_version) == (name, version)


def _to(name: str, version: int, *into: tuple[str, int]) -> Upcaster:
    return upcasts(name, version, into=into)(lambda fields: fields)


@pytest.mark.parametrize(
    ("upcasters", "says"),
    [
        ([_to("a.b", 1, ("a.b", 2)), _to("a.b", 2, ("a.b", 1))], "a.b 1 > a.b 2 > a.b 1 go in a circle"),
        ([_to("a.b", 1, ("a.b", 1))], "go in a circle"),
        ([_to("a.b", 1, ("a.b", 2))], "leads to a.b 2, which no aggregate applies"),
        ([_to("letter.sent", 1, ("letter.sent", 4))], "nothing reads letter.sent 2"),
        ([_to("letter.sent", 3, ("letter.sent", 4)), _to("letter.sent", 1, ("letter.sent", 4))], "nothing reads letter.sent 2"),
        ([_to("letter.sent", 3, ("letter.sent", 4)), _to("letter.sent", 3, ("letter.stamped", 1))], "two upcasters read"),
    ],
)
def test_a_chain_that_does_not_hold_is_refused_at_start(upcasters: list[Upcaster], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Registry([Sent, Stamped], upcasters=upcasters)


def test_an_upcaster_returns_what_it_declared() -> None:
    with pytest.raises(InvalidInput, match=r"returned a.c 1; declare it: into=\[\('a.b', 2\), \('a.c', 1\)\]"):
        upcasts("a.b", 1)(lambda fields: ("a.c", 1, fields))({})
    with pytest.raises(InvalidInput, match="returned fields alone, but it leads to nothing"):
        upcasts("a.b", 1, into=())(lambda fields: fields)({})
    with pytest.raises(InvalidInput, match="versions begin with 1"):
        upcasts("a.b", 0)


class Letter(Aggregate, category="letter"):
    pence: int = 0

    @applies(Sent)
    def _sent(self, event: Sent) -> None:
        assert self.version == 0

    @applies(Stamped)
    def _stamped(self, event: Stamped) -> None:
        self.pence += event.pence


def test_the_version_of_an_aggregate_counts_stored_events() -> None:
    letter = Letter(id="a")
    letter.evolve(REGISTRY.decode_all(_stored("letter.sent", 1, OLD)), version=1)
    assert (letter.version, letter.pence) == (1, 60)
    letter.evolve(REGISTRY.decode_all(_stored("letter.admired", 1, "{}")), version=2)
    assert letter.version == 2
    assert letter.evolve([Stamped(pence=1)]).version == 3


class First(Event, name="run.started", version=1):
    run: str


class Second(Event, name="run.started", version=2):
    run: str


class Runs(Aggregate, category="runs"):
    @applies(First)
    def _first(self, event: First) -> None: ...

    @applies(Second)
    def _second(self, event: Second) -> None: ...


class OnFirst(Saga, starts_on=First, key="run"):
    pass


class OnSecond(Saga, starts_on=Second, key="run"):
    pass


class SecondOnly(Projection, name="second_only", table=RunRow):
    @projects(Second)
    async def _second(self, session: Any, event: Second, recorded: Any) -> None: ...


def test_a_reader_that_would_pass_over_a_version_is_refused_at_start() -> None:
    forward = upcasts("run.started", 1)(lambda fields: fields)
    with pytest.raises(InvalidInput, match=r"saga on-second knows run.started 2, but not run.started 1"):
        ServiceMap([Service("runs", aggregates=(Runs,), sagas=(OnSecond,))])
    with pytest.raises(InvalidInput, match=r"projection second_only knows run.started 2, but not run.started 1"):
        ServiceMap([Service("runs", aggregates=(Runs,), projections=(SecondOnly,))])
    with pytest.raises(InvalidInput, match=r"saga on-first waits for run.started 1, which an upcaster reads as something newer"):
        ServiceMap([Service("runs", aggregates=(Runs,), sagas=(OnFirst,), upcasters=(forward,))])
    ServiceMap([Service("runs", aggregates=(Runs,), sagas=(OnSecond,), projections=(SecondOnly,), upcasters=(forward,))])


def test_the_kit_for_upcasters_finds_what_it_is_there_to_find() -> None:
    fields = {"recipient": "ann", "street": "High St 1", "town": "Ely", "pence": 60}
    upcast(REGISTRY, "post.sent", 1, fields).becomes(Stamped(pence=60), Sent(to="ann", weight_grams=20, address="High St 1, Ely"))
    upcast(REGISTRY, "letter.admired", 1, {}).becomes()
    with pytest.raises(AssertionError, match=r"letter.admired 1 becomes \[\], expected"):
        upcast(REGISTRY, "letter.admired", 1, {}).becomes(Stamped(pence=1))

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        fields["stamp"]["seen"] = True
        return {"pence": 1}

    ticks = iter(range(9))

    def tick(_fields: dict[str, Any]) -> dict[str, Any]:
        return {"pence": next(ticks)}

    into = [("letter.stamped", 1)]
    with pytest.raises(ImpureUpcaster, match=r"the upcaster change of stamp.old 1 changes the fields"):
        upcast(
            Registry([Stamped], upcasters=[upcasts("stamp.old", 1, into=into)(change)]), "stamp.old", 1, {"stamp": {}}
        ).becomes()
    with pytest.raises(ImpureUpcaster, match="answers the same fields differently"):
        upcast(Registry([Stamped], upcasters=[upcasts("stamp.old", 1, into=into)(tick)]), "stamp.old", 1, {}).becomes()
