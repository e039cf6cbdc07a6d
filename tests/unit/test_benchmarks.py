"""The arithmetic of the benchmarks and what they write; the measuring itself is `make bench`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.bench import Bench
from benchmarks.chart import chart
from benchmarks.databases import Postgres
from benchmarks.delivery import rows as delivery_rows
from benchmarks.delivery.domain import SlowLines, services
from benchmarks.machine import foreign_share
from benchmarks.measure import Better, NotMeasured, Result, Row, Scale, Sides, not_measured, ratio, run
from benchmarks.results import put_section, table, write_json
from benchmarks.sagas import rows as saga_rows


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "expected"),
    [(300, 100, "higher", 3), (50, 100, "higher", 0.5), (2, 8, "lower", 4), (12, 8, "lower", 2 / 3)],
)
def test_a_ratio_above_one_is_better_whichever_direction_is_good(
    ours: float, theirs: float, better: Better, expected: float
) -> None:
    assert ratio(ours, theirs, better) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("must", "aim", "found", "verdict"),
    [
        (2, 3, 3.0, "aim"),
        (2, 3, 2.0, "must"),
        (2, 3, 1.99, "missed"),
        (None, 1, 0.9, "shown"),
        (None, 1, 1.1, "aim"),
        (None, None, 9, "shown"),
    ],
)
def test_the_verdict_compares_with_must_and_aim(must: float | None, aim: float | None, found: float, verdict: str) -> None:
    assert _result(ratio=found, must=must, aim=aim).verdict == verdict


@pytest.mark.parametrize(("busy", "own", "share"), [(1.0, 1.0, 0.0), (6.0, 1.0, 0.5), (1.0, 1.2, 0.0)])
def test_foreign_work_is_what_is_busy_without_us(busy: float, own: float, share: float) -> None:
    assert foreign_share(10.0, busy, own) == share


async def test_sides_take_turns_after_a_warm_up_each_and_medians_count() -> None:
    calls: list[str] = []
    values = {"ours": iter([99.0, 30.0, 10.0, 20.0]), "theirs": iter([99.0, 5.0, 1.0, 3.0])}

    async def ours() -> float:
        calls.append("A")
        return next(values["ours"])

    async def theirs() -> float:
        calls.append("B")
        return next(values["theirs"])

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Sides]:
        yield Sides(ours, theirs)

    ticks: list[int] = []
    found = await run(Row("row", "peer", "a second", "higher", 2, 3, prepare, rounds=3), Scale(), lambda: ticks.append(1))
    assert "".join(calls) == "AB" * 4
    assert len(ticks) == 8
    assert (found.ours, found.theirs, found.ratio, found.verdict) == (20.0, 3.0, 20 / 3, "aim")
    assert found.runs == {"ours": [30.0, 10.0, 20.0], "theirs": [5.0, 1.0, 3.0]}


def test_the_json_is_a_list_with_every_run(tmp_path: Path) -> None:
    write_json([_result(ours=1234.5678, runs={"ours": [1.0], "theirs": [0.333333333]})], tmp_path / "new/log.json")
    (row,) = json.loads((tmp_path / "new/log.json").read_text())
    assert {"name", "ours", "theirs", "unit", "ratio", "better", "must", "aim", "runs"} <= row.keys()
    assert row["ours"] == 1234.57
    assert row["runs"] == {"ours": [1.0], "theirs": [0.333333]}


def test_a_section_is_replaced_between_its_markers_and_others_stay() -> None:
    first = put_section("", "log", "old\n")
    both = put_section(first, "delivery", "mail\n")
    renewed = put_section(both, "log", "new\n")
    assert first.startswith("# Benchmarks")
    assert "old" not in renewed
    assert renewed.index("new") < renewed.index("mail")
    assert put_section(renewed, "log", "new\n") == renewed


def test_the_table_numbers_each_note_once() -> None:
    text = table([_result(note="a"), _result(note="b"), _result(note="a")], ["machine: this"])
    assert text.startswith("- machine: this\n")
    assert text.count("(1)") == 2
    assert text.endswith("1. a\n2. b\n")


def test_the_chart_is_drawn_for_any_ratio() -> None:
    drawing = ET.fromstring(  # noqa: S314 our own drawing
        chart([_result(ratio=0.01), _result(ratio=40.0, name="a < b"), _result(must=None, aim=None)])
    )
    assert sum(1 for element in drawing.iter() if element.tag.endswith("rect")) == 4


def test_the_section_delivery_has_every_row_with_its_must(tmp_path: Path) -> None:
    rows = delivery_rows.rows(Bench(Postgres("postgresql://nowhere"), tmp_path, Scale()))
    musts = [row.must for row in rows if row.must is not None]
    assert musts == [0.70, 0.70, 8, 8, 1 / 2.5, 12, 1.0, 1.0, 0.8, 3, 0.90]
    assert len({(row.name, row.against) for row in rows}) == len(rows)
    assert all(row.aim is None or row.must is not None for row in rows)


def test_the_section_sagas_has_every_row_with_its_must(tmp_path: Path) -> None:
    rows = saga_rows.rows(Bench(Postgres("postgresql://nowhere"), tmp_path, Scale()))
    assert [row.must for row in rows if row.must is not None] == [0.85, 0.85, 1.4, 1.4, 1 / 1.2, 1.0, 1 / 1.2, 1.8, 1.8]
    assert len({(row.name, row.against) for row in rows}) == len(rows)
    assert sum(row.against.startswith("DBOS") for row in rows) == 3


async def test_a_row_that_cannot_be_measured_says_so_and_is_no_miss() -> None:
    @asynccontextmanager
    async def prepare() -> AsyncIterator[Sides]:
        raise NotMeasured("there is no Go")
        yield

    row = Row("row", "peer", "a second", "higher", 2, 3, prepare)
    with pytest.raises(NotMeasured) as raised:
        await run(row, Scale(), lambda: None)
    result = not_measured(row, raised.value)
    assert result.verdict == "not measured"
    assert "not measured: there is no Go" in table([result], [])


async def test_a_row_has_its_rounds_and_one_round_has_no_warm_up() -> None:
    measured: list[int] = []

    async def side() -> float:
        measured.append(1)
        return 1.0

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Sides]:
        yield Sides(side, side, note=lambda: f"after {len(measured)}")

    usual = Row("row", "peer", "a second", "higher", None, None, prepare, "both")
    few, one, many = (replace(usual, rounds=rounds) for rounds in (3, 1, 21))
    whole, quick = Scale(), Scale(is_quick=True)
    for row, scale, expected in ((usual, whole, 16), (few, whole, 8), (one, whole, 2), (many, whole, 44), (many, quick, 8)):
        measured.clear()
        found = await run(row, scale, lambda: None)
        assert (len(measured), row.measurements(scale), found.note) == (expected, expected, f"both; after {expected}")


def test_consumers_of_two_rows_have_names_of_their_own_and_their_partitions() -> None:
    (one,), (other,) = services(1).subscriptions(), services(2, 8, SlowLines).subscriptions()
    assert one.consumer != other.consumer
    assert (one.partitions, other.partitions) == (1, 8)
    assert one.event_types == {"basket.line_added"}


def _result(**changes: object) -> Result:
    values: dict[str, object] = {
        "name": "append", "against": "peer", "ours": 20.0, "theirs": 10.0, "unit": "a second", "ratio": 2.0, "better": "higher",
        "must": 2.0, "aim": 3.0, "runs": {"ours": [20.0], "theirs": [10.0]},
    }  # fmt: skip
    return Result(**{**values, **changes})  # type: ignore[arg-type]
