"""The sandbox that sagas run in: the SDK's, asked for nothing that nobody uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from temporalio.converter import DataConverter, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from sagakit.saga import Saga

PASSED_THROUGH = ("sagakit", "aggregates", "opentelemetry", "pydantic", "uuid_utils")


def workflow_runner(converter: DataConverter, sagas: Iterable[type[Saga]]) -> SandboxedWorkflowRunner:
    """Make the sandbox of some sagas: pure modules are passed through, since loading them per instance costs milliseconds."""
    of_events = {event.__module__.partition(".")[0] for saga in sagas for event in (saga.starts_on, *saga.expects)}
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH, *of_events)
    if converter.payload_codec is None and converter.external_storage is None:
        return _ContextlessRunner(restrictions=restrictions)
    return SandboxedWorkflowRunner(restrictions=restrictions)


@dataclass(frozen=True)
class _ContextlessRunner(SandboxedWorkflowRunner):
    """Tells of no payload what it belongs to: only a codec or a storage would want to know.

    The SDK asks several times per payload, each time by code run in the sandbox: a tenth of a busy worker's time.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _Contextless(super().create_instance(det))


class _Contextless(WorkflowInstance):
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
