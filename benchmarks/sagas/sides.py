"""What a row asks of a side."""

from __future__ import annotations

from typing import Protocol

STEPS = 3


class Side(Protocol):
    """What a row asks of a side."""

    async def book(self, trip: str) -> None:
        """Take one trip through its three steps, from its start until the caller knows the end."""

    async def open(self, trip: str) -> None:
        """Start one that stays open."""

    async def bookings(self) -> int:
        """Count what the services hold."""
