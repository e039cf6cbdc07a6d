"""The processes of the bank test: each is started again at once when it ends, however it ended; and what kills them."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from random import Random

from sagakit.cli.output import stderr
from sagakit.errors import TemporalUnavailable
from sagakit.runtime import ROLES
from sagakit.settings import Settings
from sagakit.temporal import dev_server
from sagakit.temporal.locate import Location, ensure
from worker.bank.member import serve

TEMPORAL = "temporal"
_LOOK_SECONDS = 0.1
_PAUSE_AFTER_FAILURE_SECONDS = 1.0
_DRAIN_SECONDS = 20
_SERVER_STARTS = 10
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["worker.bank.member"])


@dataclass
class Post:
    """A place for a process: when one ends, the next one takes it. ``ended_alone`` counts those that nobody killed."""

    name: str
    roles: tuple[str, ...]
    settings: Settings
    process: ForkServerProcess | None = None
    is_expected: bool = False
    ended_alone: int = 0

    def start(self) -> None:
        """Start a process here."""
        log = self.settings.data / f"bank-{self.name}.log"
        self.process = _context.Process(target=serve, args=(self.settings, self.roles, log), name=self.name, daemon=True)
        self.is_expected = False
        self.process.start()

    def kill(self) -> None:
        """Kill -9 what runs here."""
        if self.process is not None and self.process.is_alive():
            self.is_expected = True
            self.process.kill()


@dataclass
class Crew:
    """All of it: worker and relay, in one process where the bus is in-process, and the Temporal server where it is ours."""

    location: Location
    posts: Mapping[str, Post]
    settings: Settings
    kills: Counter[str] = field(default_factory=Counter)
    _server: dev_server.DevServer | None = None

    @classmethod
    @asynccontextmanager
    async def at_work(cls, settings: Settings) -> AsyncIterator[Crew]:
        """Start everything; end everything at the end of the block, at once if it was left by an error."""
        location = await ensure(settings, stderr.print)
        crew = cls(location, _posts(settings.model_copy(update={"temporal_address": location.address})), settings)
        crew._server = location.started
        supervising = asyncio.create_task(crew._supervise())
        try:
            for post in crew.posts.values():
                post.start()
            yield crew
            supervising.cancel()
            await asyncio.to_thread(crew._drain)
        finally:
            supervising.cancel()
            await asyncio.gather(supervising, return_exceptions=True)
            for post in crew.posts.values():
                post.kill()
            if crew._server is not None:
                crew._server.stop()

    @property
    def victims(self) -> tuple[str, ...]:
        """What can be killed. A Temporal server that runs without us is left alone."""
        return (*self.posts, *([TEMPORAL] if self._server is not None else []))

    async def kill(self, victim: str) -> None:
        """Kill -9; it comes back by itself, the Temporal server on its database file."""
        self.kills[victim] += 1
        if victim in self.posts:
            self.posts[victim].kill()
        elif self._server is not None:
            self._server.process.kill()
            self._server.process.wait()
            self._server = await self._started_again(self._server)

    @property
    def ended_alone(self) -> int:
        """How many processes ended that nobody had killed."""
        return sum(post.ended_alone for post in self.posts.values())

    async def _started_again(self, server: dev_server.DevServer) -> dev_server.DevServer:
        binary = await dev_server.find_binary(self.settings.temporal_binary, stderr.print)
        port, ui_port = (int(address.rpartition(":")[2]) for address in (server.address, server.ui))
        for attempt in range(_SERVER_STARTS):
            with suppress(TemporalUnavailable):
                return await dev_server.start(binary, self.settings.data / "temporal", port, ui_port)
            await asyncio.sleep(attempt)
        raise TemporalUnavailable(f"the Temporal server could not be started again at {server.address}")

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for post in self.posts.values():
                if post.process is None or post.process.is_alive():
                    continue
                if not post.is_expected:
                    post.ended_alone += 1
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)
                post.start()

    def _drain(self) -> None:
        running = [post.process for post in self.posts.values() if post.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            process.join(_DRAIN_SECONDS)


def _posts(settings: Settings) -> dict[str, Post]:
    if settings.is_embedded_bus:
        return {"worker and relay": Post("worker-and-relay", ROLES, settings)}
    rest = tuple(role for role in ROLES if role != "relay")
    return {"worker": Post("worker", rest, settings), "relay": Post("relay", ("relay",), settings)}


@dataclass(frozen=True)
class Torment:
    """Kills one after the other, each as often, in a random order, after a pause drawn between so many seconds."""

    pauses: tuple[float, float]
    most: int | None
    chance: Random

    async def of(self, crew: Crew, say: Callable[[str], None]) -> None:
        """Go on until cancelled, or until it has killed ``most`` times."""
        rounds = itertools.repeat(crew.victims)
        victims = itertools.chain.from_iterable(self.chance.sample(victims, len(victims)) for victims in rounds)
        for victim in itertools.islice(victims, self.most):
            await asyncio.sleep(self.chance.uniform(*self.pauses))
            say(f"kill -{int(signal.SIGKILL)} {victim}")
            killing = asyncio.create_task(crew.kill(victim))
            try:
                await asyncio.shield(killing)
            except asyncio.CancelledError:
                await killing  # whoever cancels this finds nothing left killed
                raise
