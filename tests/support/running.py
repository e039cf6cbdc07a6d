"""Runs a list of services: with a client all of it, else relays, consumers and projections, which need no Temporal."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from sqlmodel import select
from temporalio.client import Client

from sagakit import ForeignService, Service
from sagakit.messages import RecordedEvent
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.sql.tables import ParkedRow, RefusedRow
from sagakit.system import System

NO_CLIENT = cast("Client", None)


@asynccontextmanager
async def running(
    services: Sequence[Service | ForeignService],
    folder: Path,
    postgres_url: str | None = None,
    client: Client = NO_CLIENT,
    **settings: Any,
) -> AsyncIterator[System]:
    """Run a system on SQLite, or on databases of its own on PostgreSQL; the bus is in process unless it is set."""
    database = "sqlite" if postgres_url is None else f"{postgres_url}/r{uuid.uuid4().hex[:8]}_{{service}}"
    roles = ["relay", "consumers", "projections"] if client is NO_CLIENT else []
    async with System(load_settings(data=folder, database=database, **settings), ServiceMap(services)) as system:
        runtime = Runtime(system, client, roles=roles)
        await runtime.start()
        try:
            yield system
        finally:
            await runtime.drain()


async def parked(system: System, service: str) -> list[ParkedRow]:
    async with (await system.open(service)).tables.transaction() as session:
        return list((await session.exec(select(ParkedRow).order_by(ParkedRow.parked_at))).all())


async def refused(system: System, service: str) -> list[RefusedRow]:
    async with (await system.open(service)).tables.transaction() as session:
        return list((await session.exec(select(RefusedRow))).all())


async def log(system: System, service: str, stream: str) -> list[RecordedEvent]:
    return await (await system.open(service)).store.load(stream)
