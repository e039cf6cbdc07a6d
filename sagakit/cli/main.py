"""The console script: every command that knows no business noun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sagakit.cli import contracts, doctor, messages, query, sagas, show, slices, start, trace, verify
from sagakit.cli.output import configure_logging, fail
from sagakit.cli.session import load_services, make_session
from sagakit.errors import SagakitError
from sagakit.service import Service


def build(services: Sequence[Service] | None = None) -> typer.Typer:
    """Make the command line; without a list of services it asks for ``--app``."""
    cli = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Sagas over event-sourced services."
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
    cli.add_typer(contracts.app, name="contracts")
    cli.command()(verify.verify)
    cli.command()(slices.export)
    cli.command()(slices.replay)
    cli.command()(slices.failures)
    cli.command()(trace.trace)
    cli.command()(doctor.doctor)
    return cli


def main() -> None:
    """Run the console script."""
    build()()
