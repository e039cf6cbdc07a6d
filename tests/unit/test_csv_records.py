"""Well-formed text is split as Python's csv splits it; a malformed record is one record."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.csv_records import OPEN_QUOTE, TEXT_BEHIND_QUOTE, Record, split_records

_FIELDS = st.text(alphabet=st.sampled_from('ab",\r\n \té\u2028'), max_size=6)
_ROWS = st.lists(st.lists(_FIELDS, min_size=1, max_size=4), max_size=6)


@given(_ROWS, st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_csv_writes_is_read_back(rows: list[list[str]], line_end: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    records = list(split_records(out.getvalue()))
    assert [record.fields for record in records] == rows
    assert not any(record.fault for record in records)


@given(st.text(alphabet=st.sampled_from('a",\r\n '), max_size=30))
def test_it_agrees_with_csv_on_whatever_csv_takes(text: str) -> None:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    expected, lines = [], []
    try:
        line = 1
        for fields in reader:
            expected.append(fields or [""])
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error:
        assert any(record.fault for record in split_records(text))
        return
    records = list(split_records(text))
    assert [record.fields for record in records] == expected
    assert [record.line for record in records] == lines
    assert not any(record.fault for record in records)


@pytest.mark.parametrize(
    ("bad", "known"),
    [
        ('1,"A"x,x', ["1"]),
        ('1,"A" ,x', ["1"]),
        ('1,"A"x,"b\nc",d', ["1"]),
        ('1,"5" nail","b\r\nc"', ["1"]),
        ('1,"A"x,"b"y', ["1"]),
        ('"1"2,x', []),
        ('1,"b\nc"d', ["1"]),
    ],
)
def test_a_malformed_record_is_one_and_the_next_is_whole(bad: str, known: list[str]) -> None:
    first, second = split_records(f'{bad}\n2,"b"\n')
    assert first == Record(1, known, TEXT_BEHIND_QUOTE)
    assert second == Record(2 + bad.count("\n"), ["2", "b"])


@pytest.mark.parametrize("bad", ['2,"b\n3,c\n4,d', '2,"b"x,"c\n3,d', '2,"b""\n3,c""'])
def test_an_open_quote_takes_everything_to_the_end(bad: str) -> None:
    assert list(split_records(f"1,a\n{bad}\n")) == [Record(1, ["1", "a"]), Record(2, ["2"], OPEN_QUOTE)]


def test_a_long_text_takes_no_longer_than_it_is() -> None:
    assert len(list(split_records('1,"' + '""' * 500_000 + '"x\n' + "a,b\n" * 100_000))) == 100_001
