"""Time travel and the test bench, as a user meets them: through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.worker import System

CANARY = "canary-17850"
LETTERS = ("--app", "tests.support.letters")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "data")


@pytest.fixture
def bench(tmp_path: Path) -> System:
    return System(tmp_path / "bench")


def _send(system: System, command: str, name: str, app: tuple[str, ...] = (), code: int = 0, **fields: Any) -> None:
    system.run(*app, "send", command, name, "--data", json.dumps(fields), code=code)


def _order(system: System, number: str = "1") -> None:
    line = {"product": "a", "quantity": 2, "unit_price": "2.50"}
    fields = {"customer": CANARY, "country": "UK", "placed_at": "2010-12-01T08:26:00Z", "lines": [line]}
    _send(system, "place_order", number, **fields)
    _send(system, "complete_order", number)


def _refused(system: System, *args: str) -> str:
    done = system.run(*args, code=2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    return line


def test_an_order_at_a_version_and_at_a_time_and_what_changed(system: System) -> None:
    _order(system)
    assert system.json("show", "order", "1", "--version", "1")["state"]["status"] == "open"
    assert system.json("show", "order", "1")["state"]["status"] == "completed"
    first, second = system.json("history", "order", "1")
    assert system.json("show", "order", "1", "--at", first["when"])["state"]["version"] == 1
    assert system.json("show", "order", "1", "--at", second["when"].removesuffix("+00:00"))["state"]["version"] == 2
    assert (first["type"], first["who"], first["command"], first["fields"]["country"]) == (
        "order.placed",
        "cli",
        "place_order",
        "UK",
    )
    assert first["cause"] == {"id": None, "kind": "none"}
    assert {change["path"]: change["after"] for change in system.json("diff", "order", "1", "0", "2")} == {
        "version": 2, "status": "completed", "total": "5.00", "lines.1": {"product": "a", "quantity": 2, "unit_price": "2.50"},
    }  # fmt: skip
    assert "open" in system.run("diff", "order", "1", "1", "2").stdout
    for args, says in (
        (("show", "order", "1", "--version", "3"), "has versions 1 to 2, and no version 3"),
        (("show", "order", "1", "--version", "0"), "has versions 1 to 2, and no version 0"),
        (("show", "order", "1", "--at", "2010-12-01T08:26"), "was not there yet at 2010-12-01T08:26:00+00:00"),
        (("show", "order", "1", "--at", "yesterday"), "--at 'yesterday' is no time"),
        (("show", "order", "1", "--at", "2010-12-01", "--version", "1"), "--version or --at, not both"),
        (("history", "order", "2"), "there is no order '2'"),
        (("diff", "order", "1", "1", "3"), "and no version 3"),
        (("diff", "parcel", "1", "1", "1"), "no aggregate called 'parcel'"),
    ):
        assert says in _refused(system, *args)


def test_a_slice_is_replayed_elsewhere_and_holds_no_customer(system: System, bench: System, tmp_path: Path) -> None:
    _order(system)
    done = system.run("export", "--stream", "order-1")
    assert CANARY not in done.stdout
    assert "order.placed: customer" in done.stderr
    file = tmp_path / "slice.jsonl"
    file.write_text(done.stdout)
    kept = str(tmp_path / "kept")
    steps = bench.json("replay", str(file), "--data", kept)["steps"]
    assert steps[-1]["state"] == system.json("show", "order", "1")["state"]
    assert System(Path(kept)).json("show", "order", "1")["state"] == steps[-1]["state"]
    (at_one,) = bench.json("replay", str(file), "--until", "1")["steps"]
    assert (at_one["number"], at_one["state"]["status"]) == (1, "open")
    shown = bench.run("replay", str(file), "--step", "--stream", "order-1").stdout
    assert shown.index("1 of 2: order.placed") < shown.index("2 of 2: order.completed")
    assert not bench.folder.exists()
    assert "holds databases" in _refused(bench, "replay", str(file), "--data", kept)
    assert "the slice has 2 events" in _refused(bench, "replay", str(file), "--until", "3")
    assert "has no event of it" in _refused(bench, "replay", str(file), "--stream", "order-2")


def test_a_handler_with_a_bug_fails_alike_on_the_bench(system: System, bench: System, tmp_path: Path) -> None:
    _send(system, "post_letter", "a", LETTERS, sender=CANARY, grams=20)
    _send(system, "return_letter", "a", LETTERS, to="bob")
    _send(system, "return_letter", "a", LETTERS, code=1, to=CANARY)
    (failed,) = json.loads(system.run(*LETTERS, "failures", "--json").stdout)
    assert (failed["service"], failed["stream"], failed["version"], failed["exception"]) == ("letters", "letter-a", 2, "KeyError")
    assert "mask_key" not in failed
    assert "return_letter" in system.run(*LETTERS, "failures").stdout
    file = tmp_path / "slice.jsonl"
    file.write_text(system.run(*LETTERS, "export", "--correlation", "return_letter/a").stdout)
    assert CANARY not in file.read_text() + json.dumps(failed)
    done = bench.run(*LETTERS, "replay", str(file), "--json", code=4)
    (attempt,) = json.loads(done.stdout)["failed_commands"]
    assert (attempt["exception"], attempt["is_reproduced"]) == ("KeyError", True)
    assert "has no desk for 20 g" in attempt["text"]
    assert "(the same)" in bench.run(*LETTERS, "replay", str(file), code=4).stdout
    # Once the bug is gone, or its condition, the answer is another one.
    first, *rest = file.read_text().splitlines()
    other = [line.replace(attempt["failed"]["fields"]["to"], "eve") if "failed_command" in line else line for line in rest]
    file.write_text("\n".join([first, *other]) + "\n")
    assert "it is done: letter.returned" in bench.run(*LETTERS, "replay", str(file), code=5).stdout


def test_a_slice_that_cannot_be_used(system: System, bench: System, tmp_path: Path) -> None:
    _order(system)
    file, kept = tmp_path / "slice.jsonl", tmp_path / "kept"
    lines = system.run("export", "--stream", "order-1").stdout.splitlines()
    file.write_text("\n".join([lines[0], lines[1], "{"]))
    assert "line 3 is not JSON" in _refused(bench, "replay", str(file), "--data", str(kept))
    assert not kept.exists()
    assert "say what to export" in _refused(system, "export")
    assert "nothing to export" in _refused(system, "export", "--correlation", "nobody")
    masked = [
        json.loads(line)
        for line in system.run("export", "--stream", "order-1", "--mask", "total", "--mask", "actor").stdout.splitlines()
    ]
    assert masked[1]["data"]["total"] == masked[2]["data"]["total"] != "5.00"
    assert masked[1]["metadata"]["actor"] != "cli"
    assert "--mask totl" in _refused(system, "export", "--stream", "order-1", "--mask", "totl")
