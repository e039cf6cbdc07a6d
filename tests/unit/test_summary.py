"""What an import shows of its rejects, and where its summary can go."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagakit.cli.output import printable, stdout
from sagakit.errors import InvalidInput
from worker.order_file import Reject
from worker.summary import _print_rejects, refuse_unwritable


def _shown(rejects: list[Reject]) -> str:
    with stdout.capture() as captured:
        _print_rejects(rejects)
    return captured.get()


def test_every_reject_is_shown_up_to_many_and_the_rest_counted_by_reason() -> None:
    rejects = [Reject(line, "Quantity", "is odd", str(line)) for line in range(2, 232)] + [Reject(999, "Country", "is empty")]
    shown = _shown(rejects)
    assert "200 of 231" in shown
    assert " 201 " in shown
    rest = shown.partition("31 more")[2]
    assert "30" in rest
    assert "is empty" in rest
    assert "999" not in rest


def test_bad_text_is_shown_and_does_nothing() -> None:
    shown = _shown([Reject(2, "Quantity", "is odd", "[red]\x1b[2Jx\u202e\r\n")])
    assert r"[red]\x1b[2Jx\u202e\r\n" in shown
    assert "\x1b[2J" not in shown


def test_printable_leaves_what_can_be_shown() -> None:
    assert printable("Curaçao 日本 [x]") == "Curaçao 日本 [x]"


def test_a_summary_file_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "out.json"):
        with pytest.raises(InvalidInput, match=f"--summary-file {path} cannot be written"):
            refuse_unwritable(path)


def test_trying_leaves_no_trace(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("old")
    for path in (old, tmp_path / "new.json"):
        refuse_unwritable(path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
