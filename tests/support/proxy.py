"""A TCP proxy that loses things: in front of a server, it can pass, hold, or drop what the server answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Mode = Literal["pass", "hold", "drop_replies", "refuse", "end"]
_SOON_SECONDS = 0.2


class Proxy:
    """Forwards one port to another; counts what went each way while it lost things."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.mode: Mode = "pass"
        self.lost_bytes = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self.lost, self.held = asyncio.Event(), asyncio.Event()

    def set(self, mode: Mode) -> None:
        self.mode = mode
        self._moved.set()
        self._moved = asyncio.Event()

    def reset(self) -> None:
        """End every connection at once, without a goodbye."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def last_words(self) -> None:
        """Keep what the server says next, then let it through together with the end of the connection."""
        self.set("hold")
        self.held.clear()
        await self.held.wait()
        await asyncio.sleep(_SOON_SECONDS)  # as much as the consumer's prefetch lets the server say
        self.set("end")
        await asyncio.sleep(_SOON_SECONDS)
        self.set("pass")

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        for source, sink, is_reply in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, is_reply=is_reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool) -> None:
        try:
            while data := await source.read(65536):
                while self.mode == "hold":
                    if is_reply:
                        self.held.set()
                    await self._moved.wait()
                if self.mode == "drop_replies" and is_reply:
                    self.lost_bytes += len(data)
                    self.lost.set()
                    continue
                if self.mode == "end" and is_reply:
                    sink.write(data + await _rest(source))
                    break
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def close(self) -> None:
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _rest(source: asyncio.StreamReader) -> bytes:
    with suppress(TimeoutError):
        async with asyncio.timeout(_SOON_SECONDS / 4):
            return await source.read(65536)
    return b""


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[tuple[Proxy, int]]:
    """Put a proxy in front of a server; yields it with its own port."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await proxy.close()
