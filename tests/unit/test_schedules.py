"""What a schedule may say, and what it answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sagakit import Command, Service, schedule
from sagakit.calendars import checked
from sagakit.errors import InvalidInput
from sagakit.reach import Reach
from sagakit.service import ServiceMap
from tests.support.ledger import LEDGER, BeginDay, Day, each_day


def test_the_function_is_asked_in_its_own_time_zone() -> None:
    command = each_day(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    assert isinstance(command, BeginDay)
    assert (command.day, command.closes_at.isoformat()) == ("2026-03-29", "2026-03-29T18:00:00+02:00")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "either every= or cron="),
        ({"every": timedelta(hours=1), "cron": "0 6 * * *"}, "either every= or cron="),
        ({"every": timedelta(milliseconds=10)}, "every= from a second on"),
        ({"every": timedelta(hours=1), "offset": timedelta(hours=1)}, "offset= below it"),
        ({"cron": "0 6 * * *", "catch_up": timedelta()}, "catch_up= above nothing"),
        ({"cron": "0 6 * * *", "overlap": "maybe"}, "overlap is one of skip, buffer_one"),
        ({"cron": "0 6 * * *", "name": "a-b"}, "letters, digits and underscores"),
        ({"cron": "0 6 * *"}, "has 4 fields, not five"),
        ({"cron": "60 6 * * *"}, "'60' is no minute: from 0 to 59"),
        ({"cron": "0 22-6 * * *"}, "'22-6' is no hour: from 0 to 23"),
        ({"cron": "0 6 * * MON"}, "'MON' is no day of the week: numbers"),
        ({"cron": "*/0 6 * * *"}, "'*/0' is no minute"),
        ({"cron": "0 6 * * *", "time_zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
        ({"cron": "0 6 * * *", "time_zone": "../etc/passwd"}, "there is no time zone"),
        ({"cron": "30 2 * * *", "time_zone": "Europe/Brussels"}, "leaves out '30 2 * * *' on 2026-03-29"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_when_it_is_written(told: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        schedule(**told)(each_day.function)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("30 2 * * *", "UTC"),
        ("30 2 * * *", "Asia/Tokyo"),
        ("30 2 * * 1-5", "Europe/Brussels"),  # clocks are set on Sundays
        ("*/30 * * * *", "Europe/Brussels"),  # the day has other times
        ("0 2,4 * * *", "Europe/Brussels"),
        ("30 2 1 * *", "Europe/Brussels"),
    ],
)
def test_a_time_that_no_day_goes_without_may_be_said(cron: str, zone: str) -> None:
    assert checked("it", cron, zone) == cron


async def _later(at: datetime) -> Command:
    return each_day.function(at)


def test_what_is_no_command_of_its_service_is_refused() -> None:
    with pytest.raises(InvalidInput, match="asynchronous"):
        schedule(every=timedelta(days=1))(_later)  # type: ignore[arg-type]
    wrong = schedule(every=timedelta(days=1), name="wrong")(str)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidInput, match="returned str, which is no command"):
        wrong(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput, match="two schedules of service ledger share a name"):
        ServiceMap([Service("ledger", aggregates=(Day,), schedules=(each_day, each_day))])
    with pytest.raises(InvalidInput, match=r"schedule each_day of service other sends begin_day, which service ledger handles"):
        ServiceMap([LEDGER, Service("other", schedules=(each_day,))])
    assert "schedule each_day (ledger)" in Reach(ServiceMap([LEDGER])).of_command("begin_day", "")
