"""A diagram is the union of what rehearsals showed: groups side by side, waits, undos in reverse, the faults that led away."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagakit.cli.saga_diagram import _wanted
from sagakit.errors import InvalidInput
from sagakit.service import ServiceMap
from sagakit.temporal.diagram import diagram_of, drawn, in_document
from sagakit.testing import Call, Played, Rehearsal, Scenario
from tests.support.command_line import run_command
from worker.rehearsals import REHEARSALS, TRIPS
from worker.services import SERVICES


def _step(number: int, name: str, kind: str, group: int | None = None) -> dict[str, object]:
    return {"number": number, "name": name, "kind": kind, "group": group}


def _undo(number: int, command: str, item: int = 0) -> Call:
    return Call(command, f"trip/1~a/{number}/{item}", {}, is_undo=True, effect="undone")


def _played(
    status: str, steps: list[dict[str, object]], calls: tuple[Call, ...] = (), waited: tuple[tuple[int, str], ...] = ()
) -> Played:
    return Played("trip/1~a", status, "", False, calls, {}, tuple(steps), (), waited)  # noqa: FBT003 as it is declared


BOOKED = [_step(1, "book_flight", "compensable", 1), _step(2, "book_hotel", "compensable", 1)]
WELL = _played("completed", [*BOOKED, _step(3, "pay", "pivot"), _step(4, "tell", "retriable")], waited=((2, "`trip.agreed`"),))
REFUSED = _played(
    "compensated",
    [*BOOKED, _step(3, "pay", "pivot"), _step(4, "call_off", "retriable")],
    (_undo(2, "free_hotel"), _undo(1, "free_flight"), _undo(1, "free_flight", 1)),
    ((2, "`trip.agreed`"),),
)


def test_what_was_seen_is_drawn() -> None:
    lines = diagram_of("trip.begun", WELL, [Scenario(3, "pay", "refused", REFUSED)]).splitlines()
    arrows = {line.strip() for line in lines if "->" in line}
    assert arrows == {
        "end_trip_begun --> compensable_book_flight",
        "end_trip_begun --> compensable_book_hotel",
        "compensable_book_flight --> wait_waits_for_trip_agreed",
        "compensable_book_hotel --> wait_waits_for_trip_agreed",
        "wait_waits_for_trip_agreed --> pivot_pay__pivot_",
        "pivot_pay__pivot_ --> retriable_tell",
        "retriable_tell --> end_completed",
        "pivot_pay__pivot_ -.->|refused| undo_free_flight",
        "pivot_pay__pivot_ -.->|refused| undo_free_hotel",
        "undo_free_flight -.-> retriable_call_off",
        "undo_free_hotel -.-> retriable_call_off",
        "retriable_call_off -.-> end_compensated",
    }
    assert '    pivot_pay__pivot_{{"pay (pivot)"}}:::pivot' in lines
    assert '    wait_waits_for_trip_agreed>"waits for trip.agreed"]:::wait' in lines


class _Stage:
    """Shows what is given here for each rehearsal, and all going well otherwise."""

    def __init__(self, shown: dict[Rehearsal, list[Scenario]]) -> None:
        self.shown = shown

    async def play(self, *_: object, **__: object) -> Played:
        return WELL

    async def rehearse(self, rehearsal: Rehearsal, *_: object) -> list[Scenario]:
        return self.shown[rehearsal]


async def test_several_rehearsals_of_a_saga_are_one_drawing() -> None:
    told = _played("compensated", [*BOOKED, _step(3, "say_why", "retriable")], (), ((2, "`trip.agreed`"),))
    scenarios = [Scenario(3, "pay", "refused", REFUSED), Scenario(2, "book_hotel", "silent", told)]
    one, other, _ = TRIPS
    drawing = await drawn(_Stage({one: scenarios[:1], other: scenarios[1:]}), one, other)  # type: ignore[arg-type]
    assert drawing == diagram_of("trip.requested", WELL, scenarios)
    assert drawing != await drawn(_Stage({one: scenarios[:1]}), one)  # type: ignore[arg-type]


def test_no_rehearsal_of_a_list_is_left_out() -> None:
    assert _wanted(None, "worker.rehearsals:TRIPS") == {"trip-booking": list(TRIPS)}
    assert _wanted(None, "worker.rehearsals") == {one.saga.saga_name: [one] for one in REHEARSALS}


def test_a_document_takes_a_diagram_between_its_markers_and_only_there() -> None:
    text = "a\n<!-- diagram of t, drawn by `sagas diagram` -->\nold\n<!-- end of t -->\nz\n"
    assert in_document(text, "t", "flowchart TD\n").splitlines() == [
        "a", "<!-- diagram of t, drawn by `sagas diagram` -->", "```mermaid", "flowchart TD", "```", "<!-- end of t -->", "z",
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="the document has no line <!-- diagram of u"):
        in_document(text, "u", "")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("nothing",), "no saga 'nothing' is rehearsed in worker.rehearsals; known: order-fulfilment, order-return"),
        (("--rehearsals", "no.such.module"), "--rehearsals no.such.module: there is no module 'no'"),
        (("--rehearsals", "worker.services:SERVICES"), "it holds no Rehearsal of `sagakit.testing`"),
        (("--into", "/no/such/file.md"), "/no/such/file.md cannot be read"),
    ],
)
def test_wrong_requests_are_refused_in_one_sentence(args: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    code, told = run_command(ServiceMap(SERVICES), "--data", str(tmp_path), "sagas", "diagram", *args)
    assert code == 2
    assert complaint in " ".join(told.split())
