"""Holds a command back in front of its service, so that a test can do something while it is on its way."""

from __future__ import annotations

import asyncio
from typing import Any

from sagakit.repository import Repository


class Gatekeeper:
    """Holds one command back until it is let through."""

    def __init__(self, command: str) -> None:
        self.command, self.reached, self.is_open = command, asyncio.Event(), asyncio.Event()
        self.passed = asyncio.Event()

    def stand_before(self, repository: Repository) -> None:
        handle = repository.handle

        async def guarded(aggregate: Any, command: Any, context: Any) -> Any:
            if command.command_name == self.command:
                self.reached.set()
                await self.is_open.wait()
            try:
                return await handle(aggregate, command, context)
            finally:
                if command.command_name == self.command:
                    self.passed.set()

        repository.handle = guarded  # type: ignore[method-assign]
