"""`start`: runs services and roles until SIGTERM or ^C, then drains."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import typer

from sagakit import garbage
from sagakit.cli.output import runs, stderr
from sagakit.cli.session import Session, open_system, session_of, traced
from sagakit.errors import InvalidInput
from sagakit.runtime import ROLES, Runtime, stop_on_signals
from sagakit.settings import Settings
from sagakit.system import System
from sagakit.temporal.locate import Location, ensure
from sagakit.temporal.plugin import connect_by


@contextmanager
def only_process(settings: Settings) -> Iterator[None]:
    """Hold the data folder's lock: the in-process bus serves one process. Freed by the system even after a kill -9."""
    if not settings.is_embedded_bus:
        yield
        return
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        lock = (settings.data / "process.lock").open("w")
    except OSError as error:
        raise InvalidInput(f"the data folder {settings.data} cannot be used: {error.strerror}. Correct SAGAKIT_DATA") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInput(
                f"another process runs on the data folder {settings.data}, and the in-process bus serves one only: "
                "end it, choose another --data, or set SAGAKIT_BUS to an AMQP URL"
            ) from None
        yield


@asynccontextmanager
async def running(
    session: Session, names: Iterable[str] = (), roles: Iterable[str] = ()
) -> AsyncIterator[tuple[System, Runtime, Location]]:
    """Run the loops; what was started here, a Temporal dev server included, is ended at the end of the block."""
    with only_process(session.settings):
        location = await ensure(session.settings, stderr.print)
        try:
            client = await connect_by(session.settings, location.address)
            async with open_system(session) as system:
                runtime = Runtime(system, client, names, roles)
                await runtime.start()
                yield system, runtime, location
        finally:
            if location.started is not None:
                location.started.stop()


@runs
async def start(
    context: typer.Context,
    service: Annotated[list[str] | None, typer.Option(help="A service to run; repeat it. All when left out.")] = None,
    role: Annotated[
        list[str] | None, typer.Option(help=f"A role to run: {', '.join(ROLES)}; repeat it. All when left out.")
    ] = None,
) -> None:
    """Run services until SIGTERM or ^C: handle commands, publish events, run sagas, feed read models."""
    session, stop = session_of(context), stop_on_signals()
    async with (
        traced(session, "-".join(service or ["all"])),
        running(session, service or (), role or ()) as (_, runtime, location),
    ):
        where = f"Temporal {location.address}" + (f", its UI {location.ui}" if location.ui else "")
        garbage.settle()
        stderr.print(f"Running {', '.join(service or ['all services'])}. {where}. End with ^C.")
        await runtime.run_until(stop)
    stderr.print("Drained.")
