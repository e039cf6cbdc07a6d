"""What is declared, what the producers have recorded, and what the broker has: where they differ, and how it is repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sagakit.ports import Subscription
from sagakit.rabbitmq.inspection import LayoutLook
from sagakit.rabbitmq.topology import layout
from sagakit.sql.tables import SubscriptionRow

_APPLY = "topology apply"
_EXCHANGE = "another number of partitions, and back: docs/delivery.md, section Topology"


@dataclass(frozen=True)
class Difference:
    """Something that is not as it should be. ``is_reparable`` says that `topology apply` mends it."""

    consumer: str
    what: str
    problem: str
    is_reparable: bool
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """Show it."""
        return asdict(self)


def with_records(wanted: Sequence[Subscription], records: Mapping[str, Sequence[SubscriptionRow]]) -> list[Difference]:
    """Compare what the code declares with what each producer has recorded, by its name."""
    found: list[Difference] = []
    for subscription in wanted:
        rows = [row for row in records.get(subscription.producer, ()) if row.consumer == subscription.consumer]
        place = f"subscription in {subscription.producer}"
        if not rows:
            found.append(Difference(subscription.consumer, place, "not recorded", is_reparable=True, remedy=_APPLY))
            continue
        (row,) = rows
        if frozenset(row.event_types) != subscription.event_types:
            problem = f"recorded with other events: {', '.join(sorted(row.event_types))}"
            found.append(Difference(subscription.consumer, place, problem, is_reparable=True, remedy=_APPLY))
        if row.partitions != subscription.partitions:
            problem = f"recorded with {row.partitions} partitions, set are {subscription.partitions}"
            found.append(Difference(subscription.consumer, place, problem, is_reparable=True, remedy=_APPLY))
        if row.former_partitions is not None:
            problem = f"its queues are being exchanged, {row.former_partitions} for {row.partitions} partitions"
            remedy = "run the relay of the producer and the consumer until it is done"
            found.append(Difference(subscription.consumer, place, problem, is_reparable=False, remedy=remedy))
    return found


def with_broker(wanted: Sequence[Subscription], looks: Mapping[str, LayoutLook]) -> list[Difference]:
    """Compare what the code declares with what the broker has, by the name of the exchange."""
    found: list[Difference] = []
    for consumer, look in {subscription.consumer: looks[layout(subscription).exchange] for subscription in wanted}.items():
        found += _state(consumer, f"exchange {look.exchange}", look.state, look.detail)
        for queue in look.queues:
            found += _state(consumer, f"queue {queue.name}", queue.state, queue.detail)
            if queue.state == "ok" and not queue.consumers:
                remedy = "run the service that consumes it"
                found.append(Difference(consumer, f"queue {queue.name}", "no consumer", is_reparable=False, remedy=remedy))
    return found


def _state(consumer: str, what: str, state: str, detail: str) -> list[Difference]:
    if state == "missing":
        return [Difference(consumer, what, "missing", is_reparable=True, remedy=_APPLY)]
    if state == "other arguments":
        return [Difference(consumer, what, f"declared otherwise: {detail}", is_reparable=False, remedy=_EXCHANGE)]
    return []
