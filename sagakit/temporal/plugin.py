"""What every Temporal client and worker of sagakit shares: JSON by pydantic, trace context, and where a command is served."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.types import Attributes
from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, ReplaySafeTracerProvider, create_tracer_provider
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from sagakit.asking import sendings_of
from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.links import Links
from sagakit.saga import Saga
from sagakit.settings import Settings
from sagakit.step_details import details
from sagakit.temporal.payloads import data_converter


async def connect_by(settings: Settings, address: str) -> Client:
    """Connect to a server as the settings say. Raises as `connect` does."""
    keys = settings.codec_keys
    return await connect(address, settings.temporal_namespace, keys.get_secret_value() if keys else None)


async def connect(address: str, namespace: str, codec_keys: str | None = None) -> Client:
    """Connect to a server; with keys, all that it is given to keep is encrypted (see `sagakit.temporal.encryption`).

    Raises `TemporalUnavailable`, naming the address or the namespace, and `WrongSettings` for keys that are none.
    """
    converter = data_converter(codec_keys, namespace)
    require_replay_safe_tracing()
    try:
        client = await Client.connect(
            address,
            namespace=namespace,
            data_converter=converter,
            plugins=[OpenTelemetryPlugin()],
            grpc_compression=GrpcCompression.NONE if address.startswith("127.") else GrpcCompression.GZIP,
        )
    except RuntimeError as error:
        raise TemporalUnavailable(f"no Temporal server answers at {address}. Start it, or correct TEMPORAL_ADDRESS") from error
    try:
        request = DescribeNamespaceRequest(namespace=namespace)
        await client.workflow_service.describe_namespace(request, timeout=timedelta(seconds=10))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise TemporalUnavailable(
                f"the Temporal server at {address} has no namespace {namespace!r}. Create it there, or correct TEMPORAL_NAMESPACE"
            ) from error
        if error.status is not RPCStatusCode.PERMISSION_DENIED:  # who may use a namespace need not be let to describe it
            raise TemporalUnavailable(f"the Temporal server at {address} does not answer: {error.message}") from error
    return client


class Queues(Protocol):
    """Knows on which task queue a command is served."""

    def queue_of(self, command: str) -> str | None:
        """Name the queue; None for a command that nobody handles."""


@runtime_checkable
class SagaQueues(Protocol):
    """Knows on which task queue a saga is run."""

    def queue_of_saga(self, workflow_type: str) -> str | None:
        """Name the queue; None for a saga that nobody runs."""


@runtime_checkable
class Places(Protocol):
    """Knows which stream a command goes to."""

    def place_of(self, command: str, aggregate_id: str) -> tuple[str, str] | None:
        """Name the service and the stream; None for a command that nobody handles."""


class CommandRouting(Interceptor):
    """Sends each command's activity to the task queue of the service that handles it, so that no saga names a queue.

    It also answers who looks at a saga in Temporal's UI: the details are written for that query, and at no other time.
    """

    def __init__(self, services: Queues, links: Links | None = None) -> None:
        """Take the list of services, and what the details link to."""
        self._services, self._links = services, links or Links()

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002, ARG002 the SDK's signature
        """Make the class that the SDK instantiates per workflow."""
        services, links = self._services, self._links

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002 the SDK's signature
                if input.task_queue is None and (queue := services.queue_of(input.activity)):
                    input.task_queue = queue
                return self.next.start_activity(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 the SDK's signature
                if isinstance(saga := workflow.instance(), Saga):
                    sent = sendings_of(saga.asks)  # by activities on the saga's own queue
                    saga.course.serves = lambda command: command in sent or services.queue_of(command) is not None
                    saga.course.fast.allow(services.queue_of)
                    saga.course.table.trace_id = _trace_id()
                    if isinstance(services, SagaQueues):
                        saga.course.queue_of_saga = services.queue_of_saga
                return await self.next.execute_workflow(input)

            async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002 the SDK's signature
                answer = await self.next.handle_query(input)
                if isinstance(answer, WorkflowMetadata) and isinstance(saga := workflow.instance(), Saga):
                    place_of = services.place_of if isinstance(services, Places) else _nowhere
                    answer.current_details = details(saga.course.table, links, place_of)
                return answer

        return Inbound


def _trace_id() -> str:
    """Name the trace that a saga is part of; empty for one that nobody records."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid and context.trace_flags.sampled else ""


def _nowhere(_command: str, _aggregate_id: str) -> None:
    return None


def require_replay_safe_tracing() -> None:
    """Set a provider that records nothing where none is set; refuse one that would double spans at every replay."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(create_tracer_provider(sampler=ALWAYS_OFF))
    provider = trace.get_tracer_provider()
    if not isinstance(provider, ReplaySafeTracerProvider):
        raise InvalidInput(
            "the tracer provider of this process is not safe under replay: make it with "
            "temporalio.contrib.opentelemetry.create_tracer_provider"
        )
    if provider not in _prepared:
        _prepared.add(provider)
        _make_tracers_once(provider)


_prepared: WeakSet[ReplaySafeTracerProvider] = WeakSet()


def _make_tracers_once(provider: ReplaySafeTracerProvider) -> None:
    """Keep tracers: a saga and the SDK ask for one some seven times, each made anew: a tenth of what a saga's tasks cost."""
    make = provider.get_tracer
    known = lru_cache(make)

    def get_tracer(
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> trace.Tracer:
        who = instrumenting_module_name, instrumenting_library_version, schema_url
        return make(*who, attributes) if attributes else known(*who)

    provider.get_tracer = get_tracer  # type: ignore[method-assign]
