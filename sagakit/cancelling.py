"""Tells a wish that a task should end from a cancellation that came out of what the task waited for."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Say whether somebody wishes the current task to end. A `CancelledError` without that is no wish: what it awaited ended."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
