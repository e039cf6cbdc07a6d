"""One trace per business conversation: the provider, the local span files, and W3C trace context as stored at append.

Spans: ``<command>`` (internal; its context is stored with the events), ``send <exchange>`` (client, linked to each event),
``process <consumer>`` (consumer, child of and linked to the event's context), ``step <command>`` (in the workflow) and
``project <read model>``. Counters: see `COUNTERS`. Gauge: ``sagakit.log.horizon_age`` (s; ``sagakit.service``), how long the
oldest open writing transaction has held the readers of a log on PostgreSQL back, 0 when there is none.
Source: OpenTelemetry messaging conventions, where a stored creation context is not modified.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from opentelemetry import metrics, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind

from sagakit.span_file import SpanFile
from sagakit.trace_context import remote_span, span_context

COUNTERS = {
    "sagakit.snapshots": "Snapshots of aggregates, by service and result: used, taken, or why one was thrown away",
    "sagakit.sagas.late_events": "Events that came for a saga that had ended, by saga and type",
    "sagakit.reactions": "Commands of reactions, by service, reaction and outcome: done or refused",
    "sagakit.subscriptions.detached": "Times that a consumer was left alone because too much waits for it, by consumer",
    "sagakit.events.unsendable": "Events that no broker takes, by consumer",
    "sagakit.bus.blocked": "Alarms of RabbitMQ (memory or disk) that stopped publishing from a process",
    "sagakit.commands.forgotten": "Outcomes of commands removed after their retention, by service",
    "sagakit.inbox.forgotten": "Inbox rows removed after their retention, by service",
    "sagakit.consumer.repeats": "Deliveries of events that were handled before, by consumer",
    "sagakit.consumer.retries": "Failed attempts after which an event is tried again, by consumer",
    "sagakit.consumer.parked": "Events parked for a person, by consumer and cause: attempts or out_of_order",
    "sagakit.consumer.refused": "Messages that were no events, by consumer",
}
"""Every counter, with what it counts."""

_MAX_LINKS = 128


def span_processors(name: str, folder: Path, otlp_endpoint: str | None) -> list[SpanProcessor]:
    """Make the exporters of this process: always the span file, and OTLP when an endpoint is set."""
    exporters: list[SpanExporter] = [SpanFile(folder / f"{name}-{os.getpid()}.jsonl")]
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 a heavy import

        exporters.append(OTLPSpanExporter())
    return [BatchSpanProcessor(exporter, schedule_delay_millis=500) for exporter in exporters]


def meter_provider(resource: Resource) -> MeterProvider:
    """Make the provider that sends metrics to the collector of OTEL_EXPORTER_OTLP_ENDPOINT, once a minute and at the end."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 a heavy import

    return MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)


def resource_of(name: str) -> Resource:
    """Name this process in its spans."""
    return Resource.create({"service.name": name})


def count(name: str, amount: int = 1, **attributes: str) -> None:
    """Add to one of the `COUNTERS` of the meter provider set for this process."""
    _counter(name).add(amount, attributes)


@cache
def _counter(name: str) -> metrics.Counter:
    return metrics.get_meter("sagakit").create_counter(name, "1", COUNTERS[name])


@cache
def tracer() -> trace.Tracer:
    """Return sagakit's tracer of the provider set for this process."""
    return trace.get_tracer("sagakit")


def is_traced() -> bool:
    """Tell whether a tracer provider is set for this process."""
    # Not `get_tracer_provider`, which looks into the environment at each command; where this is gone, spans of nobody are made.
    return getattr(trace, "_TRACER_PROVIDER", tracer) is not None


def command_span(name: str, stream: str) -> AbstractContextManager[trace.Span]:
    """Run a block in the span of a command."""
    return _within(tracer().start_span(name, attributes={"sagakit.stream": stream}))


def child_span(
    name: str, traceparent: str | None, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str] | None = None
) -> AbstractContextManager[object]:
    """Begin a span, for a block, that continues the stored context, and links to it when it is one message's processing."""
    parent = remote_span(traceparent)
    if not is_traced():
        return _NotKept(parent) if parent else nullcontext()  # the context of others is handed on
    if parent and not parent.is_sampled and _asks_the_parent(trace.get_tracer_provider()):
        return _NotKept(parent)
    context = trace.set_span_in_context(parent) if parent else None
    links = [Link(parent.get_span_context())] if parent and kind is SpanKind.CONSUMER else []
    return _within(tracer().start_span(name, context, kind, attributes, links))


def _within(span: trace.Span) -> AbstractContextManager[trace.Span]:
    return trace.use_span(span, end_on_exit=True) if span.is_recording() else _NotKept(span)


class _NotKept(AbstractContextManager[trace.Span]):
    """A span that only hands its context on: nothing is to be noted in it, not even its end. A third of `use_span`'s time."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> trace.Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, *_: object) -> None:
        detach(self._token)


@cache
def _asks_the_parent(provider: trace.TracerProvider) -> bool:
    """Tell whether no span is kept here of a trace that nobody keeps: so it is with samplers that ask the parent, as a rule."""
    sampler = getattr(provider, "sampler", None)
    return sampler is not None and "remoteParentNotSampled:AlwaysOffSampler" in sampler.get_description()


@contextmanager
def side_by_side(begun: Sequence[AbstractContextManager[object]]) -> Iterator[None]:
    """Run a block within several spans that have begun, none of which is current inside."""
    around = get_current()
    with ExitStack() as stack:
        for span in begun:
            stack.enter_context(span)
        token = attach(around)
        stack.callback(detach, token)
        yield


class HasContext(Protocol):
    """What was stored with its context."""

    @property
    def traceparent(self) -> str | None: ...  # noqa: D102 the class says what it is


@contextmanager
def send_span(exchange: str, sent: Sequence[HasContext]) -> Iterator[None]:
    """Run the publishing of a batch in client spans that link the context of each event.

    A span keeps 128 links and drops the others in silence, so a larger batch has several spans of the same time, side by side.
    """
    parts = [sent[start : start + _MAX_LINKS] for start in range(0, len(sent), _MAX_LINKS)]
    # All are started before one is current, or each would be the child of the one before.
    spans = [_send_part(exchange, part) for part in parts]
    with ExitStack() as stack:
        for span in spans:
            stack.enter_context(_within(span))
        yield


def _send_part(exchange: str, sent: Sequence[HasContext]) -> trace.Span:
    attributes: dict[str, str | int] = {"messaging.operation.type": "send", "messaging.batch.message_count": len(sent)}
    span = tracer().start_span(f"send {exchange}", kind=SpanKind.CLIENT, attributes=attributes)
    if span.is_recording():  # its links are most of its cost, and as a rule few spans are kept
        for message in sent:
            if context := span_context(message.traceparent):
                span.add_link(context)
    return span


class ServiceGauge:
    """A gauge per service, fed by a loop: what OpenTelemetry calls to observe one cannot await a database."""

    def __init__(self, name: str, unit: str, description: str, label: str = "sagakit.service") -> None:
        """Declare it; made once in a process, since a second one of the same name would never be observed."""
        self._latest: dict[str, float] = {}
        self._label = label
        metrics.get_meter("sagakit").create_observable_gauge(name, [self._observe], unit, description)

    def record(self, service: str, value: float) -> None:
        """Keep a service's latest value."""
        self._latest[service] = value

    def forget(self, service: str) -> None:
        """Report nothing rather than something old."""
        self._latest.pop(service, None)

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, {self._label: service}) for service, value in list(self._latest.items())]


@cache
def horizon_age() -> ServiceGauge:
    """Return the gauge of the age of the writing transaction that holds a log's readers back."""
    return ServiceGauge("sagakit.log.horizon_age", "s", "Age of the oldest open writing transaction in the log's cluster")


@cache
def parked_sagas() -> ServiceGauge:
    """Return the gauge of the sagas that wait for a person to decide about a step, by saga."""
    return ServiceGauge("sagakit.sagas.parked", "{saga}", "Sagas that wait now for a person to decide", "sagakit.saga")


@cache
def lost_sagas() -> ServiceGauge:
    """Return the gauge of the sagas that ended without an outcome, and that nobody has begun anew."""
    return ServiceGauge("sagakit.sagas.lost", "{saga}", "Sagas that ended without an outcome: a person has to decide")


RECONCILED = {
    "waiting": "Events that wait for a consumer, in the log or in its queues",
    "late": "Events that wait for a consumer longer than the grace",
    "parked": "Events that wait for a person",
    "lost": "Events that a consumer is owed and that are nowhere",
    "doubled": "Effects beyond one for each event handled",
}
"""The gauges ``sagakit.reconcile.<name>`` by ``sagakit.consumer``, set by each round of `reconcile`."""


def reconciled(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Report the figures of a round, by consumer and name; what is None is not reported."""
    for name in RECONCILED:
        for consumer, values in figures.items():
            if values[name] is None:
                _reconciled(name).forget(consumer)
            else:
                _reconciled(name).record(consumer, values[name])


@cache
def _reconciled(name: str) -> ServiceGauge:
    return ServiceGauge(f"sagakit.reconcile.{name}", "1", RECONCILED[name], "sagakit.consumer")
