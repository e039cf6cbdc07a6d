"""A scheduled time as Temporal runs it: a small workflow, which sends the command of that time once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

from sagakit.errors import InvalidInput
from sagakit.outcome import CommandOutcome
from sagakit.repository import Context, Repository
from sagakit.schedules import Schedule
from sagakit.service import Service, ServiceMap

SCHEDULED_COMMAND = "sagakit_scheduled_command"
_BY = SearchAttributeKey.for_keyword("TemporalScheduledById")
_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_ATTEMPT = timedelta(seconds=60)


@workflow.defn(name=SCHEDULED_COMMAND, sandboxed=False)
class ScheduledCommand:
    """One scheduled time of one schedule. A refusal of the command is an outcome: it is shown, and not tried again.

    It takes no argument: whose run it is, and of which time, the server says in search attributes.
    """

    @workflow.run
    async def run(self) -> str:
        """Send the command; return what became of it."""
        given = workflow.info().typed_search_attributes
        by, at = given.get(_BY), given.get(_AT)
        if by is None or at is None:
            raise ApplicationError("a schedule starts this, and nobody else", non_retryable=True)
        answer: str = await workflow.execute_activity(
            activity_of(by.rpartition(".")[2]),
            at.astimezone(UTC).isoformat(),
            result_type=str,
            start_to_close_timeout=_ATTEMPT,
        )
        return answer


def activity_of(schedule: str) -> str:
    """Name the activity that sends a schedule's commands."""
    return f"scheduled_{schedule}"


def scheduled_activities(service: Service, services: ServiceMap, repository: Repository) -> list[Callable[..., Any]]:
    """Make one activity per schedule of the service."""
    return [_activity(service, services, repository, schedule) for schedule in service.schedules]


def _activity(service: Service, services: ServiceMap, repository: Repository, schedule: Schedule) -> Callable[..., Any]:
    @activity.defn(name=activity_of(schedule.name))
    async def send_scheduled(at: str) -> str:
        """Handle the command of a scheduled time, under a key of that time."""
        try:
            command = schedule(datetime.fromisoformat(at))
            aggregate = services.handled_in(service, type(command), f"schedule {schedule.name}")
            key = f"{schedule.name}/{at}"
            context = Context(correlation_id=key, actor=f"schedule {schedule.name}", key=key)
            outcome = await repository.handle(aggregate, command, context)
        except InvalidInput as error:
            raise ApplicationError(str(error), type="invalid_input", non_retryable=True) from error
        return _said(outcome)

    return send_scheduled


def _said(outcome: CommandOutcome) -> str:
    if outcome.status == "done":
        return f"{outcome.stream}: {', '.join(outcome.events) or 'nothing changed'}"
    return f"{outcome.stream}: refused, {outcome.code}: {outcome.reason}"
