"""What a payment provider did, a line for each act, on the disk before anybody hears of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from sagakit.errors import InvalidInput

Act = Literal["authorise", "void", "capture", "refund"]


class Asked(BaseModel):
    """The event that an act was asked for by: what an answer, also one of another process, has to know of it."""

    model_config = ConfigDict(frozen=True)
    event: str = ""
    correlation_id: str = ""
    traceparent: str | None = None
    hops: int = 0


class Entry(BaseModel):
    """An act that took place, amounts in GBP: ``request`` is the key it was asked for under, saga and step in one.

    ``payment`` is the one it concerns.
    """

    model_config = ConfigDict(frozen=True)
    request: str
    act: Act
    payment: str
    amount: Decimal
    is_granted: bool = True
    reason: str = ""
    at: datetime
    asked: Asked = Asked()


class Ledger:
    """A file that only grows. Use as a context manager.

    Delivery: an entry is on the disk when `write` returns; half a line, of a process that was killed, counts as not written.
    """

    def __init__(self, path: Path) -> None:
        """Take the file; it need not exist."""
        self._path = path
        self.entries: list[Entry] = []
        self.by_request: dict[str, Entry] = {}
        self.authorised: set[str] = set()

    def __enter__(self) -> Self:
        """Open it for this process alone, and read what it holds. Raises `InvalidInput`."""
        try:
            self._file = self._path.open("a+b")
            _sync_name(self._path)
        except OSError as error:
            raise InvalidInput(f"the ledger {self._path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InvalidInput(f"another provider keeps the ledger {self._path}: one at a time") from None
        try:
            for entry in read(self._path):
                self._note(entry)
        except InvalidInput:
            self._file.close()
            raise
        whole = self._path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(whole)
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        """Close it."""
        self._file.close()

    def write(self, entry: Entry) -> None:
        """Add an entry, and wait until the disk has it."""
        self._file.write(entry.model_dump_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.by_request[entry.request] = entry
        if entry.act == "authorise" and entry.is_granted:
            self.authorised.add(entry.payment)


def _sync_name(path: Path) -> None:
    """Wait until the disk has the file's name too: a new file without one would be gone after a power cut."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path) -> Iterator[Entry]:
    """Read the whole lines of a ledger. Raises `InvalidInput` for a line that is no entry."""
    whole, _, _half = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            yield Entry.model_validate_json(line)
        except ValidationError:
            raise InvalidInput(f"{path}: line {number} is no entry of a ledger") from None
