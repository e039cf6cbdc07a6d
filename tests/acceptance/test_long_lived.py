"""`start` settles what it has loaded, so that its garbage collector does not look through it again and again."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from tests.acceptance.worker import ROOT, System
from tests.support.processes import end

_TELLS = """
import gc, pathlib
_set = gc.set_threshold
def set_threshold(*numbers):
    _set(*numbers)
    pathlib.Path({path!r}).write_text(f"{{gc.get_freeze_count()}} {{gc.get_threshold()[0]}}")
gc.set_threshold = set_threshold
"""
"""Run by each Python before anything else; a process of ours ends without what others do at an end."""


def test_start_settles_what_it_has_loaded(embedded: System, tmp_path: Path) -> None:
    told = tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(_TELLS.format(path=str(told)))
    system = replace(embedded, settings=embedded.settings | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert end(system.start(), signal.SIGTERM) == 0
    frozen, young = map(int, told.read_text().split())
    assert frozen > 50_000, "the modules of a service are more"
    assert young == 10_000
