"""A change of a saga's code that no open instance may meet unprepared: it sleeps before some of its steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow

from sagakit import Command, Saga


def with_a_sleep_before(step: Callable[..., Any], guard: Callable[[Saga, Command], bool]) -> Callable[..., Any]:
    """Change `Saga.step`: it sleeps first where the guard says so."""

    async def changed(self: Saga, command: Any, **options: Any) -> Any:
        if guard(self, command):
            await workflow.sleep(timedelta(seconds=1))
        return await step(self, command, **options)

    return changed
