"""`sagas list`: the executions as Temporal knows them."""

from __future__ import annotations

from typing import Annotated, get_args

import typer
from temporalio.client import Client
from temporalio.service import RPCError

from sagakit.cli.output import print_json, print_table, runs
from sagakit.cli.session import session_of
from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.steps import CORRELATION_ID, SAGA_STATUS, Status
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect

app = typer.Typer(help="Look at sagas.", no_args_is_help=True)


@app.callback()
def sagas() -> None:
    """Look at sagas."""


@app.command(name="list")
@runs
async def list_sagas(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(get_args(Status))}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")] = False,
) -> None:
    """List sagas with their status, their workflow id and when they began."""
    settings = session_of(context).settings
    if status is not None and status not in get_args(Status):
        raise InvalidInput(f"there is no saga status {status!r}; known: {', '.join(get_args(Status))}")
    client = await connect(require(settings).address, settings.temporal_namespace)
    rows = await list_by_status(client, status)
    if as_json:
        print_json(rows)
    else:
        print_table(
            f"{len(rows)} sagas", ("workflow id", "status", "correlation", "started", "closed"), [list(r.values()) for r in rows]
        )


async def list_by_status(client: Client, status: str | None) -> list[dict[str, str | None]]:
    """Read sagas from Temporal's visibility store, newest first; it may lag behind by a moment."""
    query = "SagaStatus is not null" if status is None else f"SagaStatus = '{status}'"
    try:
        return [
            {
                "workflow_id": found.id,
                "status": found.typed_search_attributes.get(SAGA_STATUS),
                "correlation_id": found.typed_search_attributes.get(CORRELATION_ID),
                "started": found.start_time.isoformat(),
                "closed": found.close_time.isoformat() if found.close_time else None,
            }
            async for found in client.list_workflows(query)
        ]
    except RPCError as error:
        raise TemporalUnavailable(f"Temporal does not list sagas: {error.message}") from error
