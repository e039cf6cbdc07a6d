"""`verify`: walks the hash chains of the logs and names the first event that was changed."""

from __future__ import annotations

from typing import Annotated

import typer

from sagakit.chain import check_chains
from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import open_system, session_of


@runs
async def verify(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no stored event was changed or removed (SAGAKIT_HASH_CHAIN); exit code 1 at the first, which is named."""
    session = session_of(context)
    async with open_system(session) as system:
        names = session.services.with_a_log(service)
        results = [await check_chains((await system.open(name)).store) for name in names]
    if as_json:
        print_json([result.as_json() for result in results])
    for result in results if not as_json else []:
        unchained = f", {result.unchained} written without a hash" if result.unchained else ""
        stdout.print(f"{result.service}: {result.chained} events as they were written{unchained}")
        if result.failure:
            stdout.print("this one is not:")
            print_table("changed", tuple(result.failure), [tuple(result.failure.values())])
    if any(result.failure for result in results):
        raise typer.Exit(1)
