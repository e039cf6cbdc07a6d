"""What Temporal refuses for good is parked by the consumer; what it may take later is waited for (G5)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from temporalio.service import RPCError, RPCStatusCode

from sagakit.consumer import Consumer
from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.messages import Metadata, RecordedEvent, Registry, new_event
from sagakit.patience import Patience
from sagakit.sql.tables import ParkedRow
from sagakit.temporal.bridge import SagaStarter
from tests.support.faulty import Begun, FaultySaga
from tests.support.stores import open_counting

BEGUN = RecordedEvent.of(
    new_event(Begun(run="r", fail=""), Metadata(correlation_id="c")),
    service="runs",
    stream="run-r",
    version=1,
    position=1,
    recorded_at=datetime.now(UTC),
)


class _Refusing:
    def __init__(self, status: RPCStatusCode) -> None:
        self.status, self.calls = status, 0

    async def start_workflow(self, *_: object, **__: object) -> None:
        self.calls += 1
        raise RPCError("no", self.status, b"")


def _starter(client: Any) -> SagaStarter:
    return SagaStarter(client, FaultySaga, Registry([Begun]), "runs")


@pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED])
async def test_what_may_pass_counts_as_infrastructure(status: RPCStatusCode) -> None:
    with pytest.raises(TemporalUnavailable):
        await _starter(_Refusing(status))(BEGUN)


async def test_what_is_refused_for_good_is_counted_and_parked_g5(tmp_path: Path) -> None:
    client = _Refusing(RPCStatusCode.INVALID_ARGUMENT)
    with pytest.raises(InvalidInput, match="faulty-saga/r cannot be started: no"):
        await _starter(client)(BEGUN)
    async with open_counting(tmp_path, None) as opened:
        await Consumer("c", opened.tables, Patience(1), before=_starter(client)).handle([BEGUN])
        async with opened.tables.transaction() as session:
            assert (await session.exec(select(ParkedRow.stream))).all() == ["run-r"]
    assert client.calls == 2
