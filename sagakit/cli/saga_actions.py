"""What a person decides about a saga: each with who and why, kept in its history and in the log of its service."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from sagakit.cli.deciding import Actor, Reason, stated
from sagakit.cli.output import runs, stdout
from sagakit.cli.session import executions_of
from sagakit.errors import InvalidInput
from sagakit.steps import Answer, StepReply, Verdict, Wish

Id = Annotated[str, typer.Argument(help="The saga's workflow id, like order-fulfilment/700000.")]
Number = Annotated[int | None, typer.Option(help="Which step, where several are parked.")]


@runs
async def retry(context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None, step: Number = None) -> None:
    """Send the parked step again."""
    await _decide(context, workflow_id, Verdict(action="retry", **dict(stated(actor, reason)), step=step))


@runs
async def skip(context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None, step: Number = None) -> None:
    """Go on as if the parked step were done: it was done by other means, or is not needed."""
    await _decide(context, workflow_id, Verdict(action="skip", **dict(stated(actor, reason)), step=step))


@runs
async def supply(
    context: typer.Context,
    workflow_id: Id,
    reason: Reason = None,
    done: Annotated[int | None, typer.Option(min=0, help="How many commands of the step took effect.")] = None,
    result: Annotated[
        str | None, typer.Option(help='Instead: the whole result, like {"done": 1, "recorded": "seat-4@2"}.')
    ] = None,
    actor: Actor = None,
    step: Number = None,
) -> None:
    """Go on with a result that you give in place of the parked step's own."""
    reply = _supplied(done, result)
    verdict = Verdict(action="supply", **dict(stated(actor, reason)), step=step, reply=reply)
    await _decide(context, workflow_id, verdict)


@runs
async def complete(
    context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None, step: Number = None
) -> None:
    """End the parked saga as it stands: nothing more is done, and nothing undone."""
    await _decide(context, workflow_id, Verdict(action="complete", **dict(stated(actor, reason)), step=step))


@runs
async def answer(
    context: typer.Context,
    workflow_id: Id,
    choice: Annotated[str, typer.Argument(help="One of the choices that `sagas show` names.")],
    reason: Reason = None,
    actor: Actor = None,
) -> None:
    """Answer what a saga asks."""
    answered = Answer(choice=choice, **dict(stated(actor, reason)))
    stdout.print(
        f"{workflow_id}: {await (await executions_of(context)).answer(workflow_id, answered)}", markup=False, soft_wrap=True
    )


@runs
async def cancel(context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None) -> None:
    """Undo what a running saga did. Behind its pivot that cannot be."""
    wish = stated(actor, reason)
    stdout.print(f"{workflow_id}: {await (await executions_of(context)).cancel(workflow_id, wish)}", markup=False, soft_wrap=True)


@runs
async def resume(context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None) -> None:
    """Let a saga that ended without an outcome, as by a termination, go on where it stood."""
    await _begin_anew(context, workflow_id, "resume", stated(actor, reason))


@runs
async def compensate(context: typer.Context, workflow_id: Id, reason: Reason = None, actor: Actor = None) -> None:
    """Let a saga that ended without an outcome undo what it did; one that is behind its pivot goes on to its end."""
    await _begin_anew(context, workflow_id, "compensate", stated(actor, reason))


ACTIONS = (retry, skip, supply, complete, answer, cancel, resume, compensate)


def _supplied(done: int | None, result: str | None) -> StepReply:
    if (done is None) == (result is None):
        raise InvalidInput("supply needs the result: say either --done NUMBER or --result JSON")
    if result is None:
        return StepReply(done=done or 0)
    try:
        return StepReply.model_validate_json(result, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InvalidInput(f'--result is no result of a step, like {{"done": 1}}: {where}: {first["msg"]}') from None


async def _decide(context: typer.Context, workflow_id: str, verdict: Verdict) -> None:
    stdout.print(
        f"{workflow_id}: {await (await executions_of(context)).decide(workflow_id, verdict)}", markup=False, soft_wrap=True
    )


async def _begin_anew(context: typer.Context, workflow_id: str, way: Literal["resume", "compensate"], wish: Wish) -> None:
    await (await executions_of(context)).begin_anew(workflow_id, way, wish)
    stdout.print(f"{workflow_id}: begun anew to {way}", markup=False, soft_wrap=True)
