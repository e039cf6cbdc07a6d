"""Schedules as Temporal Schedules: declared when a worker starts, looked at, and steered by people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.client import Schedule as TemporalSchedule
from temporalio.service import RPCError, RPCStatusCode

from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.schedules import Schedule, id_of
from sagakit.service import Service
from sagakit.steps import Wish
from sagakit.temporal.scheduled import SCHEDULED_COMMAND

_SHOWN = 3


@dataclass(frozen=True)
class Standing:
    """How a schedule stands on the server. ``recent`` are its last times, the latest last; ``skipped_count`` overlapped."""

    service: str
    schedule: str
    when: str
    next: tuple[datetime, ...]
    recent: tuple[datetime, ...]
    ran_count: int
    missed_count: int
    skipped_count: int
    is_paused: bool
    note: str


class Schedules:
    """The schedules of a namespace: ``<service>.schedule.<name>``. Raises `InvalidInput`, `TemporalUnavailable`."""

    def __init__(self, client: Client) -> None:
        """Take a client."""
        self._client = client

    async def declare(self, service: Service) -> None:
        """Make the server's schedules of a service those that the code declares. Idempotent; a pause by a person stays."""
        wanted = {id_of(service.name, schedule.name): schedule for schedule in service.schedules}
        with _as_ours(f"the schedules of {service.name} could not be declared"):
            for schedule_id, schedule in wanted.items():
                await self._put(schedule_id, service, schedule)
            async for found in await self._client.list_schedules():
                if found.id.startswith(id_of(service.name, "")) and found.id not in wanted:
                    await self._remove(found.id)

    async def standing(self, service: Service) -> AsyncIterator[Standing]:
        """Tell how the schedules that a service declares stand; one that no worker has declared yet is passed over."""
        for schedule in service.schedules:
            with _as_ours("Temporal does not tell how schedules stand"):
                try:
                    told = await self._handle(service, schedule.name).describe()
                except RPCError as error:
                    if error.status is RPCStatusCode.NOT_FOUND:
                        continue
                    raise
            info, state = told.info, told.schedule.state
            yield Standing(
                service.name,
                schedule.name,
                schedule.when,
                tuple(info.next_action_times[:_SHOWN]),
                tuple(action.scheduled_at for action in info.recent_actions),
                info.num_actions,
                info.num_actions_missed_catchup_window,
                info.num_actions_skipped_overlap,
                state.paused,
                state.note or "",
            )

    async def pause(self, service: Service, schedule: str, wish: Wish) -> None:
        """Let its times pass, until it is resumed. Who and why stand in its note."""
        with _as_ours(f"{schedule} is not paused"):
            await self._handle(service, schedule).pause(note=_note("paused", wish))

    async def resume(self, service: Service, schedule: str, wish: Wish) -> None:
        """Go on at the next of its times."""
        with _as_ours(f"{schedule} is not resumed"):
            await self._handle(service, schedule).unpause(note=_note("resumed", wish))

    async def trigger(self, service: Service, schedule: str) -> None:
        """Let the present moment be one of its times."""
        with _as_ours(f"{schedule} is not triggered"):
            await self._handle(service, schedule).trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)

    async def backfill(self, service: Service, schedule: str, start: datetime, end: datetime) -> None:
        """Go through its times from ``start`` to ``end``, in order. What took effect before takes no second one."""
        times = ScheduleBackfill(start_at=start, end_at=end, overlap=ScheduleOverlapPolicy.BUFFER_ALL)
        with _as_ours(f"{schedule} is not backfilled"):
            await self._handle(service, schedule).backfill(times)

    def _handle(self, service: Service, schedule: str) -> ScheduleHandle:
        known = [each.name for each in service.schedules]
        if schedule not in known:
            raise InvalidInput(f"service {service.name} has no schedule {schedule!r}; known: {', '.join(known) or 'none'}")
        return self._client.get_schedule_handle(id_of(service.name, schedule))

    async def _put(self, schedule_id: str, service: Service, schedule: Schedule) -> None:
        wanted = _as_temporal(schedule_id, service, schedule)

        def renewed(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
            stands = found.description.schedule
            if _compared(stands) == _compared(wanted):
                return None
            wanted.state = stands.state
            return ScheduleUpdate(wanted)

        try:
            await self._client.create_schedule(schedule_id, wanted)
        except ScheduleAlreadyRunningError:
            await self._client.get_schedule_handle(schedule_id).update(renewed)

    async def _remove(self, schedule_id: str) -> None:
        try:
            await self._client.get_schedule_handle(schedule_id).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # another process was quicker
                raise


def _note(what: str, wish: Wish) -> str:
    return f"{what} by {wish.actor}: {wish.reason}"


def _as_temporal(schedule_id: str, service: Service, schedule: Schedule) -> TemporalSchedule:
    action = ScheduleActionStartWorkflow(
        SCHEDULED_COMMAND,
        id=schedule_id,  # the server adds the scheduled time
        task_queue=service.name,
        static_summary=f"schedule {schedule.name}, {schedule.when}",
    )
    intervals = [] if schedule.every is None else [ScheduleIntervalSpec(every=schedule.every, offset=schedule.offset)]
    # The server keeps no cron text, but what follows the # as a comment: by that it is known again.
    crons = [] if schedule.cron is None else [f"{schedule.cron} #{schedule.cron}"]
    return TemporalSchedule(
        action=action,
        spec=ScheduleSpec(intervals=intervals, cron_expressions=crons, time_zone_name=schedule.time_zone),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy[schedule.overlap.upper()], catchup_window=schedule.catch_up),
    )


def _compared(schedule: TemporalSchedule) -> tuple[object, ...]:
    """Take of a schedule what says when and how, in the words of either side."""
    spec, policy, action = schedule.spec, schedule.policy, schedule.action
    crons = [cron.partition("#")[2] for cron in spec.cron_expressions]
    calendars = [calendar.comment or "" for calendar in spec.calendars]
    intervals = [(each.every, each.offset or timedelta()) for each in spec.intervals]
    does = (action.workflow, action.task_queue) if isinstance(action, ScheduleActionStartWorkflow) else ()
    return (crons or calendars, intervals, spec.time_zone_name or "UTC", policy.overlap, policy.catchup_window, *does)


@contextmanager
def _as_ours(what: str) -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise InvalidInput(f"{what}: {error.message}") from error
        if error.status is RPCStatusCode.NOT_FOUND:
            raise InvalidInput(f"{what}: no worker of its service has declared it yet") from error
        raise TemporalUnavailable(f"{what}: {error.message}") from error
