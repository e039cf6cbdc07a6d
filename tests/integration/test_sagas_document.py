"""The saga of docs/sagas.md, and its test, as a reader would run them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sagas.md"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page as a module: a worker's sandbox loads workflows by their module's name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "trip_of_the_page.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("trip_of_the_page")
    del sys.modules["trip_of_the_page"]


async def test_the_tests_of_the_page_pass(page: ModuleType, temporal_binary: Path) -> None:
    assert temporal_binary
    await page.test_whatever_fails_a_trip_ends_right()
    await page.test_a_badge_is_kept_for_a_year()
