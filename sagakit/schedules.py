"""Reactions to time: each day, say, a command to an aggregate of the service, whose event then starts a saga."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sagakit.calendars import checked, zone_of
from sagakit.errors import InvalidInput
from sagakit.messages import Command

Overlap = Literal["skip", "buffer_one", "buffer_all", "allow_all"]
_SHORTEST = timedelta(seconds=1)
_RUN = re.compile(r"(\w+\.schedule\.\w+)-\d{4}-\d\d-\d\dT[\d:.]+Z")


@dataclass(frozen=True)
class Schedule:
    """What `@schedule` makes of a function; it is listed in the service whose aggregate handles its command.

    Delivery: the command of a scheduled time takes effect once, under the key ``<schedule>/<time>``, however often that time
    is backfilled or caught up. Ordering: by time, unless ``overlap`` is *allow_all*.
    """

    name: str
    function: Callable[[datetime], Command]
    every: timedelta | None
    offset: timedelta
    cron: str | None
    time_zone: str
    catch_up: timedelta
    overlap: Overlap

    def __call__(self, at: datetime) -> Command:
        """Answer the command of a scheduled time. Raises `InvalidInput`, and what the function raises."""
        command = self.function(at.astimezone(zone_of(self.time_zone)))
        if not isinstance(command, Command):
            raise InvalidInput(f"schedule {self.name} returned {type(command).__name__}, which is no command")
        return command

    @property
    def when(self) -> str:
        """Say how often."""
        if self.cron is not None:
            return f"{self.cron} ({self.time_zone})"
        return f"every {self.every}" + (f", {self.offset} late" if self.offset else "")


def schedule(
    *,
    every: timedelta | None = None,
    offset: timedelta = timedelta(),
    cron: str | None = None,
    time_zone: str = "UTC",
    catch_up: timedelta = timedelta(days=365),
    overlap: Overlap = "buffer_all",
    name: str | None = None,
) -> Callable[[Callable[[datetime], Command]], Schedule]:
    """Make a pure function from a scheduled time, which is in ``time_zone``, to a command be asked at each such time.

    These are multiples of ``every`` plus ``offset``, counted from 1970-01-01T00:00Z; or those of ``cron``: minute, hour, day of
    the month, month and day of the week (0 is Sunday), in numbers. An hour that comes twice in autumn counts once. A time of
    day that a zone leaves out in spring is refused: that day would have none.

    What was missed while the server was away is caught up, up to ``catch_up`` back. ``overlap`` says what becomes of a time
    while the command of the one before is not handled yet (a service that is down): it is about the command, not about the
    saga that follows. The name, by default the function's, is part of the keys.
    """

    def mark(function: Callable[[datetime], Command]) -> Schedule:
        stable = name or function.__name__
        if not stable.isidentifier():
            raise InvalidInput(f"schedule {stable!r}: letters, digits and underscores only")
        if inspect.iscoroutinefunction(function):
            raise InvalidInput(f"schedule {stable} is asynchronous: it decides what follows, and the command does the work")
        if (every is None) == (cron is None):
            raise InvalidInput(f"schedule {stable}: either every= or cron=")
        if every is not None and (every < _SHORTEST or not timedelta() <= offset < every):
            raise InvalidInput(f"schedule {stable}: every= from a second on, and offset= below it")
        if catch_up <= timedelta():
            raise InvalidInput(f"schedule {stable}: catch_up= above nothing")
        if overlap not in get_args(Overlap):
            raise InvalidInput(f"schedule {stable}: overlap is one of {', '.join(get_args(Overlap))}, not {overlap!r}")
        times = checked(f"schedule {stable}", cron, time_zone)
        return Schedule(stable, function, every, offset, times, time_zone, catch_up, overlap)

    return mark


def id_of(service: str, schedule: str) -> str:
    """Name a schedule on the Temporal server, which names each of its runs so with the time behind it."""
    return f"{service}.schedule.{schedule}"


def without_time(workflow_id: str) -> str:
    """Name the schedule of a workflow that is a run of one; any other workflow is named as it is."""
    run = _RUN.fullmatch(workflow_id)
    return workflow_id if run is None else run[1]
