"""A ledger that is closed each day: a schedule begins the day, and the day's saga closes it in the evening."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, Event, Saga, Service, applies, handles, schedule
    from sagakit.messages import Identifier


class BeginDay(Command, name="begin_day", id_field="day"):
    day: Identifier
    closes_at: datetime


class CloseDay(Command, name="close_day", id_field="day"):
    day: Identifier


class DayBegun(Event, name="day.begun", version=1):
    day: str
    closes_at: datetime


class DayClosed(Event, name="day.closed", version=1):
    day: str


class Day(Aggregate, category="day"):
    is_begun: bool = False

    @handles(BeginDay)
    def begin(self, command: BeginDay) -> list[Event]:
        return [] if self.is_begun else [DayBegun(day=self.id, closes_at=command.closes_at)]

    @handles(CloseDay)
    def close(self, command: CloseDay) -> Event:
        return DayClosed(day=self.id)

    @applies(DayBegun)
    def _begun(self, event: DayBegun) -> None:
        self.is_begun = True

    @applies(DayClosed)
    def _closed(self, event: DayClosed) -> None: ...


@schedule(cron="30 6 * * *", time_zone="Europe/Brussels")
def each_day(at: datetime) -> Command:
    return BeginDay(day=f"{at:%Y-%m-%d}", closes_at=at.replace(hour=18, minute=0))


@workflow.defn
class DaySaga(Saga, starts_on=DayBegun, key="day", deadline=timedelta(hours=20)):
    @workflow.run
    async def run(self, begun: DayBegun) -> None:
        await self.sleep_until(begun.closes_at)
        await self.step(CloseDay(day=begun.day), pivot=True)


LEDGER = Service("ledger", aggregates=(Day,), sagas=(DaySaga,), schedules=(each_day,))
