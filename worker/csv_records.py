"""Splits CSV text into records by RFC 4180, and finds the next record behind a malformed one.

Python's `csv` gives up in the middle of a malformed record and goes on inside it, which makes two rows of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

OPEN_QUOTE = "a quote is left open, to the end of the file"
TEXT_BEHIND_QUOTE = "text behind a closing quote"
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')
_PLAIN = re.compile(r"[^,\r\n]*+")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass
class Record:
    """A record: the line it begins on, its fields up to its fault, and the fault, empty for a well-formed one."""

    line: int
    fields: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def is_blank(self) -> bool:
        """True for a line with nothing, or only white space, on it."""
        return not self.fault and len(self.fields) == 1 and not self.fields[0].strip()


def split_records(text: str) -> Iterator[Record]:
    """Yield every record, blank ones too. All three kinds of line end end a record; inside quotes they belong to the field.

    As `csv` has it, a quote inside a field that does not begin with one stands for itself. A fault is in one field: the next
    comma or line end ends that field, and the fields behind it are read as ever, to find the record's end. A quote that is
    never closed makes everything from the record's begin to the end of the text one record.
    """
    at, line = 0, 1
    while at < len(text):
        record = Record(line)
        begin, at = at, _record(text, at, record)
        yield record
        line += len(_LINE_END.findall(text, begin, at))


def _record(text: str, at: int, record: Record) -> int:
    """Read one record into ``record``; return where the next one begins."""
    while True:
        value, at = _field(text, at, record)
        if not record.fault:
            record.fields.append(value)
        if not text.startswith(",", at):
            break
        at += 1
    end = _LINE_END.match(text, at)
    return end.end() if end else len(text)


def _field(text: str, at: int, record: Record) -> tuple[str, int]:
    """Read one field, noting its fault; return it and the place behind it: a comma, a line end or the end of the text."""
    if not text.startswith('"', at):
        plain = _PLAIN.match(text, at)
        assert plain is not None  # noqa: S101 it matches nothing, too
        return plain[0], plain.end()
    quoted = _QUOTED.match(text, at)
    if quoted is None:
        record.fault = OPEN_QUOTE
        return "", len(text)
    rest = _PLAIN.match(text, quoted.end())
    assert rest is not None  # noqa: S101 it matches nothing, too
    if rest[0]:
        record.fault = record.fault or TEXT_BEHIND_QUOTE
    return quoted[1].replace('""', '"'), rest.end()
