"""What a command works with: the list of services, the settings, telemetry, an open system."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from opentelemetry import metrics, trace
from temporalio.contrib.opentelemetry import create_tracer_provider

from sagakit.errors import InvalidInput
from sagakit.service import ForeignService, Service, ServiceMap
from sagakit.settings import Settings, load_settings
from sagakit.system import System
from sagakit.telemetry import meter_provider, resource_of, span_processors
from sagakit.temporal.executions import Executions
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by


@dataclass
class Session:
    """Made by the main command's options, and handed to each sub-command."""

    services: ServiceMap
    settings: Settings


def load_services(app: str) -> tuple[Service | ForeignService, ...]:
    """Import a user's list: ``mydomain.services`` (its SERVICES) or ``mydomain.services:NAME``. Given by the operator only."""
    found, name = load_list("--app", app, "SERVICES")
    if not all(isinstance(service, Service | ForeignService) for service in found):
        raise InvalidInput(f"--app {app}: {name} is no list of services")
    return tuple(found)


def load_list(option: str, place: str, default: str) -> tuple[Sequence[Any], str]:
    """Import ``module`` or ``module:NAME`` that an option names; return the list there, and its name."""
    module_name, _, name = place.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise InvalidInput(f"{option} {place!r} names no module: expected one like mydomain.services, or module:NAME")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{option} {place}: there is no module {error.name!r} here or installed") from error
    except Exception as error:
        raise InvalidInput(f"{option} {place}: {module_name} cannot be loaded, {type(error).__name__}: {error}") from error
    found = getattr(module, name or default, None)
    if not isinstance(found, Sequence):
        raise InvalidInput(f"{option} {place}: {module_name} holds no list called {name or default}")
    return found, name or default


def make_session(services: Sequence[Service | ForeignService], data: Path | None) -> Session:
    """Check the list of services and the settings."""
    return Session(ServiceMap(services), load_settings(data=data))


def session_of(context: typer.Context) -> Session:
    """Return what the main command prepared."""
    found = context.find_object(Session)
    if found is None:
        raise InvalidInput("no list of services: say --app mydomain.services")
    return found


@asynccontextmanager
async def traced(session: Session, process: str) -> AsyncIterator[None]:
    """Write this process's spans into the data folder, and to the collector when one is set.

    Comes before `connect`, which sets a provider that records nothing where it finds none, and a second one is ignored.
    """
    provider = create_tracer_provider(resource=resource_of(process))
    data = session.settings.data
    try:
        processors = span_processors(process, data / "spans", session.settings.otlp_endpoint)
    except OSError as error:
        raise InvalidInput(f"the data folder {data} cannot be used: {error.strerror}. Correct --data or SAGAKIT_DATA") from None
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    if trace.get_tracer_provider() is not provider:
        raise RuntimeError("the tracer provider of this process is set already; enter traced() before connect()")
    try:
        with metered(session, process):
            yield
    finally:
        provider.force_flush(3000)
        provider.shutdown()


@contextmanager
def metered(session: Session, process: str) -> Iterator[None]:
    """Send this process's metrics to the collector, when one is set: once a minute, and at the end."""
    meters = meter_provider(resource_of(process)) if session.settings.otlp_endpoint else None
    if meters is not None:
        metrics.set_meter_provider(meters)
    try:
        yield
    finally:
        if meters is not None:
            meters.shutdown(3000)


@asynccontextmanager
async def open_system(session: Session) -> AsyncIterator[System]:
    """Open a system whose databases are opened on use."""
    async with System(session.settings, session.services) as system:
        yield system


async def executions_of(context: typer.Context) -> Executions:
    """Reach the sagas of the Temporal server that runs."""
    settings = session_of(context).settings
    return Executions(await connect_by(settings, require(settings).address))
