"""A bus under load, and what is done to its broker meanwhile; the same faults short in the suite and long in chaos."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.fast_publisher import Publishing
from tests.support.bus_load import Receiver, Sender, new_subscription, nothing_is_lost, sending
from tests.support.proxy import Proxy, proxied
from tests.support.servers import RabbitServer
from tests.support.waiting import until

RECOVERY_SECONDS = 10


@dataclass
class Load:
    subscription: Subscription
    sender: Sender
    receiver: Receiver
    bus: RabbitBus
    proxy: Proxy
    began: float
    is_replayed: bool = False

    async def recovers(self, healed: float) -> None:
        """Events flow again, from the log to their effect, within ten seconds of the heal."""
        await self.sender.goes_on(100, RECOVERY_SECONDS - (time.monotonic() - healed))
        last = self.sender.confirmed[-1]
        left = RECOVERY_SECONDS - (time.monotonic() - healed)
        await until(lambda: last.id in self.receiver.copies, "an event of after the heal to take effect", left)
        print(f"recovered {time.monotonic() - healed:.1f} s after the heal")


@asynccontextmanager
async def loaded(
    url: str, publishing: Publishing = "aio-pika", partitions: int = 1, behind_proxy: str = "publisher", copies: int | None = 3
) -> AsyncIterator[Load]:
    """Put load on a bus whose publisher, or consumer, is behind a proxy; at the end nothing may be lost or out of order."""
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    async with proxied(at.hostname, at.port) as (proxy, port):
        far = url.replace(f":{at.port}", f":{port}").replace(at.hostname, "127.0.0.1")
        publisher_url, consumer_url = (far, url) if behind_proxy == "publisher" else (url, far)
        bus = RabbitBus(publisher_url, 1.5, 50, publishing=publishing, heartbeat_seconds=2)
        consuming = RabbitBus(consumer_url, 1.5, 50, heartbeat_seconds=2)
        subscription, receiver = new_subscription(partitions), Receiver()
        try:
            await bus.declare([subscription])
            began = time.monotonic()
            stop = await consuming.consume(subscription, receiver.handle)
            async with sending(Sender(bus, subscription)) as sender:
                await sender.goes_on(100)
                load = Load(subscription, sender, receiver, bus, proxy, began)
                yield load
            if load.is_replayed:
                await _replay(load)
            await nothing_is_lost(sender, receiver, copies)
            await stop()
        finally:
            await asyncio.gather(bus.close(), consuming.close())


async def _replay(load: Load) -> None:
    """Send the whole log again, as `replay` does after a queue was lost with what was in it."""
    await until(lambda: load.sender.confirmed[-1].id in load.receiver.copies, "what is not lost to arrive")
    lost = sum(event.id not in load.receiver.copies for event in load.sender.confirmed)
    print(f"{lost} events were in the queue")
    load.receiver.forget()
    await load.sender.send_again()


async def black_hole(load: Load, seconds: float) -> None:
    """Nothing comes through, and nobody says so."""
    load.proxy.set("hold")
    await asyncio.sleep(seconds)
    load.proxy.set("pass")
    await load.recovers(time.monotonic())


async def resets(load: Load, times: int) -> None:
    """Reset what goes through the proxy each second, while the consumer has work in hand."""
    for _ in range(times):
        await asyncio.sleep(1)
        async with load.receiver.held():
            load.proxy.reset()
    await load.recovers(time.monotonic())


async def last_words(load: Load, times: int) -> None:
    """The end of a connection comes together with messages: the driver finds it between two frames, and reports no error."""
    for _ in range(times):
        await load.proxy.last_words()
        await load.recovers(time.monotonic())


async def replies_dropped(load: Load, seconds: float) -> None:
    """What is published is stored, and the confirm never comes."""
    load.proxy.set("drop_replies")
    await load.proxy.lost.wait()
    await asyncio.sleep(seconds)
    load.proxy.reset()
    load.proxy.set("pass")
    await load.recovers(time.monotonic())


async def memory_alarm(load: Load, server: RabbitServer, seconds: float) -> None:
    failures = len(load.sender.failures)
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.00001")
    await until(
        lambda: any("blocked by an alarm" in text for text in load.sender.failures[failures:]), "the alarm to be noticed", 15
    )
    stored = len(load.sender.confirmed)
    await asyncio.sleep(seconds)
    assert len(load.sender.confirmed) == stored, "nothing is confirmed under an alarm"
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.4")
    await load.recovers(time.monotonic())


async def killed(load: Load, server: RabbitServer) -> None:
    """Kill -9 the broker. A quorum queue of 3.10 younger than three seconds may never come back, a bug of its own."""
    await until(lambda: time.monotonic() - load.began > 4, "the queues to be old enough")
    await asyncio.to_thread(server.kill)
    server.launch()
    await asyncio.to_thread(server.wait_until_up)
    await load.recovers(time.monotonic())
