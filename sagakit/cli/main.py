"""The console script: every command that knows no business noun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sagakit.cli import (
    codec,
    contracts,
    doctor,
    messages,
    parked,
    projections,
    query,
    reconcile,
    sagas,
    show,
    slices,
    start,
    subscriptions,
    topology,
    trace,
    verify,
)
from sagakit.cli.commands import CommandLine
from sagakit.cli.output import configure_logging, fail
from sagakit.cli.session import load_services, make_session
from sagakit.errors import SagakitError
from sagakit.service import ForeignService, Service


def build(services: Sequence[Service | ForeignService] | None = None) -> typer.Typer:
    """Make the command line; without a list of services it asks for ``--app``."""
    cli = typer.Typer(
        cls=CommandLine,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Sagas over event-sourced services.",
    )

    @cli.callback()
    def prepare(
        context: typer.Context,
        app: Annotated[
            str | None, typer.Option(help="Your list of services: a module like mydomain.services, or module:NAME.")
        ] = None,
        data: Annotated[Path | None, typer.Option(help="Folder of the embedded databases and span files (SAGAKIT_DATA).")] = None,
        verbose: Annotated[bool, typer.Option(help="Log what goes on, to stderr.")] = False,
    ) -> None:
        """Sagas over event-sourced services."""
        configure_logging(is_verbose=verbose)
        if services is None and app is None:
            return  # the sub-command says what is missing, so that its own --help works without
        try:
            context.obj = make_session(services if app is None else load_services(app), data)  # type: ignore[arg-type]
        except SagakitError as error:
            fail(error)

    cli.command()(start.start)
    cli.command()(messages.send)
    cli.command(cls=query.QueryCommand)(query.query)
    cli.command()(messages.events)
    cli.command()(show.show)
    cli.command()(show.history)
    cli.command()(show.diff)
    cli.add_typer(sagas.app, name="sagas")
    cli.add_typer(projections.app, name="projections")
    cli.add_typer(parked.app, name="parked")
    cli.add_typer(contracts.app, name="contracts")
    cli.add_typer(codec.app, name="codec")
    cli.add_typer(subscriptions.app, name="subscriptions")
    cli.add_typer(topology.app, name="topology")
    cli.command()(verify.verify)
    cli.command()(slices.export)
    cli.command()(slices.replay)
    cli.command()(slices.failures)
    cli.command()(trace.trace)
    cli.command()(reconcile.reconcile)
    cli.command()(doctor.doctor)
    return cli


def run_to_its_end(cli: typer.Typer) -> NoReturn:
    """Run a command line and leave with its exit code, without Python's own way out.

    A thread of Temporal's client may still be about to call Python then, and would end the process with SIGABRT after all
    was done and said. Everything that has an end of its own has had it: each command closes what it opened.
    """
    code: object = 0
    try:
        cli()
    except SystemExit as leaving:
        code = leaving.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Run the console script."""
    run_to_its_end(build())
