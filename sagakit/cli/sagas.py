"""`sagas list` and `sagas show`: the executions as Temporal knows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, get_args

import typer

from sagakit.cli import gate, saga_actions, saga_diagram, saga_source, schedules, unmatched, versions
from sagakit.cli.deciding import decisions_about
from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import executions_of, session_of
from sagakit.errors import InvalidInput
from sagakit.settings import is_build_id
from sagakit.steps import Status
from sagakit.temporal.versions import deployment_of, written

app = typer.Typer(help="Look at sagas, and decide what waits for a person.", no_args_is_help=True)
for action in (
    *saga_actions.ACTIONS,
    gate.gate,
    saga_source.check,
    saga_diagram.diagram,
    unmatched.unmatched,
    versions.versions,
    versions.make_current,
):
    app.command()(action)
app.add_typer(schedules.app, name="schedules")


@app.callback()
def sagas() -> None:
    """Look at sagas, and decide what waits for a person."""


@app.command(name="list")
@runs
async def list_sagas(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(get_args(Status))}.")] = None,
    build: Annotated[
        str | None, typer.Option(help="Only the open ones that are pinned to this build, and so keep it in use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List sagas with their status, their workflow id and when they began. Parked ones wait for a person."""
    if status is not None and status not in get_args(Status):
        raise InvalidInput(f"there is no saga status {status!r}; known: {', '.join(get_args(Status))}")
    settings, services = session_of(context).settings, session_of(context).services
    if build is not None and not is_build_id(build):
        raise InvalidInput(f"{build!r} is no build id; `sagas versions` names them")
    pinned_to = [written(deployment_of(settings, each.name), build) for each in services.services] if build else []
    executions = await executions_of(context)
    found = [asdict(execution) async for execution in executions.listed(status, dict.fromkeys(pinned_to))]
    rows = [
        {
            **{name: row[name] for name in ("workflow_id", "status", "correlation_id")},
            "started": row["started"].isoformat(),
            "closed": row["closed"].isoformat() if row["closed"] else None,
        }
        for row in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            f"{len(rows)} sagas", ("workflow id", "status", "correlation", "started", "closed"), [list(r.values()) for r in rows]
        )


@app.command()
@runs
async def show(
    context: typer.Context,
    workflow_id: Annotated[str, typer.Argument(help="The saga's workflow id, like order-fulfilment/700000.")],
    as_json: AsJson = False,
) -> None:
    """Show the steps of a saga, what it asks, and what people decided about it. A worker of its service has to run."""
    executions = await executions_of(context)
    found, shown = await executions.look(workflow_id), await executions.steps(workflow_id)
    decisions = await decisions_about(session_of(context), workflow_id)
    if as_json:
        print_json({**shown, "workflow_id": workflow_id, "status": found.status, "decisions": decisions})
        return
    columns = ("number", "name", "items", "kind", "state", "attempts", "since")
    print_table(f"{workflow_id}: {found.status}", columns, [[step[column] for column in columns] for step in shown["steps"]])
    for event in shown.get("unmatched", ()):  # a saga of an older release does not tell
        stdout.print(f"came, and is not waited for: {event}", markup=False)
    if decisions:
        told = ("at", "action", "about", "actor", "reason")
        print_table("decided by people", told, [[each[column] for column in told] for each in decisions])
    if question := shown["question"]:
        stdout.print(f"asks: {question['text']} ({' | '.join(question['choices'])})", markup=False)
