"""What is given up unsent is followed by nothing: whatever time runs out, the broker has the front of a window, in order (G3)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from pamqp.commands import Basic

from sagakit.rabbitmq.publisher import send_one_by_one

DEADLINE = 0.2
MESSAGES = [Message(b"", message_id=str(number)) for number in range(20)]


class _Stalling:
    """A channel whose connection takes nothing for a while; as the driver does, it writes one message after the other."""

    def __init__(self, seconds: float) -> None:
        self._lock, self._seconds, self._is_open = asyncio.Lock(), seconds, asyncio.Event()
        self.written: list[str] = []

    async def get_exchange(self, *_: object, **__: object) -> _Stalling:
        asyncio.get_running_loop().call_later(self._seconds, self._is_open.set)
        return self

    async def publish(self, message: Message, _: str, *, timeout: float | None = None, **__: Any) -> Basic.Ack:
        time.sleep(0.01)
        async with asyncio.timeout(timeout), self._lock:
            await self._is_open.wait()
            self.written.append(str(message.message_id))
        return Basic.Ack()


@pytest.mark.parametrize("stalled_seconds", [0.0, 1.45 * DEADLINE, 1.95 * DEADLINE, 3 * DEADLINE])
async def test_no_message_is_written_behind_one_that_was_given_up_g3(stalled_seconds: float) -> None:
    channel = _Stalling(stalled_seconds)
    answers = await send_one_by_one(cast("AbstractChannel", channel), "x", [(m, "") for m in MESSAGES], DEADLINE)
    assert channel.written == [str(number) for number in range(len(channel.written))]
    assert [answer is None for answer in answers] == [place < len(channel.written) for place in range(len(MESSAGES))]
