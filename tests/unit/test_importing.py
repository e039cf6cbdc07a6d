"""A document that no log would take is found before anything is sent."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from sagakit.errors import InvalidInput
from worker.importing import ImportOptions, refuse_oversized
from worker.order_file import Document, OrderFile, Row

OPTIONS = ImportOptions(100, Decimal(400))
AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 an order file knows no zone


def _file(number: str, rows: int, price: str = "2.50", quantity: int = 2) -> OrderFile:
    sign = -1 if number.startswith("C") else 1
    row = Row("85123A", sign * quantity, Decimal(price), AT, "17850", "United Kingdom")
    document = Document(number, [row] * rows)
    return OrderFile(returns=[document]) if document.is_return else OrderFile(orders=[document])


@pytest.mark.parametrize("number", ["536365", "C536365"])
def test_a_document_of_too_many_rows_is_named_with_its_size(number: str) -> None:
    refuse_oversized(_file(number, 4000), OPTIONS)
    with pytest.raises(
        InvalidInput, match=rf"document {number} has 6000 rows, and its event .* would be \d+ KiB, over the limit of 256"
    ):
        refuse_oversized(_file(number, 6000), OPTIONS)


def test_the_event_that_follows_may_be_the_larger_one() -> None:
    """The value of a line can be longer than its price."""
    with pytest.raises(InvalidInput, match=r"its event shipment\.shipped would be 2\d\d KiB"):
        refuse_oversized(_file("1", 3650, "999999999.99", 999_999_999), OPTIONS)
