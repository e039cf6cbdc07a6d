"""A system of one test's own services, in files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sagakit.service import Service, ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System


@pytest.fixture
async def over(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Open a system over services; several in one test do not see each other."""
    async with AsyncExitStack() as stack:
        opened: list[System] = []

        async def make(*services: Service) -> System:
            folder = tmp_path / str(len(opened))
            opened.append(await stack.enter_async_context(System(load_settings(data=folder), ServiceMap(services))))
            return opened[-1]

        yield make
