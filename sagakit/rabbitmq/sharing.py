"""Shares the queues of one consumer among its processes, which the broker does not: the first one there is active on all of them.

A process that gets messages from more queues than its share gives the others up and stands in line for them again. The broker
then takes the next in line, and so on until nobody has too many. Order per stream holds: a queue is given up between batches,
and has one active consumer at any time. A queue without messages is of no account.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from sagakit.rabbitmq.declaring import consumer_count
from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors
from sagakit.rabbitmq.intake import Intake
from sagakit.rabbitmq.link import Link, close_channel

_log = structlog.get_logger("sagakit.rabbitmq")
_LOOK_SECONDS = 1.0


async def share(asking: Link, consuming: Link, members: str, intakes: Sequence[Intake]) -> None:
    """Look after the shares until cancelled.

    ``intakes`` are all queues of one consumer in this process; consuming ``members``, which holds nothing, counts it in.
    """
    membership: AbstractChannel | None = None
    try:
        while True:
            await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 who looks at the same time gives up at once
            try:
                if membership is None or membership.is_closed:
                    membership = await consuming.channel(publisher_confirms=False)
                    with driver_errors():
                        await (await membership.get_underlay_channel()).basic_consume(members, _ignore)
                active = [intake for intake in intakes if intake.is_active]
                processes = await consumer_count(asking, members) if len(active) > 1 else 1
            except LINK_ERRORS as error:
                _log.info("the queues cannot be shared now", members=members, error=repr(error))
                continue
            for intake in active[math.ceil(len(intakes) / max(processes, 1)) :]:
                _log.info("gives a queue up to another process", queue=intake.queue, processes=processes)
                intake.give_up()
    finally:
        if membership is not None and not membership.is_closed:
            await close_channel(membership)


async def _ignore(message: DeliveredMessage) -> None:
    """Leave a message where nobody should send one."""
