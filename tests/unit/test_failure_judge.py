"""The judge of harmed sagas convicts what it should, from fences and events alone (G3, G4)."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest

from sagakit.outcome import CommandOutcome
from tests.chaos.sagas.judge import Evidence, Verdict, items_of, judged
from tests.chaos.sagas.run import Run
from worker.rehearsals import BANK

SAGA = "money-transfer/fp000001"
DEBIT, CREDIT = f"{SAGA}/1", f"{SAGA}/2"
NAMES = {DEBIT: "debit_account", CREDIT: "credit_wallet"}


def _outcome(status: Literal["done", "refused", "fenced"] = "done") -> CommandOutcome:
    return CommandOutcome(status=status, stream="s", events=("e",) if status == "done" else ())


def _verdict(
    status: str,
    fences: dict[str, CommandOutcome],
    events: dict[str, int] | None = None,
    *,
    harm: str = "late success",
    without: bool = False,
) -> Verdict:
    debit = frozenset({(DEBIT, "debit_account")})
    given_up = debit if without else frozenset[tuple[str, str | None]]()
    run = Run(BANK[0], "fp000001", "debit_account", harm, undoable=debit, may_be_given_up=given_up, status=status)
    counted = events if events is not None else {key: len(outcome.events) for key, outcome in fences.items()}
    (verdict,) = judged([run], Evidence(items_of(fences, Counter(counted)), 0), {"fp000001": NAMES})
    return verdict


def test_what_is_right_is_not_convicted_g4() -> None:
    done, undone = (
        {f"{DEBIT}/0": _outcome(), f"{CREDIT}/0": _outcome()},
        {f"{DEBIT}/0": _outcome(), f"{DEBIT}/0/undo": _outcome()},
    )
    assert _verdict("completed", done) == Verdict(_verdict("completed", done).run)
    for fences in (undone, {f"{DEBIT}/0": _outcome("fenced")}, {f"{DEBIT}/0": _outcome("refused")}):
        verdict = _verdict("compensated", fences)
        assert (verdict.double_effects, verdict.breaks) == ([], [])


@pytest.mark.parametrize(
    ("fences", "events"),
    [
        ({f"{DEBIT}/0": _outcome(), f"{DEBIT}/0/retry-1": _outcome()}, None),
        ({f"{DEBIT}/0": _outcome(), f"{DEBIT}/0/undo": _outcome(), f"{DEBIT}/0/undo/retry-1": _outcome()}, None),
        ({f"{DEBIT}/0": _outcome()}, {f"{DEBIT}/0": 2}),
        ({}, {f"{DEBIT}/0": 1}),
    ],
)
def test_a_double_effect_is_convicted_g3(fences: dict[str, CommandOutcome], events: dict[str, int] | None) -> None:
    assert _verdict("compensated", fences, events).double_effects


@pytest.mark.parametrize(
    ("status", "fences", "told"),
    [
        ("compensated", {f"{DEBIT}/0": _outcome()}, "done and not undone"),
        (
            "completed",
            {f"{DEBIT}/0": _outcome(), f"{DEBIT}/0/undo": _outcome(), f"{CREDIT}/0": _outcome()},
            "undone, and the saga",
        ),
        ("compensated", {f"{DEBIT}/0/undo": _outcome()}, "never done"),
        ("completed", {f"{DEBIT}/0": _outcome()}, "neither done nor refused"),
    ],
)
def test_what_is_half_undone_is_convicted_g4(status: str, fences: dict[str, CommandOutcome], told: str) -> None:
    assert any(told in fault for fault in _verdict(status, fences).breaks)


def test_what_a_saga_went_on_without_has_to_be_undone_or_fenced_g4() -> None:
    credit, undone = {f"{CREDIT}/0": _outcome()}, {f"{DEBIT}/0": _outcome(), f"{DEBIT}/0/undo": _outcome()}
    for right in ({**credit, **undone}, {**credit, f"{DEBIT}/0": _outcome("fenced")}):
        assert _verdict("completed", right, harm="time-out", without=True).breaks == []
        assert _verdict("completed", right, harm="time-out").breaks, "only what may be given up"
    (left,) = _verdict("completed", {**credit, f"{DEBIT}/0": _outcome()}, harm="time-out", without=True).breaks
    assert left == f"{DEBIT}/0: given up and done, and the saga completed"
    (unfenced,) = _verdict("completed", credit, harm="time-out", without=True).breaks
    assert unfenced == f"{DEBIT}: neither done nor refused, and the saga completed"


def test_an_end_that_the_harm_must_not_lead_to_is_convicted_g4() -> None:
    run = Run(BANK[0], "fp000001", "credit_wallet", "worker kill -9", ends=frozenset({"completed"}), status="compensated")
    (verdict,) = judged([run], Evidence({}, 0), {})
    assert verdict.breaks == ["it is compensated, expected completed"]
