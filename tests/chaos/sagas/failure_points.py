"""Every saga of the product, every failure point of it, everything that can go wrong there: with real services, and a real kill -9.

The sagas are those of the lists in `worker.services`, and each has to be in the list of rehearsals of the same name. Many run
at once, each harmed at a point of its own; a kill takes all of them that have come to theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import worker.rehearsals
import worker.services
from sagakit.service import Service
from sagakit.temporal import dev_server
from sagakit.temporal.virtual_time import SKIPS_TIME
from sagakit.testing import Rehearsal
from tests.chaos.sagas import books, points
from tests.chaos.sagas.ground import Ground
from tests.chaos.sagas.judge import Evidence, Verdict, judged
from tests.chaos.sagas.row import Options, Row, Say
from tests.chaos.sagas.run import HARMS, KILL, Run
from tests.support import servers

_TIMES = 5
_TOLD = 10
Advance = Callable[[int, int], None]


async def rows(options: Options, say: Say) -> list[Row]:
    """Harm everything, on PostgreSQL and RabbitMQ; a row for each saga and each thing that went wrong."""
    found: list[Row] = []
    columns = TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(servers.postgres())
        rabbitmq = stack.enter_context(servers.rabbitmq())
        address = await stack.enter_async_context(temporal_that_skips_time(options.folder / "temporal"))
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        for name, rehearsals in product().items():
            task = bar.add_task(name, total=None)
            settings = {
                "database": f"{postgres}/points_{name.lower()}_{{service}}", "bus": rabbitmq, "temporal_address": address,
            }  # fmt: skip

            def advance(done: int, of: int, task: Any = task) -> None:
                bar.update(task, completed=done, total=of)

            result = await harmed(
                name, rehearsals, options.folder / name, settings, times=1 if options.is_quick else _TIMES, advance=advance
            )
            say(result.summary())
            for fault in result.faults[:_TOLD]:
                say(f"FAULT {fault}")
            found += result.rows()
    return found


def product() -> dict[str, tuple[Rehearsal, ...]]:
    """Every list of services with what its sagas are rehearsed with. Raises `AssertionError` for a saga that is not rehearsed."""
    lists = {
        name: listed
        for name, listed in vars(worker.services).items()
        if isinstance(listed, tuple) and any(isinstance(each, Service) and each.sagas for each in listed)
    }
    found = {}
    for name, listed in lists.items():
        rehearsals: tuple[Rehearsal, ...] = getattr(worker.rehearsals, "REHEARSALS" if name == "SERVICES" else name, ())
        # One that is there for the sake of a single fault is no way on which all goes well.
        rehearsals = tuple(each for each in rehearsals if not getattr(each, "only", None))
        rehearsals += (worker.rehearsals.LONG_ORDER_TOLD,) if name == "SERVICES" else ()
        missing = {saga for service in listed for saga in getattr(service, "sagas", ())} - {each.saga for each in rehearsals}
        assert not missing, f"{missing} of {name} is in no list of rehearsals of that name"
        found[name] = rehearsals
    return found


@asynccontextmanager
async def temporal_that_skips_time(folder: Path) -> AsyncIterator[str]:
    """A dev server with a database file, on which the time of one saga can be let pass."""
    server = await dev_server.start(await dev_server.find_binary(None, print), folder, 0, 0, SKIPS_TIME)
    try:
        yield server.address
    finally:
        server.stop()


@dataclass
class Result:
    """What became of all the runs of one list of services."""

    services: str
    runs: list[Run]
    verdicts: list[Verdict]
    kills: int
    late: Counter[str]
    found: list[points.Points]
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong, in words."""
        found = [
            f"{v.run.workflow_id}, {v.run.harm} at {v.run.point}: {what}"
            for v in self.verdicts
            for what in (*v.double_effects, *v.breaks)
        ]
        found += [f"{run.workflow_id}, {run.harm} at {run.point}: stuck, {run.status}" for run in self.runs if not run.has_ended]
        return found + self.wrong

    def summary(self) -> str:
        """Say what was walked."""
        harms = Counter(run.harm for run in self.runs)
        return (
            f"{self.services}: {len(self.runs)} sagas harmed at {sum(each.count for each in self.found)} points, each in each way ({_listed(harms)}), "
            f"the worker killed {self.kills} times; late calls came to: {_listed(self.late)}"
        )

    def rows(self) -> list[Row]:
        """A row for each saga and each harm; what is wrong with the services as a whole is in the first."""
        found = []
        for saga in dict.fromkeys(run.saga_name for run in self.runs):
            for harm in HARMS:
                mine = [v for v in self.verdicts if (v.run.saga_name, v.run.harm) == (saga, harm)]
                if mine:
                    found.append(_row(f"{saga}, {harm}", mine, len(self.wrong) if not found else 0))
        return found


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _row(scenario: str, verdicts: Sequence[Verdict], wrong: int) -> Row:
    runs = [verdict.run for verdict in verdicts]
    ends = Counter("stuck" if not run.has_ended else "parked" if run.was_parked else run.status for run in runs)
    return Row(
        scenario,
        len(runs),
        ends["completed"],
        ends["compensated"],
        ends["parked"],
        ends["stuck"],
        sum(bool(verdict.double_effects) for verdict in verdicts),
        sum(bool(verdict.breaks) for verdict in verdicts) + wrong,
    )


async def harmed(
    services: str,
    rehearsals: tuple[Rehearsal, ...],
    folder: Path,
    settings: dict[str, Any],
    *,
    times: int = 1,
    wanted: Callable[[Run], bool] = lambda _: True,
    advance: Advance = lambda _, __: None,
    known: list[points.Points] | None = None,
    is_unfenced: bool = False,
) -> Result:
    """Find the failure points of a list of services, harm sagas at each of those wanted, and judge them from outside.

    ``known`` are points that were found before.
    """
    settings = {"data": folder, "worker_concurrency": 500, "lease_seconds": 1.0, "poll_seconds": 0.1, **settings}
    async with Ground.of(services, folder, settings, is_unfenced=is_unfenced) as ground:
        found = known or await points.found(ground, rehearsals)
        runs = [run for each in found for _ in range(times) for run in points.runs_at(each) if wanted(run)]
        # What hangs in a worker would be killed with it: so the kills come by themselves.
        killed = [run for run in runs if run.harm == KILL]
        before = 0
        for together in ([run for run in runs if run.harm != KILL], killed):
            if not together:
                continue
            await ground.start_worker(together)
            await ground.given(together)
            for run in together:
                await ground.begin(run)
            await ground.to_their_ends(together, lambda done, before=before: advance(before + done, len(runs)))  # type: ignore[misc]
            before += len(together)
        wrong = _never_reached(runs, ground) + await books.broken(services, ground.system)
        await ground.stop_worker()
        evidence = await Evidence.of(ground.system)
        lines = ground.journal.read()
    reached = {run.key: {line["key"]: line["name"] for line in lines if _is_step_of(line, run.key)} for run in runs}
    late = Counter(line["came_to"] for line in lines if line["what"] == "arrived late")
    wrong += [f"{evidence.parked_events} events are parked"] if evidence.parked_events else []
    wrong += [f"the worker ended {ground.ended_alone} times by itself"] if ground.ended_alone else []
    return Result(services, runs, judged(runs, evidence, reached), ground.kills, late, found, wrong)


def _is_step_of(line: dict[str, Any], key: str) -> bool:
    return line["what"] == "reached" and not line["is_undo"] and key in line["key"]


def _never_reached(runs: Iterable[Run], ground: Ground) -> list[str]:
    """Name the harm that was never done: a saga that did not come to its point shows nothing."""
    lines = [line for line in ground.journal.read() if line["what"] == "harmed"]
    done = {(line["key"], line["is_undo"]) for line in lines}
    return [
        f"{run.workflow_id} never came to {run.point}, where {run.harm} was to be done"
        for run in runs
        if any((plan.key, plan.is_undo) not in done for plan in run.needed) or (run.wait is not None and not run.was_harmed)
    ]
