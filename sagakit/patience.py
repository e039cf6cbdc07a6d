"""How often, and how soon, a message that failed for its own fault is tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Literal

from sagakit.errors import SagakitError

_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True)
class Patience:
    """``attempts`` in all; between them ``first_pause_seconds``, doubled each time up to a minute, with jitter."""

    attempts: int = 5
    first_pause_seconds: float = 0.2

    def after(self, attempts: int, error: Exception) -> tuple[Literal["retrying", "parked"], float]:
        """Say what becomes of a message after so many attempts, the last of which raised this, and when it is due."""
        is_hopeless = isinstance(error, SagakitError) and error.parks_at_once
        if is_hopeless or attempts >= self.attempts:
            return "parked", 0.0
        pause = min(_LONGEST_PAUSE_SECONDS, self.first_pause_seconds * 2.0 ** min(attempts - 1, 20))
        return "retrying", time.time() + pause * random.uniform(0.7, 1.3)  # noqa: S311 jitter, no secret
