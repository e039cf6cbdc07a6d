"""Times of the calendar, as cron writes them: five fields in numbers, read in a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sagakit.errors import InvalidInput

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_PART = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")
_LOOKED_AT = (date(2026, 1, 1), date(2036, 1, 1))


def checked(who: str, cron: str | None, time_zone: str) -> str | None:
    """Return the times with single spaces. Raises `InvalidInput` for what is none, and where a day would have none."""
    try:
        zone = zone_of(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "one is called like Europe/Brussels, and the system package tzdata knows them"
        raise InvalidInput(f"{who}: there is no time zone {time_zone!r} here; {hint}") from None
    if cron is None:
        return None
    parts = cron.split()
    if len(parts) != len(_FIELDS):
        named = ", ".join(name for name, _, _ in _FIELDS)
        raise InvalidInput(f"{who}: cron {cron!r} has {len(parts)} fields, not five: {named}")
    fields = [_numbers(who, part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    for day in _days_of_change(zone):
        if _is_meant(day, fields) and not any(_exists(datetime.combine(day, at), zone) for at in _times(fields)):
            raise InvalidInput(f"{who}: in {time_zone} the clock leaves out {cron!r} on {day}: choose another time of day")
    return " ".join(parts)


def zone_of(name: str) -> tzinfo:
    """Find a time zone. UTC is there also on a machine that knows no zones."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _numbers(who: str, text: str, name: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidInput(f"{who}: {part!r} is no {name}: numbers, as in 5, 1-5, */15 or 1,3")
        first = low if match[1] is None else int(match[1])
        last = int(match[2]) if match[2] else high if match[1] is None or match[3] else first
        step = int(match[3] or 1)
        if not low <= first <= last <= high or not step:
            raise InvalidInput(f"{who}: {part!r} is no {name}: from {low} to {high}")
        found.update(range(first, last + 1, step))
    return found


def _is_meant(day: date, fields: list[set[int]]) -> bool:
    _, _, days, months, weekdays = fields
    return day.day in days and day.month in months and bool({day.isoweekday(), day.isoweekday() % 7} & weekdays)


def _times(fields: list[set[int]]) -> Iterator[time]:
    return (time(hour, minute) for hour in sorted(fields[1]) for minute in sorted(fields[0]))


def _days_of_change(zone: tzinfo) -> Iterator[date]:
    """List the days on which a clock is set, and the day before each: a change may be at midnight."""
    day, end = _LOOKED_AT
    while day < end:
        tomorrow = day + timedelta(days=1)
        noons = [datetime.combine(each, time(12), zone).utcoffset() for each in (day, tomorrow)]
        if noons[0] != noons[1]:
            yield day
            yield tomorrow
        day = tomorrow


def _exists(local: datetime, zone: tzinfo) -> bool:
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local
