"""A Temporal server without the search attributes of sagas is refused at start, with the command that adds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from sagakit.errors import TemporalUnavailable
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SAGA_STATUS
from sagakit.system import System
from sagakit.temporal.attributes import require_search_attributes
from sagakit.temporal.plugin import connect
from tests.support.faulty import PARTS, RUNS


async def _server(binary: Path, *attributes: SearchAttributeKey[Any]) -> WorkflowEnvironment:
    return await WorkflowEnvironment.start_local(dev_server_existing_path=str(binary), search_attributes=attributes)


async def test_a_server_without_them_is_refused_and_nothing_is_started(temporal_binary: Path, tmp_path: Path) -> None:
    server = await _server(temporal_binary)
    try:
        client = await connect(server.client.service_client.config.target_host, "default")
        async with System(load_settings(data=tmp_path), ServiceMap([RUNS, PARTS])) as system:
            with pytest.raises(TemporalUnavailable) as refused:
                await Runtime(system, client).start()
            assert list(tmp_path.iterdir()) == []
            # Commands alone start no saga.
            runtime = Runtime(system, client, roles=["commands"])
            await runtime.start()
            await runtime.drain()
    finally:
        await server.shutdown()
    assert str(refused.value) == (
        "namespace 'default' has no search attribute SagaStatus and CorrelationId, so no saga could start; add with: temporal "
        "operator search-attribute create --namespace default --name SagaStatus --type Keyword --name CorrelationId --type Keyword"
    )


async def test_each_is_looked_for_and_has_to_be_a_keyword(temporal_binary: Path) -> None:
    server = await _server(temporal_binary, SAGA_STATUS)
    try:
        with pytest.raises(
            TemporalUnavailable, match=r"no search attribute CorrelationId,.*default --name CorrelationId --type Keyword$"
        ):
            await require_search_attributes(server.client)
    finally:
        await server.shutdown()
    server = await _server(temporal_binary, SAGA_STATUS, SearchAttributeKey.for_text("CorrelationId"))
    try:
        with pytest.raises(TemporalUnavailable, match="CorrelationId as another type than Keyword"):
            await require_search_attributes(server.client)
    finally:
        await server.shutdown()


class _Refusing:
    namespace = "default"

    def __init__(self, status: RPCStatusCode) -> None:
        self.status, self.operator_service = status, self

    async def list_search_attributes(self, *_: object, **__: object) -> None:
        raise RPCError("no", self.status, b"")


async def test_a_server_that_does_not_tell_is_taken_at_its_word() -> None:
    refusing: Any = _Refusing(RPCStatusCode.PERMISSION_DENIED)
    await require_search_attributes(refusing)
    refusing = _Refusing(RPCStatusCode.UNAVAILABLE)
    with pytest.raises(TemporalUnavailable, match="does not list"):
        await require_search_attributes(refusing)
