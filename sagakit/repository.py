"""Command to event: load, decide, append with the expected version, the idempotency key and the caller's trace context."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import structlog
from opentelemetry.trace import Status, StatusCode, get_tracer_provider

from sagakit.admission import admit, admit_events
from sagakit.aggregate import Aggregate
from sagakit.errors import BackPressure, ConcurrencyError, DomainError, DuplicateCommand, InvalidInput, NotYet
from sagakit.failures import record_failure
from sagakit.image import Live, MemoryImage
from sagakit.messages import Command, Event, Metadata, NewEvent, RecordedEvent, Registry, new_event
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, EventStore, FailureLog
from sagakit.snapshots import Snapshots
from sagakit.telemetry import command_span, is_traced
from sagakit.trace_context import current_traceparent
from sagakit.turns import Turns

_log = structlog.get_logger("sagakit.repository")
_CONFLICT_RETRIES = 30
_LONGEST_NAMES = 4000  # what a message carries in its headers


@dataclass(frozen=True)
class Context:
    """Who sends a command, and what it follows from. ``correlation_id`` empty begins a new conversation.

    ``hops`` is what the command's events will carry: how many reactions and sagas stand before it.
    """

    correlation_id: str = ""
    causation_id: str | None = None
    actor: str | None = None
    key: str | None = None
    hops: int = 0

    def __post_init__(self) -> None:
        """Refuse what no message could carry. Raises `InvalidInput`."""
        if len(self.correlation_id) + len(self.causation_id or "") + len(self.actor or "") + len(self.key or "") > _LONGEST_NAMES:
            raise InvalidInput(f"correlation id, causation id, actor and key of a command are over {_LONGEST_NAMES} characters")


class Repository:
    """Handles the commands of one service's aggregates.

    Delivery: an acknowledged command is durable, and a repeated key returns the first outcome without a second effect (G1).
    """

    def __init__(
        self, store: EventStore, registry: Registry, image: MemoryImage | None = None, failures: FailureLog | None = None
    ) -> None:
        """Take the log and the known messages; ``image`` keeps hot aggregates in memory, and nothing keeps none.

        ``failures`` keeps the commands whose handler raised what nobody expected.
        """
        self.store, self.registry, self.failures = store, registry, failures
        self.image = MemoryImage(0, 0) if image is None else image
        self.snapshots = Snapshots(store, registry)
        self.refusal: BackPressure | None = None
        get_tracer_provider()  # sets the one that the environment names, if it names one
        self._creates: dict[type[Command], bool] = {}
        # One command at a time per stream in this process: racing ourselves would only make conflicts.
        self._turns = Turns()
        self._unfolded: dict[str, tuple[Live, tuple[NewEvent, ...]]] = {}

    async def load(self, aggregate_type: type[Aggregate], aggregate_id: str) -> Aggregate:
        """Fold an aggregate as the log has it now; version 0 when it does not exist yet. Raises `UnreadableEvent`."""
        aggregate = (await self._load(aggregate_type, aggregate_id)).aggregate
        # What a snapshot is being taken of is not handed out.
        return aggregate.model_copy(deep=True) if aggregate_type.snapshot_every else aggregate

    async def settle(self) -> None:
        """Wait for what goes on beside the commands: events that are not yet folded, snapshots that are being taken."""
        for stream in list(self._unfolded):
            self._fold(stream)
        await self.snapshots.settle()

    def fold(self, aggregate_type: type[Aggregate], aggregate_id: str, recorded: list[RecordedEvent]) -> Aggregate:
        """Fold an aggregate from the events given. Raises `UnreadableEvent` for one that today's code cannot read."""
        return self._evolved(Live(aggregate_type(id=aggregate_id)), recorded).aggregate

    async def handle(self, aggregate_type: type[Aggregate], command: Command, context: Context) -> CommandOutcome:
        """Handle a command and return its outcome; a refusal is an outcome too, recorded when there is a key.

        Raises `NotYet` when the handler does, `ConcurrencyError` when the stream stays contended, `InvalidInput` for an id or an
        event that cannot be stored, `BackPressure` while `refusal` says so, for a command from outside: then nothing was
        decided. What sagas and reactions send is taken, or a consumer would stand in the way of what it waits for.
        """
        if self.refusal is not None and context.hops == 0:
            raise BackPressure(*self.refusal.facts)
        stream = aggregate_type.stream_of(admit(command))
        if not is_traced():
            return (await self._in_turn(aggregate_type, stream, command, context))[0]
        with command_span(command.command_name, stream) as span:
            try:
                outcome, is_repeated = await self._in_turn(aggregate_type, stream, command, context)
            except NotYet:
                span.set_attribute("sagakit.outcome", "not_yet")
                span.set_status(Status(StatusCode.OK, None))
                raise
            if is_repeated:
                span.set_attribute("sagakit.repeated", True)  # noqa: FBT003 the OpenTelemetry signature
            span.set_attribute("sagakit.outcome", outcome.status)
            if outcome.status == "refused":
                span.set_status(Status(StatusCode.OK, None))
                span.set_attribute("sagakit.refusal", outcome.code or "")
            return outcome

    async def undo(
        self, aggregate_type: type[Aggregate], command: Command, context: Context, do_key: str, *, was_done: bool = False
    ) -> CommandOutcome:
        """Undo what the command with ``do_key`` did: by ``command`` when it was done, by nothing when it never was.

        The fence: when the do has no outcome yet, its key is taken here, so that a late do is refused (failures D1, D2).
        ``was_done``: the caller was told that it was done, and its outcome may be forgotten by now.
        """
        stream = aggregate_type.stream_of(command.aggregate_id)
        found = await self.fence(stream, do_key)
        if found.status != "done" and not (was_done and found.status == "fenced"):
            return CommandOutcome(status="nothing_to_undo", stream=stream)
        return await self.handle(aggregate_type, command, context)

    async def fence(self, stream: str, key: str) -> CommandOutcome:
        """Return what became of the command with this key; one that nothing became of yet never will: its key is taken."""
        fence = CommandOutcome(status="fenced", stream=stream, code="fenced", reason="its undo came first")
        try:
            await self.store.append(Append(stream, 0, (), key, fence))
        except DuplicateCommand as duplicate:
            return duplicate.outcome
        return fence

    async def _in_turn(
        self, aggregate_type: type[Aggregate], stream: str, command: Command, context: Context
    ) -> tuple[CommandOutcome, bool]:
        """Return the outcome, and whether it is the one of an earlier command with the same key."""
        turns = self._turns
        try:
            if not turns.take(stream):
                await turns.wait(stream)
            try:
                if stream in self._unfolded:
                    self._fold(stream)
                return await self._until_appended(aggregate_type, stream, command, context), False
            finally:
                turns.give(stream)
        except DuplicateCommand as duplicate:
            return duplicate.outcome, True
        except Exception as error:
            await record_failure(self.failures, self.store, self.registry, stream, command, context, error)
            raise

    async def _until_appended(
        self, aggregate_type: type[Aggregate], stream: str, command: Command, context: Context
    ) -> CommandOutcome:
        known = self.image.get(stream)
        live, is_compared = (known, False) if known else await self._begin(aggregate_type, command)
        for attempt in range(_CONFLICT_RETRIES):
            try:
                # No look-up of the key first: the append itself finds a repeated one, whatever was decided here.
                events, outcome = self._decision(live.aggregate, stream, command)
                if not events and not is_compared and await self._catch_up(stream, live):
                    # The append would not notice that a refusal, or nothing to do, came of an aggregate behind the log.
                    events, outcome = self._decision(live.aggregate, stream, command)
                envelopes = self._envelopes(events, command, context)
                if envelopes or context.key is not None:
                    await self.store.append(Append(stream, live.aggregate.version, envelopes, context.key, outcome))
            except ConcurrencyError:
                if attempt == _CONFLICT_RETRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0, min(0.2, 0.002 * 2**attempt)))  # noqa: S311 jitter, no secret
                if not await self._catch_up(stream, live):
                    live = await self._load(aggregate_type, command.aggregate_id)
                is_compared = True
            except BaseException:
                # Whatever else it was, a repeated key among it: the next command reads the aggregate anew.
                self.image.drop(stream)
                raise
            else:
                if known is None:
                    self._creates[type(command)] = live.aggregate.version == 0
                self._remember(stream, live, envelopes)
                return outcome
        raise ConcurrencyError(stream, live.aggregate.version)

    def _remember(self, stream: str, live: Live, appended: tuple[NewEvent, ...]) -> None:
        """Keep the aggregate; what was appended is folded when the caller next waits, or the stream is next used."""
        for envelope in appended:
            live.weight += len(envelope.data)
        self.image.put(stream, live)
        if appended:
            self._unfolded[stream] = live, appended
            asyncio.get_running_loop().call_soon(self._fold, stream)

    def _fold(self, stream: str) -> None:
        """Evolve by what was appended, as it is stored, so that memory and a later fold cannot differ."""
        live, appended = self._unfolded.pop(stream, (None, ()))
        if live is None:
            return  # its next use came first
        before = live.aggregate.version
        try:
            for version, envelope in enumerate(appended, before + 1):
                live.aggregate.evolve(self.registry.decode_all(envelope), version=version)
                live.event_id = envelope.id
        except Exception:  # noqa: BLE001 whatever an applier raises
            # The events are durable, so the command is done; that the aggregate cannot be folded shows at its next use.
            _log.exception("an applier failed", stream=stream)
            self.image.drop(stream)
            return
        self.snapshots.consider(stream, live, before)

    async def _begin(self, aggregate_type: type[Aggregate], command: Command) -> tuple[Live, bool]:
        """Return an aggregate that is not in memory, and whether it was compared with the log.

        A command of a type that last began a stream is decided as if it did so again: the append notices when it does not,
        and a refusal is compared with the log first. That saves the look for a stream that is not there.
        """
        if self._creates.get(type(command)) and not aggregate_type.snapshot_every:
            return Live(aggregate_type(id=command.aggregate_id)), False
        return await self._load(aggregate_type, command.aggregate_id), True

    async def _load(self, aggregate_type: type[Aggregate], aggregate_id: str) -> Live:
        stream = aggregate_type.stream_of(aggregate_id)
        if (live := await self.snapshots.restore(aggregate_type, stream)) is not None:
            # With the event that the snapshot stands on: a log that was restored from a backup may not have it.
            recorded = await self.store.load(stream, live.aggregate.version - 1)
            if recorded and (recorded[0].version, recorded[0].id) == (live.aggregate.version, live.event_id):
                return self._evolved(live, recorded[1:])
            self.snapshots.discard(stream, "not_of_this_log")
        live = self._evolved(Live(aggregate_type(id=aggregate_id)), await self.store.load(stream))
        # What has no usable snapshot gets one now, so that the next process need not fold it all again.
        self.snapshots.consider(stream, live, 0)
        return live

    async def _catch_up(self, stream: str, live: Live) -> bool:
        """Read what the log has behind an aggregate; answer whether there was anything."""
        recorded = await self.store.load(stream, live.aggregate.version)
        self._evolved(live, recorded)
        return bool(recorded)

    def _evolved(self, live: Live, recorded: list[RecordedEvent]) -> Live:
        for event in recorded:
            live.aggregate.evolve(self.registry.decode_all(event), version=event.version)
            live.weight += len(event.data)
            live.event_id = event.id
        return live

    def _decision(self, aggregate: Aggregate, stream: str, command: Command) -> tuple[tuple[Event, ...], CommandOutcome]:
        try:
            events = aggregate.decide(command)
        except DomainError as refusal:
            return (), CommandOutcome(
                status="refused", stream=stream, version=aggregate.version, code=refusal.code, reason=str(refusal)
            )
        names = tuple([event.event_name for event in events])
        return events, CommandOutcome(status="done", stream=stream, version=aggregate.version + len(events), events=names)

    def _envelopes(self, events: tuple[Event, ...], command: Command, context: Context) -> tuple[NewEvent, ...]:
        metadata = Metadata(
            correlation_id=context.correlation_id or context.key or f"{command.command_name}/{command.aggregate_id}",
            causation_id=context.causation_id or context.key,
            command=command.command_name,
            command_key=context.key,
            actor=context.actor,
            traceparent=current_traceparent(),
            hops=context.hops,
        )
        envelopes = tuple([new_event(event, metadata) for event in events])
        admit_events(command, envelopes)
        return envelopes
