"""The sandbox that sagas run in: the SDK's, asked for nothing that nobody uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.converter import DataConverter, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from sagakit.saga import Saga
from sagakit.temporal.compiled import CompiledModules

PASSED_THROUGH = ("sagakit", "aggregates", "opentelemetry", "pydantic", "uuid_utils")


def workflow_runner(converter: DataConverter, sagas: Iterable[type[Saga]]) -> SandboxedWorkflowRunner:
    """Make the sandbox of some sagas: pure modules are passed through, since loading them per instance costs milliseconds."""
    of_events = {event.__module__ for saga in sagas for event in (saga.starts_on, *saga.expects, *saga.asks)}
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH, *of_events)
    is_asked = converter.payload_codec is not None or converter.external_storage is not None
    return _Runner(restrictions=restrictions, is_asked_for_contexts=is_asked)


@dataclass(frozen=True)
class _Runner(SandboxedWorkflowRunner):
    """Makes each saga a sandbox of its own, from modules that are compiled once (ADR 29)."""

    is_asked_for_contexts: bool = True
    compiled: CompiledModules = field(default_factory=CompiledModules)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        with self.compiled.used():
            instance = super().create_instance(det)
        return instance if self.is_asked_for_contexts else _Contextless(instance)


class _Contextless(WorkflowInstance):
    """Tells of no payload what it belongs to: only a codec or a storage would want to know.

    The SDK asks several times per payload, each time by code run in the sandbox: a tenth of a busy worker's time.
    """

    def __init__(self, inner: WorkflowInstance) -> None:
        self._inner = inner

    def activate(self, act: Any) -> Any:
        return self._inner.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:  # noqa: ARG002 the SDK's signature
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:  # noqa: ARG002 the SDK's signature
        return StorageDriverStoreContext()

    def get_info(self) -> Info:
        return self._inner.get_info()

    def get_thread_id(self) -> int | None:
        return self._inner.get_thread_id()
