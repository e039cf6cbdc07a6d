"""The sandboxes of sagas: cheap to make, and as separate as the SDK makes them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from temporalio import workflow

from benchmarks.sagas.sandboxes import details_of
from sagakit import Event
from sagakit.temporal.payloads import converter
from sagakit.temporal.sandbox import workflow_runner

MODULE = """
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.saga import Saga
    from tests.unit.test_sandbox import Asked

STATE = []


@workflow.defn
class Separate(Saga, starts_on=Asked, key="key"):
    @workflow.run
    async def run(self, asked: Asked) -> None:
        STATE.append(asked.key)

    @workflow.signal
    def told(self) -> None: ...

    @workflow.update
    async def changed(self) -> None: ...

    @workflow.query
    def looked_at(self) -> str:
        return ""

    async def compensated(self, reason: str) -> None: ...
"""


class Asked(Event, name="sandbox.asked", version=1):
    key: str


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "separate_saga.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "separate_saga", raising=False)
    return importlib.import_module("separate_saga")


def _module_in(instance: Any) -> ModuleType:
    """Find the module as a sandbox has it."""
    inner = getattr(instance, "_inner", instance)
    found: ModuleType = inner.importer.new_modules["separate_saga"]
    return found


async def test_each_saga_has_the_state_of_its_module_for_itself(module: ModuleType) -> None:
    runner, details = workflow_runner(converter, [module.Separate]), details_of(module.Separate)
    one, other = (_module_in(runner.create_instance(details)) for _ in range(2))
    one.STATE.append("mine")
    assert other.STATE == module.STATE == []
    assert one.Separate is not other.Separate


async def test_a_worker_runs_the_code_that_was_there_when_it_started(module: ModuleType) -> None:
    runner, details = workflow_runner(converter, [module.Separate]), details_of(module.Separate)
    runner.prepare_workflow(details.defn)
    assert module.__file__ is not None
    Path(module.__file__).write_text("this is no Python")
    assert _module_in(runner.create_instance(details)).STATE == []
    with pytest.raises(SyntaxError):
        workflow_runner(converter, [module.Separate]).create_instance(details)


async def test_in_its_sandbox_a_saga_has_the_handlers_that_it_has_outside(module: ModuleType) -> None:
    instance = workflow_runner(converter, [module.Separate]).create_instance(details_of(module.Separate))
    outside, inside = (workflow._Definition.must_from_class(of.Separate) for of in (module, _module_in(instance)))
    for kind in ("signals", "queries", "updates"):
        assert getattr(inside, kind).keys() == getattr(outside, kind).keys()
    assert {"told", "sagakit_event"} <= inside.signals.keys()
    assert {"changed", "decide_parked_step"} <= inside.updates.keys()
    assert {"looked_at", "steps"} <= inside.queries.keys()
