"""Hot aggregates need no read, and are right whoever else writes (G1)."""

from __future__ import annotations

import asyncio

import pytest

from sagakit.errors import InvalidInput
from sagakit.image import MemoryImage
from sagakit.repository import Context, Repository
from sagakit.system import OpenService
from tests.support.shop import Add, Counter, Note


def _other(counting: OpenService) -> Repository:
    """What another process over the same log would have."""
    return Repository(counting.store, counting.repository.registry, MemoryImage(100, 10_000))


def _count_loads(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    loads: list[tuple[str, int]] = []
    load = repository.store.load

    async def counted(stream: str, after_version: int = 0):
        loads.append((stream, after_version))
        return await load(stream, after_version)

    monkeypatch.setattr(repository.store, "load", counted)
    return loads


async def _add(repository: Repository, amount: int, key: str | None = None) -> str:
    return (await repository.handle(Counter, Add(counter="a", amount=amount), Context(key=key))).status


async def test_a_hot_aggregate_is_read_once(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = _count_loads(counting.repository, monkeypatch)
    for _ in range(20):
        assert await _add(counting.repository, 1) == "done"
    assert loads == [("counter-a", 0)]


async def test_what_others_wrote_is_read_from_where_memory_ends(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = counting.repository, _other(counting)
    for _ in range(3):
        await _add(mine, 1)
    for _ in range(4):
        await _add(other, 10)
    loads = _count_loads(mine, monkeypatch)
    assert await _add(mine, 1) == "done"
    assert loads == [("counter-a", 3)]
    assert (await mine.load(Counter, "a")).model_dump()["total"] == 44


async def test_a_refusal_is_never_given_by_an_aggregate_behind_the_log(counting: OpenService) -> None:
    mine, other = counting.repository, _other(counting)
    await _add(mine, 90)
    await _add(other, -80)
    assert await _add(mine, 50) == "done", "in memory it was 90, in the log 10"
    await _add(other, 35)
    assert await _add(mine, 10, "k") == "refused", "in memory it was 60, in the log 95"
    assert (await mine.load(Counter, "a")).model_dump()["total"] == 95


async def test_nothing_to_do_is_never_said_by_an_aggregate_behind_the_log(
    counting: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _add(counting.repository, 1)
    loads = _count_loads(counting.repository, monkeypatch)
    outcome = await counting.repository.handle(Counter, Add(counter="a", amount=0), Context())
    assert (outcome.events, loads) == ((), [("counter-a", 1)])


async def test_a_repeated_key_leaves_memory_right(counting: OpenService) -> None:
    assert [await _add(counting.repository, 5, "k") for _ in range(3)] == ["done"] * 3
    assert await _add(counting.repository, 1) == "done"
    assert (await counting.repository.load(Counter, "a")).model_dump()["total"] == 6


async def test_a_command_that_cannot_be_stored_leaves_memory_right(counting: OpenService) -> None:
    await _add(counting.repository, 1)
    with pytest.raises(InvalidInput):
        await counting.repository.handle(Counter, Note(counter="a", text="\0"), Context())
    assert await _add(counting.repository, 1) == "done"
    assert (await counting.repository.load(Counter, "a")).version == 2


async def test_two_images_racing_on_one_aggregate_agree_with_the_fold(counting: OpenService) -> None:
    two = (counting.repository, _other(counting))
    await asyncio.gather(*(_add(two[n % 2], 1 if n % 3 else -1) for n in range(200)))
    folded = await _other(counting).load(Counter, "a")
    assert folded.version == 200
    for repository in two:
        await _add(repository, 0)
        live = repository.image.get("counter-a")
        assert live is not None
        assert live.aggregate == folded


async def test_memory_is_bounded(counting: OpenService) -> None:
    small = Repository(counting.store, counting.repository.registry, MemoryImage(3, 10_000))
    for n in range(10):
        await small.handle(Counter, Add(counter=f"c{n}", amount=1), Context())
    assert len(small.image) == 3


async def test_a_command_that_began_a_stream_is_expected_to_begin_the_next(
    counting: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = _count_loads(counting.repository, monkeypatch)
    for counter in "abc":
        assert (await counting.repository.handle(Counter, Add(counter=counter, amount=1), Context())).status == "done"
    assert loads == [("counter-a", 0)]


async def test_a_stream_that_is_there_after_all_is_read_and_decided_again(counting: OpenService) -> None:
    mine, other = counting.repository, _other(counting)
    await other.handle(Counter, Add(counter="b", amount=90), Context())
    await _add(mine, 1)  # began counter a, so the next one is expected to be new as well
    refused = await mine.handle(Counter, Add(counter="b", amount=20), Context(key="k"))
    assert (refused.status, refused.version) == ("refused", 1)
    await other.handle(Counter, Add(counter="c", amount=5), Context())
    await mine.handle(Counter, Add(counter="d", amount=1), Context())
    taken = await mine.handle(Counter, Add(counter="c", amount=5), Context())
    assert (taken.status, taken.version) == ("done", 2)
    assert (await other.load(Counter, "c")).model_dump()["total"] == 10


async def test_a_refusal_by_an_aggregate_that_is_not_there_is_compared_with_the_log(counting: OpenService) -> None:
    mine, other = counting.repository, _other(counting)
    await _add(mine, 1)
    await other.handle(Counter, Add(counter="b", amount=-50), Context())
    assert (await mine.handle(Counter, Add(counter="b", amount=120), Context())).status == "done"
    assert (await other.load(Counter, "b")).model_dump()["total"] == 70
