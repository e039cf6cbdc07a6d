"""The rows of the section ``delivery``: what, against what, and the ratios that must be and should be reached."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.delivery import consumers, drains, latency, traced
from benchmarks.measure import Row

_PER_SECOND = "a second"
_ONE = "all in one process, as `start` runs them"
_BATCHED = "ours with SAGAKIT_PUBLISHER=batched"
_HELD = "both hold 200 messages at most, one process each"
_MARKED = "ours reads, publishes with confirms and marks in batches of SAGAKIT_RELAY_BATCH=200, the default"


def rows(bench: Bench) -> list[Row]:
    """List them in the order of the table."""
    return [
        Row(
            "drain into a confirmed quorum queue", "aio-pika alone, 500 publishes in flight on one channel", _PER_SECOND,
            "higher", 0.70, 0.85, lambda: drains.against_ceiling(bench, 1, 20_000),
            f"{_MARKED}; theirs sends the same messages, made before; it reads and marks nothing",
        ),
        Row(
            "drain into a confirmed quorum queue, batched", "aio-pika alone, 500 publishes in flight on one channel", _PER_SECOND,
            "higher", 0.70, 2, lambda: drains.against_ceiling(bench, 12, 20_000, "batched"), f"{_MARKED}; {_BATCHED}",
        ),
        Row(
            "drain into a confirmed quorum queue", "a relay that sends, waits and marks one by one", _PER_SECOND, "higher", 8, 12,
            lambda: drains.against_one_by_one(bench, 2, 20_000, 1_000), f"{_MARKED}; {_BATCHED}",
        ),
        Row(
            "drain into a confirmed quorum queue", "python-cqrs, its outbox producer", _PER_SECOND, "higher", 8, 15,
            lambda: drains.against_cqrs(bench, 3, 20_000, 1_000),
            f"{_MARKED}; {_BATCHED}; theirs without its pause between batches, and persistent to a quorum queue by an adapter of "
            "ours: its own declares a transient queue for each message. It keeps no order over failures, gives up after 5",
        ),
        Row(
            "commit to received at 20 a second, median", "bare publish to received", "ms", "lower", 1 / 2.5, 1 / 1.7,
            lambda: latency.against_publish(bench, 4, 100), f"2.5 times as long is a ratio of 0.40; {_ONE}",
        ),
        Row(
            "commit to received at 20 a second, median, relay apart", "bare publish to received", "ms", "lower", None,
            None, lambda: latency.against_publish(bench, 5, 100, is_apart=True), "the relay has its own process, NOTIFY wakes it",
        ),
        Row(
            "commit to received at 20 a second, median", "a relay that polls every 100 ms", "ms", "lower", 12, 20,
            lambda: latency.against_poller(bench, 6, 100), _ONE,
        ),
        Row(
            "consumer with inbox and effect in PostgreSQL", "FastStream without a database", _PER_SECOND, "higher", 1.0, 1.5,
            lambda: consumers.against_faststream(bench, 7, 5_000),
            f"{_HELD}; a handler call for each event, which adds a SQLModel object to the session",
        ),
        Row(
            "consumer with inbox and effect in PostgreSQL, in batches", "FastStream without a database", _PER_SECOND, "higher",
            1.0, 1.5, lambda: consumers.against_faststream(bench, 9, 5_000, in_batches=True),
            f"{_HELD}; a handler call for what lies side by side (`projects_batch`), which inserts it with one statement",
        ),
        Row(
            "catch-up of a late subscriber", "the live drain", _PER_SECOND, "higher", 0.8, 1.0,
            lambda: drains.late_subscriber(bench, 8, 20_000), "from the lease on its cursor to the head of the log",
        ),
        Row(
            "4 consumer processes, 8 partitions, a handler that waits 5 ms", "1 process", _PER_SECOND, "higher", 3, 3.8,
            lambda: consumers.scale_out(bench, 10, 4, 1_500), "order per stream is checked after every run",
        ),
        Row(
            "command to effect with 5 % of traces sampled", "without tracing", _PER_SECOND, "higher", 0.90, 0.95,
            lambda: traced.tracing(bench, 13, 2_000),
            f"32 commands in flight, spans to a file; {_ONE}; on and off every 250 commands", rounds=30,
        ),
    ]  # fmt: skip
