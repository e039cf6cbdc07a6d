"""Money in read models: exact on both databases, ordered as numbers, whatever its sign."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from sqlalchemy import Dialect, Numeric, String, TypeDecorator
from sqlalchemy.sql.operators import is_comparison
from sqlalchemy.types import TypeEngine

# 26 digits and two decimals are 28: what Python's own Decimal arithmetic keeps exact unless told otherwise.
_DIGITS, _PLACES = 28, 2
_LIMIT = Decimal(10) ** (_DIGITS - _PLACES)
_WIDTH = _DIGITS + 1  # with the point
_CENT = Decimal(1).scaleb(-_PLACES)
_LOWEST, _HIGHEST = "", "~"  # sort before and behind every stored amount


class Money(TypeDecorator[Decimal]):
    """An amount with two decimals, below 10^26 either way: ``total: Decimal = Field(sa_type=Money)``.

    Shape: ``numeric(28, 2)`` on PostgreSQL. SQLite knows floats only, so there it is text that sorts as the amount does:
    padded with zeros, and below zero as ``-`` with 10^26 added. Compare and sort in SQL; add up in Python.

    Raises `ValueError` for an amount that would have to be rounded; the event that holds it is parked.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type: text on SQLite."""
        return dialect.type_descriptor(String(_WIDTH + 1) if dialect.name == "sqlite" else Numeric(_DIGITS, _PLACES))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Refuse what the column cannot hold exactly, and write the rest."""
        if value is None:
            return None
        amount = _amount(value)
        if not -_LIMIT < amount < _LIMIT:
            raise ValueError(f"{value} is no amount below 10^{_DIGITS - _PLACES}")
        if amount != (exact := amount.quantize(_CENT)):
            raise ValueError(f"{value} has more than {_PLACES} decimals")
        return _sortable(exact) if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 its name is SQLAlchemy's
        """Read an amount back."""
        if value is None or isinstance(value, Decimal):
            return value
        if not isinstance(value, str):
            raise TypeError("SQLite has made a float of money: add up in Python; a table of an older version is to be rebuilt")
        return Decimal(value[1:]) - _LIMIT if value.startswith("-") else Decimal(value)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:  # noqa: ARG002 its name is SQLAlchemy's
        """Compare with any number; refuse arithmetic, which SQLite would do on floats."""
        if op is not None and not is_comparison(op):
            raise TypeError("add money up in Python: SQLite would make a float of it")
        return _Compared()


class _Compared(TypeDecorator[Decimal]):
    """A number beside a `Money` column in a condition: 200, 0.005 or 10^40 are all fair to ask about."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        amount = _amount(value)
        if dialect.name != "sqlite":
            return amount
        if abs(amount) >= _LIMIT:
            return _LOWEST if amount < 0 else _HIGHEST
        return _sortable(amount)


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(value)
    except (InvalidOperation, TypeError):
        raise ValueError(f"{value!r} is no amount") from None
    if isinstance(value, float) or not amount.is_finite():
        raise ValueError(f"{value!r} is no exact amount: give a Decimal")
    return amount


def _sortable(amount: Decimal) -> str:
    """Write an amount as text of the same order. Decimals beyond the second only follow, so they keep the order too."""
    with localcontext(prec=max(100, len(amount.as_tuple().digits) + 60)):
        shifted = amount + _LIMIT if amount < 0 else amount
        whole, _, decimals = f"{shifted:f}".partition(".")
    text = f"{whole.zfill(_DIGITS - _PLACES)}.{decimals.rstrip('0').ljust(_PLACES, '0')}"
    return f"-{text}" if amount < 0 else text
