"""Events that no bus takes, by their own fault: their stream waits for a person, and the others go on (failures B3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from sagakit.errors import InfrastructureError, NotSendable
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, Subscription
from sagakit.sql import feeding, parking
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.feed")


_NOT_SENT = InfrastructureError("not sent")


@dataclass
class Judgement:
    """What came of a batch: how many at its begin are done with, which of them go aside, and why the next one failed."""

    done: int = 0
    aside: list[tuple[RecordedEvent, str, parking.State]] = field(default_factory=list)
    failure: Exception | None = None


class Unsent:
    """The streams of one subscription of which an event could not be sent.

    Ordering: the later events of such a stream stand behind it, and follow it in order once it is sent or dropped. Every
    write is fenced by the lease of the feed.
    """

    def __init__(self, subscription: Subscription, leader: Leader, bus: Bus) -> None:
        """Take whose events, the feed's lease, and the bus."""
        self._subscription, self._leader, self._bus = subscription, leader, bus
        self.streams: frozenset[str] = frozenset()

    def judge(self, batch: Sequence[RecordedEvent], answers: dict[int, Exception | None]) -> Judgement:
        """Tell how many events at the begin of a batch are done with, and why the next one is not.

        ``answers`` are the bus's, by position; what was not sent at all stands behind an event of its stream.
        """
        judgement = Judgement()
        held = set(self.streams)
        for event in batch:
            answer = answers.get(event.position, _NOT_SENT)
            if answer is None:
                pass
            elif event.stream in held:
                judgement.aside.append((event, parking.BEHIND, "behind"))
            elif isinstance(answer, NotSendable):
                held.add(event.stream)
                judgement.aside.append((event, str(answer), "parked"))
            else:
                judgement.failure = answer
                break
            judgement.done += 1
        return judgement

    async def set_aside(self, judgement: Judgement) -> None:
        """Put aside what could not be sent, before the checkpoint passes it. Raises `LeaseLost`."""
        async with self._leader.transaction() as session:
            for event, reason, state in judgement.aside:
                await feeding.set_aside(session, self._subscription.consumer, event, reason, state)
            await self._leader.advance_within(session, self._leader.position)
        refused = [(event, reason) for event, reason, state in judgement.aside if state == "parked"]
        for event, reason in refused:
            _log.error("parked", consumer=self._subscription.consumer, stream=event.stream, reason=reason)
            count("sagakit.events.unsendable", consumer=self._subscription.consumer)
        self.streams |= {event.stream for event, _ in refused}

    async def try_again(self, streams: Sequence[str]) -> None:
        """Send what was put aside of these streams, in order, until one is refused again. Raises what the bus answers else."""
        for stream in streams:
            while await self._send_rest(stream):
                pass

    async def _send_rest(self, stream: str) -> bool:
        """Send a page of a stream that was put aside; answer whether there may be more."""
        async with self._leader.tables.transaction() as session:
            rows = await feeding.aside(session, self._subscription.consumer, stream)
        for row in rows:
            if row is not rows[0] and row.state == "parked":
                return False
            (answer,) = await self._bus.publish(self._subscription, [parking.event_of(row.message)])
            if answer is not None and not isinstance(answer, NotSendable):
                raise as_infrastructure(answer)
            async with self._leader.transaction() as session:
                await self._leader.advance_within(session, self._leader.position)
                if answer is not None:
                    await parking.put_off(session, row, str(answer), "parked", row.attempts + 1, row.due_at)
                    return False
                await parking.release(session, row)
        if not rows:
            self.streams -= {stream}
        return bool(rows)


def as_infrastructure(failure: Exception) -> InfrastructureError:
    """Return a failure as one that is waited out."""
    if isinstance(failure, InfrastructureError):
        return failure
    return InfrastructureError(f"an event was not handed over: {failure!r}")
