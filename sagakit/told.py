"""The errors of a saga's calls as facts, and back: a run that goes on raises what the earlier one raised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sagakit.errors import ChildCompensated, NotInTime, PayloadTooLarge, StepRefused, StepTimedOut

Fact = str | float | int | None
_FACTS: dict[type[Exception], tuple[str, ...]] = {
    StepRefused: ("step", "refusal", "reason"),
    StepTimedOut: ("step", "seconds", "reason"),
    NotInTime: ("what", "within"),
    PayloadTooLarge: ("what", "size", "limit"),
    ChildCompensated: ("child", "reason"),
}
_BY_NAME: dict[str, Callable[..., Exception]] = {kind.__name__: kind for kind in _FACTS}


def facts_of(error: Exception) -> tuple[str, tuple[Fact, ...]] | None:
    """Take an error apart; None for one of the author's own, which cannot be told again."""
    names = _FACTS.get(type(error))
    return None if names is None else (type(error).__name__, tuple(_plain(getattr(error, name)) for name in names))


def failure_of(name: str, facts: tuple[Fact, ...]) -> Exception:
    """Put an error together again."""
    if name == NotInTime.__name__:
        what, seconds = facts
        return NotInTime(str(what), None if seconds is None else timedelta(seconds=float(seconds)))
    return _BY_NAME[name](*facts)


def _plain(value: Any) -> Fact:
    return value.total_seconds() if isinstance(value, timedelta) else value
