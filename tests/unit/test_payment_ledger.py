"""The ledger of the payment provider keeps what took effect, and its judge finds what should not have."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from sagakit.errors import InvalidInput
from worker.provider.judge import faults_of, held_of
from worker.provider.ledger import Act, Entry, Ledger, read

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _entries(*acts: Act, amount: str = "9.00", granted: bool = True) -> list[Entry]:
    return [
        Entry(request=f"{act}-{n}", act=act, payment="7", amount=Decimal(amount), is_granted=granted, at=NOW)
        for n, act in enumerate(acts)
    ]


def test_it_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    for entry in (first := _entries("authorise", "capture")):
        with Ledger(path) as ledger:
            ledger.write(entry)
    assert list(read(path)) == first


def test_half_a_line_of_a_process_that_was_killed_was_never_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    one, two = _entries("authorise", "capture")
    with Ledger(path) as ledger:
        ledger.write(one)
    with path.open("ab") as file:
        file.write(b'{"request": "capt')
    with Ledger(path) as ledger:
        assert ledger.entries == [one]
        ledger.write(two)
    assert list(read(path)) == [one, two]


def test_two_providers_never_keep_one_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger"), pytest.raises(InvalidInput, match="another provider"):
        Ledger(tmp_path / "ledger").__enter__()


@pytest.mark.parametrize("text", [b"no ledger\n", b"{}\n"])
def test_another_file_is_refused_and_stays_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(text)
    with pytest.raises(InvalidInput, match="line 1 is no entry of a ledger"):
        Ledger(path).__enter__()
    assert path.read_bytes() == text
    with pytest.raises(InvalidInput, match="cannot be written"):
        Ledger(tmp_path).__enter__()


@pytest.mark.parametrize(
    ("entries", "faults", "held"),
    [
        (_entries("authorise", "capture"), [], {}),
        (_entries("authorise", "void"), [], {}),
        (_entries("authorise"), [], {"7": Decimal(9)}),
        (_entries("authorise", granted=False), [], {}),
        (_entries("authorise", "capture", "refund"), [], {}),
        (_entries("authorise", "authorise"), ["payment 7: a second authorise"], {"7": Decimal(9)}),
        (_entries("authorise", "capture", "capture"), ["payment 7: a second capture"], {}),
        (_entries("capture"), ["payment 7: a capture of 9.00 that was not authorised"], {}),
        (_entries("authorise", "void", "capture"), ["payment 7: a capture after the void"], {}),
        (_entries("authorise", "capture", "void"), ["payment 7: a void after the capture"], {}),
        (_entries("authorise", "capture", "refund", "refund"), ["payment 7: more refunded than captured"], {}),
        (
            [*_entries("authorise"), *_entries("authorise", "capture", amount="9.01")[1:]],
            ["payment 7: a capture of 9.01 that was not authorised"],
            {},
        ),
        (
            _entries("authorise") * 2,
            ["payment 7: request authorise-0 (authorise) took place twice", "payment 7: a second authorise"],
            {"7": Decimal(9)},
        ),
    ],
)
def test_the_judge_names_every_fault(entries: list[Entry], faults: list[str], held: dict[str, Decimal]) -> None:
    assert (faults_of(entries), held_of(entries)) == (faults, held)
