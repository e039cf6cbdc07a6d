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

from sagakit.rabbitmq.declaring import consumer_count
from sagakit.rabbitmq.intake import Intake
from sagakit.rabbitmq.link import LINK_ERRORS, Link

_log = structlog.get_logger("sagakit.rabbitmq")
_LOOK_SECONDS = 1.0


async def share(link: Link, intakes: Sequence[Intake]) -> None:
    """Look after the shares until cancelled; ``intakes`` are all queues of one consumer in this process."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 processes that look at once would all give up
        active = [intake for intake in intakes if intake.is_active]
        if len(active) <= 1:
            continue
        try:
            consumers = await consumer_count(link, active[0].queue)
        except LINK_ERRORS as error:
            _log.info("the queues cannot be shared now", queue=active[0].queue, error=repr(error))
            continue
        surplus = active[math.ceil(len(intakes) / max(consumers, 1)) :]
        if surplus:
            _log.info("gives queues up to other processes", queues=[intake.queue for intake in surplus])
        for intake in surplus:
            intake.give_up()
