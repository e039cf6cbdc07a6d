"""What becomes of a command. The ground floor: it knows nothing else of sagakit."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class CommandOutcome(BaseModel):
    """What became of a command: kept under its idempotency key and returned again to whoever repeats it.

    ``fenced`` means that the command's undo came first: it was refused before it could do anything.
    """

    model_config = ConfigDict(frozen=True)
    status: Literal["done", "refused", "fenced", "nothing_to_undo"]
    stream: str
    version: int = 0
    events: tuple[str, ...] = ()
    code: str | None = None
    reason: str | None = None
