"""Finishes what must not be cut off, in a workflow that may be cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Finish the work whatever happens to the caller; answer whether the caller was cancelled meanwhile."""
    task, is_cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            is_cancelled = True
            if task.cancelled():
                raise
        except Exception:  # noqa: BLE001, S110 it is raised below, by the task's result
            pass
    return task.result(), is_cancelled
