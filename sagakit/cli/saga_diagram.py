"""`sagas diagram`: draws sagas from their rehearsals, and keeps the drawings in documents true."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from sagakit.cli.output import runs, stderr, stdout
from sagakit.cli.session import load_list, session_of
from sagakit.errors import InvalidInput
from sagakit.temporal.diagram import drawn, in_document
from sagakit.temporal.rehearsal import Rehearsal
from sagakit.temporal.stage import rehearsing


@runs
async def diagram(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="The saga, like order-fulfilment; all that are rehearsed when left out.")
    ] = None,
    rehearsals: Annotated[
        str, typer.Option(help="What they are rehearsed with: a module with REHEARSALS, or module:NAME.")
    ] = "worker.rehearsals",
    into: Annotated[Path | None, typer.Option(help="A Markdown document whose diagrams to renew.")] = None,
    check: Annotated[bool, typer.Option("--check", help="With --into: change nothing, exit code 1 when one is stale.")] = False,
) -> None:
    """Rehearse a saga through every single failure, and print what was seen as a Mermaid diagram."""
    wanted = _wanted(name, rehearsals)
    text = _read(into)
    logging.getLogger("temporalio.activity").setLevel(logging.CRITICAL)  # each rehearsed fault, with its stack trace
    diagrams: dict[str, str] = {}
    async with rehearsing(session_of(context).services.services) as stage:
        for saga, its_rehearsals in wanted.items():
            with stderr.status(f"rehearsing {saga} through all its failures"):
                diagrams[saga] = await drawn(stage, *its_rehearsals)
    if into is None:
        for drawing in diagrams.values():
            stdout.print(drawing, markup=False, soft_wrap=True, end="")
        return
    renewed = text
    for saga, drawing in diagrams.items():
        renewed = in_document(renewed, saga, drawing)
    if renewed == text:
        stderr.print(f"{into}: {len(diagrams)} diagrams are as the sagas are")
    elif check:
        stderr.print(f"{into}: a diagram is stale; `sagas diagram --into {into}` renews it", soft_wrap=True)
        raise typer.Exit(1)
    else:
        into.write_text(renewed)
        stderr.print(f"{into}: renewed")


def _wanted(name: str | None, place: str) -> dict[str, list[Rehearsal]]:
    """Gather the rehearsals by the names of their sagas and ways: one of these may have several."""
    found, _ = load_list("--rehearsals", place, "REHEARSALS")
    known: dict[str, list[Rehearsal]] = {}
    for one in found:
        if isinstance(one, Rehearsal):
            known.setdefault(one.title, []).append(one)
    if not known:
        raise InvalidInput(f"--rehearsals {place}: it holds no Rehearsal of `sagakit.testing`")
    if name is not None and name not in known:
        raise InvalidInput(f"no saga {name!r} is rehearsed in {place}; known: {', '.join(sorted(known))}")
    return known if name is None else {name: known[name]}


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
