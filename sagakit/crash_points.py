"""Named places where a process may die; a test may make it die there. In production a look at an empty variable."""

from __future__ import annotations

from collections.abc import Callable

FEED_READ = "feed: events read, nothing published"
FEED_SENT = "feed: published, not yet confirmed"
FEED_CONFIRMED = "feed: confirmed, the checkpoint not yet moved"
FEED_ADVANCED = "feed: the checkpoint moved"
CONSUMER_RECEIVED = "consumer: received, nothing done"
CONSUMER_ENTERED = "consumer: inbox row written, no effect yet"
CONSUMER_AFFECTED = "consumer: effect written, not committed"
CONSUMER_COMMITTED = "consumer: committed, not acknowledged"
CONSUMER_ACKNOWLEDGED = "consumer: acknowledged"
PARKED_RETRIED = "parked: tried again with success, not committed"
SAGA_STARTED = "bridge: saga started, inbox row not yet written"
PROJECTOR_APPLIED = "projector: applied, not committed"
PROJECTOR_COMMITTED = "projector: committed"

_hook: Callable[[str], None] | None = None


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Call ``hook`` with the name of each place that is reached. For tests only."""
    global _hook  # noqa: PLW0603 one variable, so that nothing is paid for it
    _hook = hook


def reached(place: str) -> None:
    """Say that a named place is reached."""
    if _hook is not None:
        _hook(place)
