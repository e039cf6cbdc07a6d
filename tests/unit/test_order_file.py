"""The import rules, each by a row that shows it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from sagakit.errors import InvalidInput
from worker.csv_records import OPEN_QUOTE, TEXT_BEHIND_QUOTE, split_records
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
        ("1,A,x,2,01/12/2010 08:26,1234567890,7,France", "UnitPrice"),
        ("1,A\x01,x,2,01/12/2010 08:26,2.50,7,France", "StockCode"),
        ("1" * 201 + ",A,x,2,01/12/2010 08:26,2.50,7,France", "InvoiceNo"),
        ("1,A,x,2,01/12/2010 08:26,1e3,7,France", "UnitPrice"),
        ("", "blank"),
        ('1,"A"x,x,2,01/12/2010 08:26,2.50,7,France', ""),
        ('1,"A"x,"x\n8,B,x",2,01/12/2010 08:26,2.50,7,France', ""),
        ('1,"A\n8,B"x,x,2,01/12/2010 08:26,2.50,7,France', ""),
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


def test_a_malformed_row_names_its_document_by_a_number_in_front_of_the_fault(tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD, '1,"A"x,x', '2,"A"x,x', '"3"x,A', '4,"open').rejected_documents == ["2", "4"]


def test_the_largest_row_and_a_country_of_any_kind_are_good(tmp_path: Path) -> None:
    country = "a\x07b" * 100
    file = _read(tmp_path, f"1,A,x,999999999,01/12/2010 08:26,999999999.99,7,{country}", '1,B,x,1,01/12/2010 08:26,1,7,"a\nb"')
    assert file.rejects == []
    assert [row.country for row in file.orders[0].rows] == [country, "a\nb"]


def test_a_malformed_header_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the header in line 1 is malformed: a quote is left open"):
        _read(tmp_path, GOOD, header=HEADER + ',"Extra')


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


def test_the_sample_has_every_kind_of_bad_row() -> None:
    file = read_order_file(SAMPLE)
    assert 190 <= len(file.orders) + len(file.returns) + len(file.rejected_documents) <= 210
    kinds = {(reject.column, reject.reason) for reject in file.rejects}
    assert kinds == {
        ("", OPEN_QUOTE),
        ("", TEXT_BEHIND_QUOTE),
        ("", "has not the 8 fields of the header"),
        ("InvoiceNo", "is empty"),
        ("StockCode", "is empty"),
        ("StockCode", "holds a control character"),
        ("Country", "is empty"),
        ("InvoiceDate", "is not like 31/12/2010 08:26"),
        ("Quantity", "is not a whole number of up to 9 digits"),
        ("Quantity", "is not above 0 in an order"),
        ("Quantity", "is not below 0 in a return"),
        ("UnitPrice", "is not an amount of up to 9 digits with up to 2 decimals"),
        ("UnitPrice", "is not above 0"),
    }
    assert {reject.found for reject in file.rejects} >= {"2 fields", "9 fields", "1234567890", "1234567890.00", "1.234", "many"}
    assert any(record.is_blank for record in split_records(SAMPLE.read_text()))
    assert file.rejects[-1].reason == OPEN_QUOTE


def test_the_sample_holds_orders_over_the_limit_and_beyond_the_stock_of_the_demo() -> None:
    orders, wanted = read_order_file(SAMPLE).orders, Counter[str]()
    for order in orders:
        for row in order.rows:
            wanted[row.product] += row.quantity
    assert sum(sum(row.quantity * row.unit_price for row in order.rows) > 400 for order in orders) >= 5
    assert sum(quantity > 100 for quantity in wanted.values()) >= 5
