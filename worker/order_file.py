"""Reads a CSV file of invoice rows into documents and rejects; the rules are in `docs/import.md`.

The file is read to its end before anything is sent, and nothing in it can stop the reading but a fault of the whole file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from sagakit.errors import InvalidInput

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_QUANTITY = re.compile(r"-?[0-9]{1,9}")
_PRICE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,2})?")
_WHOLE_FILE = 2**31 - 1
_DATE = "%d/%m/%Y %H:%M"
_LONGEST_NAME = 200  # characters, what an aggregate's id may hold


@dataclass(frozen=True)
class Row:
    """A good row: one line of a document. ``quantity`` is below 0 in a return."""

    product: str
    quantity: int
    unit_price: Decimal
    placed_at: datetime
    customer: str
    country: str


@dataclass(frozen=True)
class Reject:
    """A row that was not taken: the line of the file it begins on, the column, the reason."""

    row: int
    column: str
    reason: str


@dataclass
class Document:
    """All rows of one invoice number."""

    number: str
    rows: list[Row] = field(default_factory=list)

    @property
    def is_return(self) -> bool:
        """True for a number that begins with C."""
        return self.number.startswith("C")


@dataclass
class OrderFile:
    """What a file holds."""

    orders: list[Document] = field(default_factory=list)
    returns: list[Document] = field(default_factory=list)
    rejected_documents: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def products(self) -> set[str]:
        """The products of all good rows."""
        return {row.product for document in (*self.orders, *self.returns) for row in document.rows}


def read_order_file(path: Path) -> OrderFile:
    """Read a file to its end. Raises `InvalidInput`, naming the file and the remedy, for one that cannot be used."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    if b"\0" in content:
        raise InvalidInput(f"{path} is a binary file, not a CSV file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if not text.strip():
        raise InvalidInput(f"{path} is empty: expected a header with the columns {', '.join(COLUMNS)}")
    return _documents(path, text)


def _documents(path: Path, text: str) -> OrderFile:
    file = OrderFile()
    documents: dict[str, Document] = {}
    records = _records(text)
    first = next(records, None)
    header = [name.strip() for name in first[1] or []] if first else []
    if missing := [column for column in COLUMNS if column not in header]:
        raise InvalidInput(f"{path}: the header has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    places = {column: header.index(column) for column in COLUMNS}
    for line, fields, fault in records:
        if fields is None:
            file.rejects.append(Reject(line, "", fault))
            continue
        if len(fields) == len(header):
            cells = {column: fields[place].strip() for column, place in places.items()}
            found = _row(cells)
        else:
            # Too short or too long to trust its columns, yet its document exists when the number can be seen.
            place = places["InvoiceNo"]
            cells = {"InvoiceNo": fields[place].strip() if place < len(fields) else ""}
            found = ("", f"{len(fields)} fields, but the header has {len(header)}")
        number = cells["InvoiceNo"]
        document = documents.setdefault(number, Document(number)) if number else None
        if isinstance(found, Row) and document is not None:
            document.rows.append(found)
        elif not isinstance(found, Row):
            file.rejects.append(Reject(line, *found))
    for document in documents.values():
        if not document.rows:
            file.rejected_documents.append(document.number)
        else:
            (file.returns if document.is_return else file.orders).append(document)
    return file


def _records(text: str) -> Iterator[tuple[int, list[str] | None, str]]:
    """Yield (line, fields, "") per row, or (line, None, reason) for a malformed one; blank rows are left out."""
    previous = csv.field_size_limit(_WHOLE_FILE)
    try:
        # Line ends inside quotes stay as they are; outside, all three kinds end a row.
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                is_open = "unexpected end of data" in str(error)
                yield line, None, "a quote is left open, to the end of the file" if is_open else f"malformed: {error}"
                continue
            if fields and not (len(fields) == 1 and not fields[0].strip()):
                yield line, fields, ""
    finally:
        csv.field_size_limit(previous)


def _row(cells: dict[str, str]) -> Row | tuple[str, str]:
    """Check the fields of a row; return it, or (column, reason) of its first fault."""
    return _fault(cells) or Row(
        product=cells["StockCode"],
        quantity=int(cells["Quantity"]),
        unit_price=Decimal(cells["UnitPrice"]).quantize(Decimal("0.01")),
        placed_at=datetime.strptime(cells["InvoiceDate"], _DATE),  # noqa: DTZ007 the file knows no zone
        customer=cells["CustomerID"],
        country=cells["Country"],
    )


def _fault(cells: dict[str, str]) -> tuple[str, str] | None:
    return _name_fault(cells) or _value_fault(cells) or _sign_fault(cells)


def _name_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    for column in ("InvoiceNo", "StockCode", "Country"):
        if not cells[column]:
            return column, "is empty"
        if len(cells[column]) > _LONGEST_NAME:
            return column, f"is longer than {_LONGEST_NAME} characters"
        if any(character < " " for character in cells[column]):
            return column, "holds a control character"
    return None


def _value_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    try:
        datetime.strptime(cells["InvoiceDate"], _DATE)  # noqa: DTZ007 the file knows no zone
    except ValueError:
        return "InvoiceDate", f"{cells['InvoiceDate'][:40]!r} is not like 31/12/2010 08:26"
    if not _QUANTITY.fullmatch(cells["Quantity"]):
        return "Quantity", f"{cells['Quantity'][:40]!r} is not a whole number of up to 9 digits"
    if not _PRICE.fullmatch(cells["UnitPrice"]):
        return "UnitPrice", f"{cells['UnitPrice'][:40]!r} is not an amount with up to 2 decimals"
    return None


def _sign_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    quantity = int(cells["Quantity"])
    if Decimal(cells["UnitPrice"]) <= 0:
        return "UnitPrice", f"{cells['UnitPrice']} is not above 0"
    if cells["InvoiceNo"].startswith("C"):
        return None if quantity < 0 else ("Quantity", f"{quantity} is not below 0 in a return")
    return None if quantity > 0 else ("Quantity", f"{quantity} is not above 0 in an order")
