"""What it costs to make the sandbox of one workflow: processor time, without its first task."""

from __future__ import annotations

import time
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1.message_pb2 import Payloads
from temporalio.api.failure.v1.message_pb2 import Failure
from temporalio.worker import WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox._runner import _fake_info

from benchmarks.sagas.bare_booking import BareTrip
from sagakit.temporal.payloads import converter
from sagakit.temporal.sandbox import workflow_runner
from workflows.order_fulfilment import OrderFulfilment


def milliseconds_of_a_sandbox(side: str, count: int) -> dict[str, Any]:
    """Make the sandbox of the example's order so many times, or of the other side's trip; return the time of one."""
    if side == "bare":
        return {"ms": _made(SandboxedWorkflowRunner(), BareTrip, count)}
    return {"ms": _made(workflow_runner(converter, [OrderFulfilment]), OrderFulfilment, count)}


def _made(runner: WorkflowRunner, workflow_class: type, count: int) -> float:
    details = details_of(workflow_class)
    runner.prepare_workflow(details.defn)
    began = time.process_time()
    for _ in range(count):
        runner.create_instance(details)
    return (time.process_time() - began) * 1000 / count


def details_of(workflow_class: type) -> WorkflowInstanceDetails:
    """Say about an instance what a worker would say."""
    return WorkflowInstanceDetails(
        payload_converter_factory=converter._new_payload_converter,  # noqa: SLF001 as the worker makes it
        failure_converter_class=converter.failure_converter_class,
        interceptor_classes=[],
        defn=workflow._Definition.must_from_class(workflow_class),  # noqa: SLF001 the same
        info=_fake_info,
        randomness_seed=1,
        extern_functions={},
        disable_eager_activity_execution=False,
        worker_level_failure_exception_types=[],
        patch_activation_callback=None,
        last_completion_result=Payloads(),
        last_failure=Failure(),
    )
