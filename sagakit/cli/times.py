"""Times as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from sagakit.errors import InvalidInput


def moment_of(option: str, text: str) -> datetime:
    """Read a time; without a zone it is UTC. Raises `InvalidInput`, naming the option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        example = "2010-12-01T08:26 or 2010-12-01T08:26:00+01:00"
        raise InvalidInput(f"{option} {text!r} is no time: expected one like {example}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
