"""Publishes as a service that is no sagakit code would, by the headers alone: nothing of sagakit is imported here.

A publisher in another language takes this one's place in `tests/integration/test_foreign_services.py`: see `Publisher` there.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import aio_pika

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def publish(
    url: str, service: str, event_type: str, stream: str, version: int, data: Any, *, event_id: str = "", **headers: Any
) -> str:
    """Publish one event to the service's topic exchange and return its id; ``headers`` replace those of the contract."""
    event_id = event_id or str(uuid.uuid4())
    of_the_contract = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": event_id,
        "cloudEvents:type": event_type,
        "cloudEvents:source": f"/{service}",
        "cloudEvents:subject": stream,
        "cloudEvents:time": datetime.now(UTC).isoformat(),
        "service": service,
        "stream": stream,
        "version": version,
        "position": version,
        "schema_version": 1,
        "correlation_id": f"conversation of {stream}",
        "metadata": "{}",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    }
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.declare_exchange(f"{service}.events", "topic", durable=True)
        message = aio_pika.Message(
            json.dumps(data).encode(),
            headers=of_the_contract | headers,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event_id,
            correlation_id=str(of_the_contract["correlation_id"]),
            type=event_type,
        )
        await exchange.publish(message, event_type, mandatory=True)
    return event_id
