"""A connection that ends under a call is one of `LINK_ERRORS`, whatever the driver raises; nothing else is taken for it."""

from __future__ import annotations

import asyncio

import pytest
from aiormq.exceptions import ChannelInvalidStateError

from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors


@pytest.mark.parametrize(
    "raised",
    [Exception(), asyncio.InvalidStateError("invalid state"), asyncio.CancelledError(), ChannelInvalidStateError("closed")],
)
async def test_what_the_driver_raises_for_an_end_is_a_link_error_b8(raised: BaseException) -> None:
    with pytest.raises(LINK_ERRORS), driver_errors():
        raise raised


@pytest.mark.parametrize("raised", [ValueError("ours"), KeyError("ours")])
async def test_a_mistake_is_no_lost_connection(raised: Exception) -> None:
    with pytest.raises(type(raised)), driver_errors():
        raise raised


async def _waits() -> None:
    with driver_errors():
        await asyncio.Event().wait()


async def test_a_wish_to_end_stays_one() -> None:
    task = asyncio.create_task(_waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_stays_one() -> None:
    async def in_time() -> None:
        async with asyncio.timeout(0.01):
            await _waits()

    with pytest.raises(TimeoutError):
        await in_time()
