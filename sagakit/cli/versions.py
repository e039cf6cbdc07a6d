"""`sagas versions` and `sagas make-current`: which builds run sagas, and which one takes those that begin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import session_of
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by
from sagakit.temporal.versions import Versions, deployment_of

Only = Annotated[list[str] | None, typer.Option(help="Only the deployment of this service; repeat it. All when left out.")]


@runs
async def versions(context: typer.Context, service: Only = None, as_json: AsJson = False) -> None:
    """List the builds that workers were seen of, how Temporal routes to each, and how many open sagas are pinned to it.

    The workers of a build that has drained, and to which no open saga is pinned, may be stopped.
    """
    found = await (await _versions_of(context, service)).listed()
    if as_json:
        print_json([{**asdict(each), "may_be_stopped": each.may_be_stopped} for each in found])
        return
    columns = ("deployment", "build", "status", "open sagas", "workers")
    rows = [(v.deployment, v.build_id, v.status, v.open_sagas, "may be stopped" if v.may_be_stopped else "") for v in found]
    print_table(f"{len(rows)} versions", columns, rows)


@runs
async def make_current(
    context: typer.Context,
    build_id: Annotated[str, typer.Argument(metavar="BUILD", help="The build, as its workers have it in SAGAKIT_BUILD_ID.")],
    service: Only = None,
) -> None:
    """Let the sagas that begin from here on run on a build. Those that are open stay on theirs."""
    found = await _versions_of(context, service)
    changed = await found.make_current(build_id)
    for deployment in changed:
        stdout.print(f"{deployment}: build {build_id} is current", markup=False)
    if not changed:
        stdout.print(f"build {build_id} is current already", markup=False)


async def _versions_of(context: typer.Context, only: list[str] | None) -> Versions:
    session = session_of(context)
    known = session.services
    services = [known.service(name) for name in only] if only else [s for s in known.services if s.aggregates or s.sagas]
    client = await connect_by(session.settings, require(session.settings).address)
    return Versions(client, [deployment_of(session.settings, service.name) for service in services])
