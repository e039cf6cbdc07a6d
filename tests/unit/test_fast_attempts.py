"""A fast step whose time is over goes the ordinary way, and nobody is alarmed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from sagakit.steps import StepRequest
from sagakit.temporal.activities import command_activities
from tests.support.faulty import PARTS


class Stuck:
    """A repository whose database does not answer."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()

    async def handle(self, *_: Any) -> None:
        self.is_asked.set()
        await asyncio.Event().wait()


async def _cancelled(*, is_local: bool) -> None:
    repository: Any = Stuck()
    (do, *_) = command_activities(PARTS, repository, 1)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, is_local=is_local)
    fields: list[dict[str, Any]] = [{"part": "p"}]
    request = StepRequest(commands=fields, key="k", is_undo=False, correlation_id="c", causation_id="e", actor="a")
    running = asyncio.create_task(environment.run(do, request))
    await repository.is_asked.wait()
    environment.cancel()
    await running


async def test_the_end_of_its_time_is_no_fault_of_a_fast_step() -> None:
    with pytest.raises(ApplicationError, match="not done in its time") as raised:
        await _cancelled(is_local=True)
    assert raised.value.category is ApplicationErrorCategory.BENIGN
    assert not raised.value.non_retryable


async def test_an_ordinary_activity_is_cancelled_as_ever() -> None:
    with pytest.raises(asyncio.CancelledError):
        await _cancelled(is_local=False)
