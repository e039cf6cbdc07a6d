"""Finishes what must not be cut off, in a workflow that may be cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Cancellable(Protocol):
    """Something that remembers that it was to be cut off."""

    is_cancelled: bool


async def shielded(work: Coroutine[Any, Any, T], call: Cancellable) -> T:
    """Finish the work whatever happens to the caller; note in the call that the caller was cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            call.is_cancelled = True
            if task.cancelled():
                raise
        except Exception:  # noqa: BLE001, S110 it is raised below, by the task's result
            pass
    return task.result()
