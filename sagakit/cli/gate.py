"""`sagas gate`: whether this code would break a saga that is on its way."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stderr
from sagakit.cli.session import session_of
from sagakit.temporal.gate import Gate
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by


@runs
async def gate(
    context: typer.Context,
    closed: Annotated[int, typer.Option(min=0, help="How many sagas that have ended to replay as well, the newest ones.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Replay today's code over the open sagas of the server, and some that have ended; exit code 1 when one would break.

    An open saga that is pinned to another build than SAGAKIT_BUILD_ID never meets this code, and breaks nothing.
    """
    session = session_of(context)
    client = await connect_by(session.settings, require(session.settings).address)
    replayed = [
        found
        async for found in Gate(session.services, client.data_converter, session.settings.build_id).replay_all(client, closed)
    ]
    wrong = [found for found in replayed if found.why and not found.pinned_to]
    if as_json:
        print_json([{**asdict(found), "verdict": found.verdict} for found in replayed])
    elif wrong:
        print_table("sagas that would go wrong", ("saga", "verdict", "why"), [(f.workflow_id, f.verdict, f.why) for f in wrong])
    open_ones = sum(found.is_open for found in replayed)
    pinned = sum(bool(found.pinned_to) for found in replayed)
    of_others = f", {pinned} pinned to other builds" if pinned else ""
    stderr.print(f"{len(replayed)} sagas replayed, {open_ones} of them open{of_others}: {len(wrong)} would go wrong.")
    if wrong:
        raise typer.Exit(1)
