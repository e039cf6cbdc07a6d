"""Tells whose fault a failed write is: the event's own, which is parked, or the machine's, which is waited out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg.exceptions import DataError as AsyncpgDataError
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidRequestError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

from sagakit.errors import InfrastructureError

_OWN_CLASSES = ("22", "23")  # SQLSTATE: data exception, integrity constraint violation


def is_own_fault(error: Exception) -> bool:
    """Tell whether the same write would fail again whatever the state of the machine.

    A lost connection, a lock, a full disk, a missing table: none of these is the fault of an event.
    """
    if not isinstance(error, DBAPIError):
        # A value that a column type refuses, a row that is not there: found before the database was asked, or in its answer.
        return isinstance(error, StatementError | InvalidRequestError)
    if error.connection_invalidated:
        return False
    if isinstance(error, IntegrityError | DataError):
        return True
    if isinstance(error, ProgrammingError) and "binding parameter" in str(error.orig):
        return True  # what SQLite calls a value of a type that it does not know
    # SQLAlchemy's dialect for asyncpg has no name for these; the driver's own error is behind its own.
    state = getattr(error.orig, "sqlstate", None)
    return str(state)[:2] in _OWN_CLASSES if state else isinstance(getattr(error.orig, "__cause__", None), AsyncpgDataError)


def blames_event(error: Exception) -> bool:
    """Tell whether what a handler raised counts as an attempt at the event: anything but the machine's trouble."""
    if isinstance(error, SQLAlchemyError):
        return is_own_fault(error)
    return not isinstance(error, InfrastructureError)


@contextmanager
def machine_trouble(where: str) -> Iterator[None]:
    """Turn whatever leaves the block into an `InfrastructureError`: who calls waits and tries again."""
    try:
        yield
    except InfrastructureError:
        raise
    except Exception as error:
        raise InfrastructureError(f"{where}: {type(error).__name__}: {error}") from error
