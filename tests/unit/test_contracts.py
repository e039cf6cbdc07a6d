"""The contract lock: what each change means, whom it reaches, and that nothing unlocked passes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from sagakit import Aggregate, Command, Event, Service, applies, handles, upcasts
from sagakit.contracts import compare, contract_of, load_lock, merged, save_lock
from sagakit.errors import InvalidInput
from sagakit.schemas import faults
from sagakit.service import ServiceMap
from sagakit.upcasting import Upcaster
from tests.support.command_line import run_command
from worker.services import BANK, RENEWALS, SERVICES, TRIPS

ROOT = Path(__file__).resolve().parents[2]


def _services(
    fields: dict[str, Any], version: int = 1, upcasters: tuple[Upcaster, ...] = (), command: dict[str, Any] | None = None
) -> ServiceMap:
    """A service with one event and one command, each with these fields: name to type, or to (type, default)."""
    event = _class(Event, "Painted", {"wall": str} | fields, name="wall.painted", version=version)
    wish = _class(Command, "Paint", {"wall": str} | (command or {}), name="paint", id_field="wall")

    class Wall(Aggregate, category="wall"):
        @handles(wish)
        def paint(self, command: Command) -> None: ...

        @applies(event)
        def _painted(self, event: Event) -> None: ...

    return ServiceMap([Service("walls", aggregates=(Wall,), upcasters=upcasters)])


def _class(base: type, class_name: str, fields: dict[str, Any], **arguments: Any) -> Any:
    types = {field: kind[0] if isinstance(kind, tuple) else kind for field, kind in fields.items()}
    defaults = {field: kind[1] for field, kind in fields.items() if isinstance(kind, tuple)}
    return type(base)(class_name, (base,), {"__annotations__": types, "__module__": __name__, **defaults}, **arguments)


BASE = {"colour": str, "coats": int, "price": Decimal, "finish": (Literal["matt", "gloss"], "matt")}
OLD = contract_of(_services(BASE))
FORWARD = upcasts("wall.painted", 1)(lambda fields: fields)
DROPPED = upcasts("wall.painted", 1, into=())(lambda _: ())


@pytest.mark.parametrize(
    ("services", "verdict", "says"),
    [
        (_services(BASE | {"note": (str, "")}), "compatible", "stored ones load"),
        (_services(BASE | {"note": (str | None, None)}), "compatible", "stored ones load"),
        (_services({name: kind for name, kind in BASE.items() if name != "finish"}), "compatible", "stored ones load"),
        (_services(BASE | {"note": str}), "needs an upcaster", "note must be there and was not known"),
        (_services(BASE | {"coats": str}), "needs an upcaster", "coats was integer and is now string"),
        (_services(BASE | {"coats": float}), "needs an upcaster", "running code of before does not load new ones"),
        (_services({name: kind for name, kind in BASE.items() if name != "coats"}), "needs an upcaster", "coats must be there"),
        (_services(BASE | {"finish": Literal["matt", "gloss"]}), "needs an upcaster", "finish must be there"),
        (_services(BASE | {"finish": (Literal["matt"], "matt")}), "needs an upcaster", "finish no longer takes ['gloss']"),
        (_services(BASE | {"finish": (Literal["matt", "gloss", "silk"], "matt")}), "needs an upcaster", "no longer takes ['silk']"),
        (_services(BASE, version=2), "breaking", "nothing reads it any more"),
        (_services(BASE, version=2, upcasters=(FORWARD,)), "compatible", "stored ones are read as wall.painted 2"),
        (_services(BASE, upcasters=(DROPPED,)), "compatible", "stored ones are read as nothing"),
    ],
)  # fmt: skip
def test_what_a_change_of_an_event_means(services: ServiceMap, verdict: str, says: str) -> None:
    change = next(change for change in compare(OLD, services) if change.subject == "event wall.painted 1")
    assert (change.verdict, says in change.detail) == (verdict, True), change.detail
    assert change.reaches[0] in ("aggregate wall (walls)", "service walls")


@pytest.mark.parametrize(
    ("command", "verdict", "says"),
    [
        ({"ladder": (bool, False)}, "compatible", "deploy the service that handles it before"),
        ({"ladder": bool}, "breaking", "ladder must be there"),
    ],
)
def test_what_a_change_of_a_command_means(command: dict[str, Any], verdict: str, says: str) -> None:
    (change,) = compare(OLD, _services(BASE, command=command))
    assert (change.subject, change.verdict, says in change.detail) == ("command paint", verdict, True), change.detail
    (lost,) = compare(contract_of(_services(BASE, command={"old": str})), _services(BASE))
    assert (lost.verdict, "old is not taken any more" in lost.detail) == ("breaking", True)


def test_a_retired_version_stays_locked_and_so_does_its_upcaster() -> None:
    retired = merged(OLD, contract_of(_services(BASE, version=2, upcasters=(FORWARD,))))
    assert retired["events"]["wall.painted"]["1"]["schema"] == OLD["events"]["wall.painted"]["1"]["schema"]
    assert compare(retired, _services(BASE, version=2, upcasters=(FORWARD,))) == []
    (change,) = compare(retired, _services(BASE, version=2))
    assert (change.subject, change.verdict) == ("event wall.painted 1", "breaking")


def test_a_part_of_an_event_counts_too() -> None:
    class Small(BaseModel):
        a: int

    class Large(BaseModel):
        a: int
        b: str

    old = contract_of(_services({"parts": list[Small]}))
    (change,) = compare(old, _services({"parts": list[Large]}))
    assert "parts[].b must be there" in change.detail


@pytest.mark.parametrize("keyword", ["allOf", "not", "propertyNames", "something_new"])
def test_what_cannot_be_compared_is_no_yes(keyword: str) -> None:
    assert faults({"type": "string"}, {"type": "string", keyword: [{}]})


def test_the_change_of_a_demo_event_names_everybody_it_reaches() -> None:
    services = ServiceMap(SERVICES)
    lock = contract_of(services)
    del lock["events"]["order.placed"], lock["commands"]["reserve_stock"]
    (command,) = (change for change in compare(lock, services) if change.subject == "command reserve_stock")
    (event,) = (change for change in compare(lock, services) if change.subject == "event order.placed 1")
    assert event.reaches == ("aggregate order (orders)", "projection order_summary (orders)", "saga order-fulfilment (orders)")
    assert command.reaches == ("saga order-fulfilment (orders)", "aggregate stock (stock)")


@pytest.mark.parametrize(
    ("name", "services"),
    [
        ("contracts.lock.json", SERVICES),
        ("contracts.bank.lock.json", BANK),
        ("contracts.renewals.lock.json", RENEWALS),
        ("contracts.trips.lock.json", TRIPS),
    ],
)
def test_the_committed_lock_is_the_code_and_is_written_the_same_again(
    tmp_path: Path, name: str, services: tuple[Service, ...]
) -> None:
    lock = load_lock(ROOT / name)
    assert compare(lock, ServiceMap(services)) == []
    save_lock(tmp_path / "again.json", merged(lock, contract_of(ServiceMap(services))))
    assert (tmp_path / "again.json").read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "events": [], "commands": {}}', "[" * 100_000])
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"(?i)restore it from version control"):
        load_lock(tmp_path / "lock.json")


def test_the_command_line(tmp_path: Path) -> None:
    path = str(tmp_path / "lock.json")

    def run(services: ServiceMap, *args: str) -> tuple[int, str]:
        return run_command(services, "contracts", *args, "--lock-file", path)

    first, changed = _services(BASE), _services(BASE | {"coats": str})
    code, text = run(first, "check")
    assert (code, "make it with `contracts lock`" in " ".join(text.split())) == (2, True)
    assert run(first, "lock")[0] == 0
    assert run(first, "check")[0] == 0
    code, text = run(changed, "check", "--json")
    assert (code, json.loads(text)[0]["verdict"]) == (1, "needs an upcaster")
    code, text = run(changed, "lock")
    assert (code, "not locked: event wall.painted 1 (needs an upcaster)" in text) == (2, True)
    assert run(first, "check")[0] == 0
    assert run(changed, "lock", "--accept-breaking", "no store has it yet")[0] == 0
    assert run(changed, "check")[0] == 0
    assert json.loads(Path(path).read_text())["accepted"][0]["reason"] == "no store has it yet"
