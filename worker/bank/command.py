"""`demo bank`: transfers between two services while everything is killed, and a judge who counts the money."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from sagakit.cli.output import printable, runs, stderr
from sagakit.cli.session import session_of
from sagakit.cli.start import only_process
from sagakit.errors import InvalidInput
from sagakit.runtime import stop_on_signals
from sagakit.service import ServiceMap
from sagakit.settings import Settings
from sagakit.system import System
from sagakit.temporal.plugin import connect_by
from worker.bank.course import Course
from worker.bank.crew import Crew, Torment
from worker.bank.plan import Plan, make_plan
from worker.bank.run import BankRun
from worker.bank.verdict import show, sum_up
from worker.services import BANK
from worker.summary import refuse_unwritable, write_summary

_SEEDS = 10**6
_EVERY = (5.0, 30.0)


@runs
async def bank(
    context: typer.Context,
    accounts: Annotated[int, typer.Option(min=2, max=100_000, help="Accounts and wallets, half of each.")] = 100,
    transfers: Annotated[int, typer.Option(min=1, max=1_000_000, help="Transfers between them.")] = 1000,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill -9 worker, relay and Temporal server again and again.")] = False,
    kills_every: Annotated[
        tuple[float, float], typer.Option(metavar="LEAST MOST", help="Seconds between two kills, drawn between these.")
    ] = _EVERY,
    kills: Annotated[int | None, typer.Option(min=1, help="Kill so often at most; to the end when left out.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the plan and the kills; a new one when left out.")] = None,
    summary_file: Annotated[Path | None, typer.Option(help="Write the figures as JSON into this file.")] = None,
) -> None:
    """Move money between accounts and wallets, kill what moves it, and count the money at hundreds of consistent cuts.

    The exit code is 0 only when every transfer was completed, compensated or parked for a person, and no penny was made or lost.
    """
    least, most = kills_every
    if not 0 < least <= most < float("inf"):
        raise InvalidInput(f"--kills-every {least:g} {most:g}: expected two numbers of seconds above 0, the smaller one first")
    if not chaos and (kills is not None or kills_every != _EVERY):
        raise InvalidInput("--kills and --kills-every say how --chaos goes: add --chaos, or leave them out")
    if summary_file is not None:
        refuse_unwritable(summary_file)
    settings, stop = session_of(context).settings, stop_on_signals()
    chosen = random.SystemRandom().randrange(_SEEDS) if seed is None else seed
    run = f"run{uuid.uuid4().hex[:6]}"
    stderr.print(f"seed {chosen}; {run} in {settings.data}", soft_wrap=True)
    plan, began = make_plan(run, accounts, transfers, _seeded(chosen)), time.monotonic()
    with only_process(settings):
        pass  # its processes take the lock one after the other; another system's is found here
    torment = Torment(kills_every, kills, _seeded(chosen)) if chaos else None
    summary, faults = await _run(settings, plan, run, torment, stop, began)
    show(summary, faults)
    if summary_file is not None:
        write_summary(summary_file, summary)
    if not all(summary["invariants"].values()):
        raise typer.Exit(1)


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 a plan that can be repeated, no secret


async def _run(
    settings: Settings, plan: Plan, run: str, torment: Torment | None, stop: asyncio.Event, began: float
) -> tuple[dict[str, Any], list[str]]:
    chance = Random()  # noqa: S311 where the logs are cut, no secret
    columns = TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    async with System(settings, ServiceMap(BANK)) as system:
        for name in system.services.with_a_log():
            await system.open(name)
        async with Crew.at_work(settings) as crew:
            if crew.location.ui:
                stderr.print(f"Temporal {crew.location.address}, its UI {crew.location.ui}", soft_wrap=True)
            client = await connect_by(settings, crew.location.address)
            course = await Course.of(run, system, chance)
            with Progress(*columns, console=stderr) as bar:
                tasks = {name: bar.add_task(name, total=None) for name in ("accounts", "requests", "outcomes")}

                def progress(name: str, done: int, total: int) -> None:
                    bar.update(tasks[name], completed=done, total=total)

                running = BankRun(plan, system, crew, client, course, stop, progress, _say)
                await running.to_its_end(torment)
                parked = frozenset(running.parked)
                _tell(parked)
                await running.decide_parked()
            await course.look()
            return sum_up(course, crew, len(plan.transfers), parked, time.monotonic() - began, chance)


def _tell(parked: frozenset[str]) -> None:
    for transfer in sorted(parked)[:3]:
        _say(f"parked: transfer {transfer}: its refund is refused; an operator opens the account again and retries")


def _say(text: str) -> None:
    stderr.print(Text(printable(text)), soft_wrap=True)
