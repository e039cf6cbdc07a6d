"""Opens our side: the public way in, with the settings that a row asks for. The one place that names those settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.domain import SERVICE, SERVICES
from benchmarks.measure import NotAvailable
from sagakit.service import ServiceMap
from sagakit.settings import Settings, load_settings
from sagakit.system import OpenService, System


@asynccontextmanager
async def opened(
    database: str,
    data: Path,
    *,
    group_commit: bool = False,
    hash_chain: bool = False,
    image_aggregates: int = 0,
    services: ServiceMap = SERVICES,
) -> AsyncIterator[OpenService]:
    """Open the service ``bench`` on a database, 'sqlite' or a URL with {service}. Raises `NotAvailable`."""
    wanted = {"group_commit": group_commit, "hash_chain": hash_chain, "image_aggregates": image_aggregates}
    missing = [name for name, value in wanted.items() if value and name not in Settings.model_fields]
    if missing:
        raise NotAvailable(f"setting {', '.join(missing)}")
    known = {name: value for name, value in wanted.items() if name in Settings.model_fields}
    async with System(load_settings(data=data, database=database, **known), services) as system:
        yield await system.open(SERVICE)
