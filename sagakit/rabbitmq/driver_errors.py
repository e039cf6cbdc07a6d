"""What a connection to RabbitMQ that ends is for whoever called the driver at that moment: one of a few errors, always."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import AMQPError

from sagakit.cancelling import is_cancelled

LINK_ERRORS = (OSError, TimeoutError, RuntimeError, AMQPError)
"""What a broken connection or channel raises, where the driver is called inside `driver_errors`."""


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise one of `LINK_ERRORS` for whatever the driver raises instead when a connection ends under a call.

    It cancels what waits on a connection that ends; only a wish of ours goes on as such. And one that ends between two frames
    ends for no reason that it knows: a bare `Exception` comes then, or a future's `InvalidStateError`.
    """
    try:
        yield
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise ConnectionError("the connection ended during a call") from None
    except asyncio.InvalidStateError as error:
        raise ConnectionError(f"the connection ended during a call: {error}") from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ConnectionError("the connection ended during a call") from error
