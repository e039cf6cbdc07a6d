"""Opens our side: the public way in, with the settings that a row asks for. The one place that names those settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.domain import SERVICE, SERVICES
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
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
    """Open the service ``bench`` on a database, 'sqlite' or a URL with {service}."""
    settings = load_settings(
        data=data, database=database, group_commit=group_commit, hash_chain=hash_chain, image_aggregates=image_aggregates
    )
    async with System(settings, services) as system:
        yield await system.open(SERVICE)
