"""The search attributes that sagas are started with: a server that does not know them refuses every start."""

from __future__ import annotations

from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from sagakit.errors import TemporalUnavailable
from sagakit.steps import CORRELATION_ID, SAGA_STATUS

# Who may start sagas need not be let to ask; and Temporal Cloud has no operator service.
_NOT_TOLD = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.UNIMPLEMENTED)


async def require_search_attributes(client: Client) -> None:
    """Look whether the namespace knows them. Raises `TemporalUnavailable` with the command that adds what is missing."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        known = (await client.operator_service.list_search_attributes(request, timeout=timedelta(seconds=10))).custom_attributes
    except RPCError as error:
        if error.status in _NOT_TOLD:
            return
        raise TemporalUnavailable(f"the Temporal server does not list its search attributes: {error.message}") from error
    wanted = [attribute.name for attribute in (SAGA_STATUS, CORRELATION_ID)]
    if taken := [name for name in wanted if name in known and known[name] != IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD]:
        raise TemporalUnavailable(
            f"namespace {client.namespace!r} has {' and '.join(taken)} as another type than Keyword: use another namespace"
        )
    if missing := [name for name in wanted if name not in known]:
        words = " ".join(f"--name {name} --type Keyword" for name in missing)
        raise TemporalUnavailable(
            f"namespace {client.namespace!r} has no search attribute {' and '.join(missing)}, so no saga could start; add with: "
            f"temporal operator search-attribute create --namespace {client.namespace} {words}"
        )
