"""`sagas check`: what the source of the sagas proves before they run."""

from __future__ import annotations

from dataclasses import asdict

import typer

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, runs, stdout
from sagakit.cli.session import session_of
from sagakit.errors import InvalidInput
from sagakit.saga_source import check_source


@runs
async def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Say for each saga *proven*, *not proven* and why, or *wrong*; exit code 1 when one is wrong."""
    services = session_of(context).services
    sagas = [saga for service in services.services for saga in service.sagas]
    if not sagas:
        raise InvalidInput("there is no saga in this list of services")
    reports = [check_source(saga, lambda command: services.queue_of(command) is not None) for saga in sagas]
    if as_json:
        print_json([{**asdict(report), "verdict": report.verdict} for report in reports])
    else:
        for report in reports:
            stdout.print(f"{report.saga}: {report.verdict}", markup=False, soft_wrap=True)
            for finding in report.findings:
                said = f"  {report.file}:{finding.line}: {'wrong: ' if finding.is_wrong else ''}{finding.what}"
                stdout.print(said, markup=False, soft_wrap=True)
    if any(report.verdict == "wrong" for report in reports):
        raise typer.Exit(1)
