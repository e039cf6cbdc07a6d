"""The outbox producer of `python-cqrs` at work, in its own environment: reads a JSON job a line, prints a JSON answer a line.

Its producer, repository and table run as its README shows, without the pause between batches. Its own AMQP adapter declares a
transient queue for every message; in its place stands a broker of its protocol that publishes to the same kind of quorum
queue as ours, persistent, on one channel with confirms, which is faster and keeps what it confirms.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time

import aio_pika
import cqrs
import pydantic
from cqrs.message_brokers import protocol
from cqrs.outbox.sqlalchemy import OutboxModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine


class LineAdded(pydantic.BaseModel):
    stream: str
    version: int
    sku: str
    quantity: int
    price_cents: int
    currency: str


Added = cqrs.PydanticNotificationEvent[LineAdded]


class Broker(protocol.MessageBroker):
    def __init__(self, exchange) -> None:
        self.exchange = exchange

    async def send_message(self, message: protocol.Message) -> None:
        body = message.payload_bytes or json.dumps(message.payload, default=str).encode()
        sent = aio_pika.Message(
            body,
            message_id=str(message.message_id),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            content_type="application/json",
        )
        await self.exchange.publish(sent, "")


class Peer:
    async def open(self, database: str, bus: str, exchange: str) -> dict:
        logging.getLogger("cqrs").setLevel(logging.ERROR)  # it logs each event at DEBUG otherwise
        cqrs.OutboxedEventMap.register("LineAdded", Added)
        self.engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        async with self.engine.begin() as connection:
            await connection.run_sync(OutboxModel.metadata.create_all)
        self.connection = await aio_pika.connect_robust(bus)
        channel = await self.connection.channel(on_return_raises=True)
        self.broker = Broker(await channel.get_exchange(exchange))
        return {}

    async def drain(self, count: int) -> dict:
        """Store so many events in its outbox, then send all of them."""
        async with self.sessions() as session:
            outbox = cqrs.SqlAlchemyOutboxedEventRepository(session)
            for number in range(count):
                line = LineAdded(
                    stream=f"basket-{number // 10}", version=number % 10 + 1, sku="WHITE-HANGING-HEART", quantity=6,
                    price_cents=255, currency="GBP",
                )  # fmt: skip
                outbox.add(Added(event_name="LineAdded", topic="lines", payload=line))
            await outbox.commit()
        async with self.sessions() as session:
            producer = cqrs.EventProducer(self.broker, cqrs.SqlAlchemyOutboxedEventRepository(session))
            sent, start = 0, time.perf_counter()
            async for messages in producer.event_batch_generator():
                for message in messages:
                    await producer.send_message(message)
                await producer.repository.commit()
                sent += len(messages)
                if not messages:
                    break
            return {"seconds": time.perf_counter() - start, "sent": sent}


async def main() -> None:
    gc.collect()  # its garbage is collected as our side's
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        print(json.dumps(await getattr(peer, job.pop("do"))(**job)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
