"""Reads a CSV file of invoice rows into documents and rejects; the rules are in `docs/import.md`.

The file is read to its end before anything is sent, and nothing in it can stop the reading but a fault of the whole file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from sagakit.errors import InvalidInput
from worker.csv_records import Record, split_records

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_QUANTITY = re.compile(r"-?[0-9]{1,9}")
_PRICE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,2})?")
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
    """A row that was not taken: the line of the file it begins on, the column, the reason, and what stood there."""

    row: int
    column: str
    reason: str
    found: str = ""


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
    records = (record for record in split_records(text) if not record.is_blank)
    header, places = _header(path, next(records))
    for record in records:
        cells = {column: record.fields[place].strip() for column, place in places.items() if place < len(record.fields)}
        # Its document exists when the number can be seen, however bad the row.
        number = cells.get("InvoiceNo")
        document = documents.setdefault(number, Document(number)) if number else None
        fault = _shape_fault(record, header) or _fault(cells)
        if fault is not None:
            file.rejects.append(Reject(record.line, *fault))
        elif document is not None:
            document.rows.append(_row(cells))
    for document in documents.values():
        if not document.rows:
            file.rejected_documents.append(document.number)
        else:
            (file.returns if document.is_return else file.orders).append(document)
    return file


def _header(path: Path, record: Record) -> tuple[list[str], dict[str, int]]:
    """Return the header's names, and where each column stands."""
    names = [name.strip() for name in record.fields]
    if record.fault:
        raise InvalidInput(f"{path}: the header in line {record.line} is malformed: {record.fault}")
    if missing := [column for column in COLUMNS if column not in names]:
        raise InvalidInput(f"{path}: the header has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    return names, {column: names.index(column) for column in COLUMNS}


def _shape_fault(record: Record, header: list[str]) -> tuple[str, str, str] | None:
    if record.fault:
        return "", record.fault, ""
    if len(record.fields) != len(header):
        return "", f"has not the {len(header)} fields of the header", f"{len(record.fields)} fields"
    return None


def _row(cells: dict[str, str]) -> Row:
    return Row(
        product=cells["StockCode"],
        quantity=int(cells["Quantity"]),
        unit_price=Decimal(cells["UnitPrice"]).quantize(Decimal("0.01")),
        placed_at=datetime.strptime(cells["InvoiceDate"], _DATE),  # noqa: DTZ007 the file knows no zone
        customer=cells["CustomerID"],
        country=cells["Country"],
    )


def _fault(cells: dict[str, str]) -> tuple[str, str, str] | None:
    """Name the first fault of a row's fields: the column, the reason, what stood there."""
    column, reason = _name_fault(cells) or _value_fault(cells) or _sign_fault(cells) or ("", "")
    return (column, reason, cells[column]) if column else None


def _name_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    for column in ("InvoiceNo", "StockCode", "Country"):
        if not cells[column]:
            return column, "is empty"
    for column in ("InvoiceNo", "StockCode"):  # they become ids of aggregates
        if len(cells[column]) > _LONGEST_NAME:
            return column, f"is longer than {_LONGEST_NAME} characters"
        if any(character < " " for character in cells[column]):
            return column, "holds a control character"
    return None


def _value_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    try:
        datetime.strptime(cells["InvoiceDate"], _DATE)  # noqa: DTZ007 the file knows no zone
    except ValueError:
        return "InvoiceDate", "is not like 31/12/2010 08:26"
    if not _QUANTITY.fullmatch(cells["Quantity"]):
        return "Quantity", "is not a whole number of up to 9 digits"
    if not _PRICE.fullmatch(cells["UnitPrice"]):
        return "UnitPrice", "is not an amount of up to 9 digits with up to 2 decimals"
    return None


def _sign_fault(cells: dict[str, str]) -> tuple[str, str] | None:
    quantity = int(cells["Quantity"])
    if Decimal(cells["UnitPrice"]) <= 0:
        return "UnitPrice", "is not above 0"
    if cells["InvoiceNo"].startswith("C"):
        return None if quantity < 0 else ("Quantity", "is not below 0 in a return")
    return None if quantity > 0 else ("Quantity", "is not above 0 in an order")
