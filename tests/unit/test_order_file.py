"""The import rules, each by a row that shows it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from sagakit.errors import InvalidInput
from worker.order_file import OrderFile, read_order_file
from worker.sample import SAMPLE, write_sample

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "1,A,thing,2,01/12/2010 08:26,2.50,7,France"


def _read(tmp_path: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> OrderFile:
    path = tmp_path / "orders.csv"
    path.write_bytes("\n".join((header, *rows)).encode(encoding))
    return read_order_file(path)


def test_rows_of_one_number_form_one_document_wherever_they_stand(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD, GOOD.replace("1,A", "2,B"), GOOD)
    assert [(document.number, len(document.rows)) for document in file.orders] == [("1", 2), ("2", 1)]


def test_a_capital_c_in_front_makes_a_return(tmp_path: Path) -> None:
    file = _read(tmp_path, "C1,A,x,-2,01/12/2010 08:26,2.50,7,France", "c1,A,x,2,01/12/2010 08:26,2.50,7,France")
    assert [document.number for document in file.returns] == ["C1"]
    assert [document.number for document in file.orders] == ["c1"]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("1,A,x,2,01/12/2010 08:26,2.50,7", ""),
        (GOOD + ",more", ""),
        (",A,x,2,01/12/2010 08:26,2.50,7,France", "InvoiceNo"),
        ("1, ,x,2,01/12/2010 08:26,2.50,7,France", "StockCode"),
        ("1,A,x,2,01/12/2010 08:26,2.50,7,", "Country"),
        ("1,A,x,2,2010-12-01 08:26,2.50,7,France", "InvoiceDate"),
        ("1,A,x,2,31/02/2010 08:26,2.50,7,France", "InvoiceDate"),
        ("1,A,x,+2,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,2.0,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,1234567890,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,٢,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,0,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,-2,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("C1,A,x,2,01/12/2010 08:26,2.50,7,France", "Quantity"),
        ("1,A,x,2,01/12/2010 08:26,0,7,France", "UnitPrice"),
        ("1,A,x,2,01/12/2010 08:26,-1,7,France", "UnitPrice"),
        ("1,A,x,2,01/12/2010 08:26,2.505,7,France", "UnitPrice"),
        ("1,A,x,2,01/12/2010 08:26,2.,7,France", "UnitPrice"),
        ("1,A,x,2,01/12/2010 08:26,1e3,7,France", "UnitPrice"),
        ("", "blank"),
        ('1,"A"x,x,2,01/12/2010 08:26,2.50,7,France', ""),
    ],
)
def test_a_bad_row_is_rejected_once(tmp_path: Path, row: str, column: str) -> None:
    file = _read(tmp_path, row, GOOD.replace("1,A", "9,A"))
    assert [reject.column for reject in file.rejects] == ([] if column == "blank" else [column])
    assert [document.number for document in file.orders] == ["9"]
    if file.rejects:
        assert file.rejects[0].row == 2


def test_a_row_with_many_faults_counts_once(tmp_path: Path) -> None:
    assert len(_read(tmp_path, "1,,x,none,never,free,7,").rejects) == 1


def test_an_open_quote_makes_the_rest_one_row(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD, '2,"A,x,2', GOOD, GOOD)
    assert [(reject.row, reject.reason) for reject in file.rejects] == [(3, "a quote is left open, to the end of the file")]
    assert len(file.orders[0].rows) == 1


def test_quoted_fields_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = _read(tmp_path, '1,A,"a, ""b""\nc",2,01/12/2010 08:26,2.50,7,France', "1,A,x,0,01/12/2010 08:26,2.50,7,France")
    assert len(file.orders[0].rows) == 1
    assert file.rejects[0].row == 4


def test_guests_no_description_and_unknown_columns(tmp_path: Path) -> None:
    file = _read(tmp_path, "z, 1 ,A,,2,01/12/2010 08:26,2.5,,France", header="Extra," + HEADER)
    row = file.orders[0].rows[0]
    assert (row.customer, row.unit_price, row.quantity) == ("", Decimal("2.50"), 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    assert _read(tmp_path, GOOD.replace("France", "Curaçao"), encoding=encoding).orders[0].rows[0].country == "Curaçao"


def test_a_document_without_a_good_row_is_rejected(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD.replace(",2.50", ",0"), GOOD.replace("1,A", "2,A"))
    assert file.rejected_documents == ["1"]
    assert [document.number for document in file.orders] == ["2"]


def test_a_short_row_with_a_number_forms_a_rejected_document(tmp_path: Path) -> None:
    assert _read(tmp_path, "5,short").rejected_documents == ["5"]


def test_stock_codes_are_case_sensitive(tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD, GOOD.replace(",A,", ",a,")).products == {"A", "a"}


def test_a_missing_column_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column Country"):
        _read(tmp_path, GOOD, header=HEADER.removesuffix(",Country"))


def test_the_committed_sample_is_what_the_script_writes(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample.csv")
    assert (tmp_path / "sample.csv").read_bytes() == SAMPLE.read_bytes()
