"""The sagas of docs/sagas.md and docs/tcc.md, and their tests, as a reader would run them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sagakit.saga_source import check_source
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A page as a module: a worker's sandbox loads workflows by their module's name."""
    loaded: list[str] = []

    def load(page: str) -> ModuleType:
        blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
        name = f"{page.removesuffix('.md')}_of_the_docs"
        (tmp_path / f"{name}.py").write_text("\n".join(blocks))
        loaded.append(name)
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield load
    for name in loaded:
        del sys.modules[name]


async def test_the_tests_of_the_page_on_sagas_pass(load: Callable[[str], ModuleType], temporal_binary: Path) -> None:
    assert temporal_binary
    page = load("sagas.md")
    await page.test_whatever_fails_a_trip_ends_right()
    await page.test_a_badge_is_kept_for_a_year()
    page.test_a_morning_in_brussels()


async def test_the_page_on_tcc_does_what_it_says(
    load: Callable[[str], ModuleType], temporal_binary: Path, tmp_path: Path
) -> None:
    assert temporal_binary
    page = load("tcc.md")
    services = ServiceMap(page.SERVICES)
    assert check_source(page.ChipIn, lambda command: services.queue_of(command) is not None).verdict == "proven"
    await page.test_a_gift_is_paid_for_by_both_or_by_nobody()
    async with System(load_settings(data=tmp_path, database="sqlite"), services) as system:
        repository = (await system.open("purses")).repository
        assert await page.what_the_fence_answers(repository) == ["nothing_to_undo", "fenced", "done", "done"]
        purse = await repository.load(page.Purse, "ann")
        assert (purse.pence, purse.frozen, purse.version) == (400, {}, 2)
