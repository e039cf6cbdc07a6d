"""The answer to a COMMIT is lost, or the database goes away: the caller gets the truth, and nothing is doubled (G1, A17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from sagakit.errors import ConcurrencyError, StoreUnavailable
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.repository import Context
from sagakit.system import OpenService
from tests.support.proxy import Proxy, proxied
from tests.support.shop import Add, Counter, added
from tests.support.stores import open_counting

DONE = CommandOutcome(status="done", stream="counter-a", version=1, events=("counter.added",))


@pytest.fixture
async def behind_proxy(postgres_url: str, tmp_path: Path) -> AsyncIterator[tuple[Proxy, OpenService]]:
    given = urlsplit(postgres_url)
    async with (
        proxied(given.hostname or "", given.port or 0) as (proxy, port),
        open_counting(tmp_path, f"postgresql://saga@127.0.0.1:{port}", store_seconds=2) as opened,
    ):
        yield proxy, opened
        proxy.set("pass")


async def _heal_when_lost(proxy: Proxy) -> None:
    """Let the server do its work, lose its answer for sure, then end the connection and heal."""
    await asyncio.wait_for(proxy.lost.wait(), 10)
    proxy.set("pass")
    proxy.reset()


@pytest.mark.parametrize("key", [None, "key"])
async def test_a_committed_append_whose_answer_is_lost_is_a_success_a17(
    behind_proxy: tuple[Proxy, OpenService], key: str | None
) -> None:
    proxy, opened = behind_proxy
    await opened.store.append(Append("counter-warm", 0, (added(),)))
    proxy.set("drop_replies")
    healing = asyncio.create_task(_heal_when_lost(proxy))
    positions = await opened.store.append(Append("counter-a", 0, (added(1), added(2)), key, DONE if key else None))
    await healing
    assert proxy.lost_bytes > 0
    stored = await opened.store.load("counter-a")
    assert [event.position for event in stored] == positions
    assert [event.version for event in stored] == [1, 2]


async def test_a_group_whose_answer_is_lost_is_settled_member_by_member_a17(behind_proxy: tuple[Proxy, OpenService]) -> None:
    proxy, opened = behind_proxy
    await opened.store.append(Append("counter-taken", 0, (added(),)))
    first = asyncio.create_task(opened.store.append(Append("counter-first", 0, (added(),))))
    await asyncio.sleep(0)  # the first one is under way, so that the others make a group
    proxy.set("drop_replies")
    healing = asyncio.create_task(_heal_when_lost(proxy))
    group = [Append(f"counter-{n}", 0, (added(),)) for n in range(10)] + [Append("counter-taken", 0, (added(),))]
    answers = await asyncio.gather(*map(opened.store.append, group), return_exceptions=True)
    await asyncio.gather(first, healing)
    assert all(isinstance(answer, list) for answer in answers[:10]), answers
    assert isinstance(answers[10], ConcurrencyError)
    for n in range(10):
        assert [event.version for event in await opened.store.load(f"counter-{n}")] == [1]


async def test_an_append_that_was_never_sent_is_stored_once_after_the_heal_a17(behind_proxy: tuple[Proxy, OpenService]) -> None:
    proxy, opened = behind_proxy
    proxy.set("refuse")
    proxy.reset()
    appending = asyncio.create_task(opened.store.append(Append("counter-a", 0, (added(),))))
    await asyncio.sleep(0.05)
    proxy.set("pass")
    await appending
    assert [event.version for event in await opened.store.load("counter-a")] == [1]


async def test_a_database_that_stays_away_is_one_clear_error_a17(behind_proxy: tuple[Proxy, OpenService]) -> None:
    proxy, opened = behind_proxy
    proxy.set("refuse")
    proxy.reset()
    with pytest.raises(StoreUnavailable, match="Whether counter-a was written is not known"):
        await opened.store.append(Append("counter-a", 0, (added(),)))


async def test_a_command_whose_answer_is_lost_takes_effect_once_a17(
    behind_proxy: tuple[Proxy, OpenService], postgres_url: str
) -> None:
    proxy, opened = behind_proxy
    await opened.repository.handle(Counter, Add(counter="a", amount=1), Context())
    proxy.set("drop_replies")
    healing = asyncio.create_task(_heal_when_lost(proxy))
    outcome = await opened.repository.handle(Counter, Add(counter="a", amount=2), Context(key="k"))
    await healing
    assert outcome.status == "done"
    assert (await opened.repository.load(Counter, "a")).model_dump()["total"] == 3
    again = await opened.repository.handle(Counter, Add(counter="a", amount=2), Context(key="k"))
    assert again == outcome
    direct = await asyncpg.connect(
        opened.store._url.replace(str(urlsplit(opened.store._url).port), str(urlsplit(postgres_url).port))
    )
    assert await direct.fetchval("select count(*) from events") == 2
    await direct.close()
