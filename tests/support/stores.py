"""Opens an event store of either kind, empty, for one test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import OpenService, System
from tests.support.shop import SERVICES


@asynccontextmanager
async def open_counting(
    folder: Path, postgres_url: str | None, services: ServiceMap = SERVICES, **settings: Any
) -> AsyncIterator[OpenService]:
    """Open the first service of a list, by default the counters."""
    database = "sqlite" if postgres_url is None else f"{postgres_url}/t{uuid.uuid4().hex[:8]}_{{service}}"
    async with System(load_settings(data=folder, database=database, **settings), services) as system:
        yield await system.open(services.services[0].name)
