"""Writes `worker/sample.csv`, the made-up orders of the demo: `python -m worker.sample`. The same seed, the same file."""

from __future__ import annotations

import csv
import itertools
import random
from pathlib import Path

from worker.order_file import COLUMNS

SAMPLE = Path(__file__).with_name("sample.csv")
_COUNTRIES = ("United Kingdom", "France", "Germany", "EIRE", "Norway")
_BAD = (
    {"Quantity": "many"}, {"Quantity": "0"}, {"Quantity": "1.5"}, {"Quantity": "1234567890"}, {"UnitPrice": "0"},
    {"UnitPrice": "-2.50"}, {"UnitPrice": "1.234"}, {"UnitPrice": "1234567890.00"}, {"UnitPrice": ""},
    {"InvoiceDate": "2010-12-01"}, {"InvoiceDate": "31/02/2010 08:00"}, {"InvoiceNo": ""}, {"StockCode": ""}, {"Country": " "},
    {"StockCode": "2000\x07"},
)  # fmt: skip
# Rows that no CSV writer writes; {} is the document's number. Each is one row, however many lines it takes.
_MALFORMED = (
    "{},short",
    "{},20001,ONE FIELD TOO MANY,1,01/12/2010 08:00,1.00,,France,more",
    '{},"20001"A,TEXT BEHIND A QUOTE,1,01/12/2010 08:00,1.00,,France',
    '{},"20001"A,"TEXT BEHIND A QUOTE,\r\nAND A LINE BREAK",1,01/12/2010 08:00,1.00,,France',
    "",
    "   ",
)


def write_sample(path: Path = SAMPLE, seed: int = 2010) -> None:
    """Write about 200 documents, with every kind of bad row."""
    chance = random.Random(seed)  # noqa: S311 made-up data, no secret
    products = [(f"{20000 + number}{chance.choice(('', 'A', 'B'))}", f"MADE-UP THING, NO. {number}") for number in range(80)]
    bad = itertools.cycle(_BAD)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for index in range(200):
            is_return = index % 15 == 0 and index > 0
            number = f"{'C' if is_return else ''}{700000 + index}"
            at = f"{1 + index // 60:02}/12/2010 {8 + index % 10:02}:{index % 60:02}"
            customer = chance.choice(("", str(chance.randint(12000, 18000))))
            country = chance.choice(_COUNTRIES)
            for _ in range(chance.choice((1, 2, 3, 5, 8))):
                code, name = chance.choice(products)
                quantity = chance.choice((1, 2, 4, 6, 12, 12, 24)) * (-1 if is_return else 1)
                price = f"{chance.choice((0.85, 1.25, 2.55, 4.95, 12.75))}"
                row = dict(zip(COLUMNS, (number, code, name, str(quantity), at, price, customer, country), strict=True))
                out.writerow(row.values())
                if chance.random() < 0.04:  # noqa: PLR2004 one row in 25 has a bad twin
                    out.writerow((row | next(bad)).values())
            if index % 20 == 5:  # noqa: PLR2004 not beside the bad twins alone
                file.write(_MALFORMED[index // 20 % len(_MALFORMED)].format(number) + "\r\n")
        # A document without a good row, one that is seen in a malformed row only, and returns and orders the wrong way round.
        out.writerow(("700900", "20001", "NOTHING TO PAY", "1", "01/12/2010 08:00", "0", "", "France"))
        out.writerow(("C700901", "20001", "WRONG WAY", "5", "01/12/2010 08:00", "1.00", "", "France"))
        out.writerow(("700902", "20001", "WRONG WAY", "-5", "01/12/2010 08:00", "1.00", "", "France"))
        file.write('700903,"20001"A,MALFORMED,1,01/12/2010 08:00,1.00,,France\r\n')
        # And last a quote left open: all that follows is one row.
        file.write('700904,20001,"LEFT OPEN,1,01/12/2010 08:00,1.00,,France\r\n')
        out.writerow(("700905", "20001", "SWALLOWED", "1", "01/12/2010 08:00", "1.00", "", "France"))


if __name__ == "__main__":
    write_sample()
