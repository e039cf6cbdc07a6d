"""What a person decides about a saga: each with who and why, kept in its history and in the log of its service."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sagakit.cli.deciding import Actor, Reason, stated
from sagakit.cli.output import runs, stdout
from sagakit.cli.session import executions_of
from sagakit.steps import Answer, StepReply, Verdict, Wish

Id = Annotated[str, typer.Argument(help="The saga's workflow id, like order-fulfilment/700000.")]
Number = Annotated[int | None, typer.Option(help="Which step, where several are parked.")]


@runs
async def retry(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None, step: Number = None) -> None:
    """Send the parked step again."""
    await _decide(context, workflow_id, Verdict(action="retry", **dict(stated(actor, reason)), step=step))


@runs
async def skip(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None, step: Number = None) -> None:
    """Go on as if the parked step were done: it was done by other means, or is not needed."""
    await _decide(context, workflow_id, Verdict(action="skip", **dict(stated(actor, reason)), step=step))


@runs
async def supply(
    context: typer.Context,
    workflow_id: Id,
    reason: Reason,
    done: Annotated[int, typer.Option(min=0, help="How many commands of the step took effect.")],
    actor: Actor = None,
    step: Number = None,
) -> None:
    """Go on with a result that you give in place of the parked step's own."""
    verdict = Verdict(action="supply", **dict(stated(actor, reason)), step=step, reply=StepReply(done=done))
    await _decide(context, workflow_id, verdict)


@runs
async def complete(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None, step: Number = None) -> None:
    """End the parked saga as it stands: nothing more is done, and nothing undone."""
    await _decide(context, workflow_id, Verdict(action="complete", **dict(stated(actor, reason)), step=step))


@runs
async def answer(
    context: typer.Context,
    workflow_id: Id,
    choice: Annotated[str, typer.Argument(help="One of the choices that `sagas show` names.")],
    reason: Reason,
    actor: Actor = None,
) -> None:
    """Answer what a saga asks."""
    answered = Answer(choice=choice, **dict(stated(actor, reason)))
    stdout.print(f"{workflow_id}: {await (await executions_of(context)).answer(workflow_id, answered)}", markup=False)


@runs
async def cancel(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None) -> None:
    """Undo what a running saga did. Behind its pivot that cannot be."""
    wish = stated(actor, reason)
    stdout.print(f"{workflow_id}: {await (await executions_of(context)).cancel(workflow_id, wish)}", markup=False)


@runs
async def resume(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None) -> None:
    """Let a saga that ended without an outcome, as by a termination, go on where it stood."""
    await _begin_anew(context, workflow_id, "resume", stated(actor, reason))


@runs
async def compensate(context: typer.Context, workflow_id: Id, reason: Reason, actor: Actor = None) -> None:
    """Let a saga that ended without an outcome undo what it did; one that is behind its pivot goes on to its end."""
    await _begin_anew(context, workflow_id, "compensate", stated(actor, reason))


ACTIONS = (retry, skip, supply, complete, answer, cancel, resume, compensate)


async def _decide(context: typer.Context, workflow_id: str, verdict: Verdict) -> None:
    stdout.print(f"{workflow_id}: {await (await executions_of(context)).decide(workflow_id, verdict)}", markup=False)


async def _begin_anew(context: typer.Context, workflow_id: str, way: Literal["resume", "compensate"], wish: Wish) -> None:
    await (await executions_of(context)).begin_anew(workflow_id, way, wish)
    stdout.print(f"{workflow_id}: begun anew to {way}", markup=False)
