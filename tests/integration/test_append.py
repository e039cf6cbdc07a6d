"""Appends on both databases: a group shares a commit, members fail alone, a chain shows what was changed (G1; A16, A17, S14)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sagakit.chain import check_chains
from sagakit.errors import ConcurrencyError, DuplicateCommand
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.stores import open_counting

DONE = CommandOutcome(status="done", stream="counter-a", version=1, events=("counter.added",))


@pytest.fixture(params=[("sqlite", False), ("sqlite", True), ("postgres", False), ("postgres", True)], ids=str)
async def counting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    kind, is_chained = request.param
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else None
    async with open_counting(tmp_path, url, hash_chain=is_chained) as opened:
        yield opened


async def test_a_group_shares_a_commit_and_each_member_has_its_own_fate_g1(counting: OpenService) -> None:
    store = counting.store
    await store.append(Append("counter-taken", 0, (added(),)))
    await store.append(Append("counter-known", 0, (added(),), "known", DONE))
    answers = await asyncio.gather(
        store.append(Append("counter-first", 0, (added(),))),
        store.append(Append("counter-a", 0, (added(1), added(2), added(3)), "a", DONE)),
        store.append(Append("counter-taken", 0, (added(),), "taken", DONE)),
        store.append(Append("counter-ahead", 7, (added(),))),
        store.append(Append("counter-known", 1, (added(),), "known", DONE)),
        store.append(Append("counter-a", 0, (), "refusal", DONE)),
        store.append(Append("counter-taken", 1, (added(4), added(5)))),
        return_exceptions=True,
    )
    kinds = [type(answer) for answer in answers]
    assert kinds == [list, list, ConcurrencyError, ConcurrencyError, DuplicateCommand, list, list]
    assert answers[5] == []
    assert answers[1] == sorted(answers[1])
    assert await store.outcome("taken") is None, "a member that failed leaves nothing behind"
    assert await store.outcome("a") == await store.outcome("refusal") == DONE
    lengths = {name: len(await store.load(f"counter-{name}")) for name in ("first", "a", "taken", "ahead", "known")}
    assert lengths == {"first": 1, "a": 3, "taken": 3, "ahead": 0, "known": 1}
    assert answers[1] == [event.position for event in await store.load("counter-a")]


async def test_members_that_race_each_other_are_told_apart_g1(counting: OpenService) -> None:
    store = counting.store
    appends = [Append("counter-a", 0, (added(n),), f"key-{n % 3}", DONE) for n in range(12)]
    answers = await asyncio.gather(
        store.append(Append("counter-b", 0, (added(),))), *map(store.append, appends), return_exceptions=True
    )
    assert sum(isinstance(answer, list) for answer in answers[1:]) == 1
    assert all(isinstance(answer, list | ConcurrencyError | DuplicateCommand) for answer in answers)
    assert [event.version for event in await store.load("counter-a")] == [1]


async def test_a_group_costs_far_fewer_commits_than_members(counting: OpenService) -> None:
    commits = 0
    together = counting.store._group._together

    async def counted(appends):
        nonlocal commits
        commits += 1
        return await together(appends)

    counting.store._group._together = counted
    await asyncio.gather(*(counting.store.append(Append(f"counter-{n}", 0, (added(),))) for n in range(100)))
    assert commits <= 3
    assert await counting.store.head() >= 100


async def test_a_version_that_is_not_there_yet_is_refused_so_that_no_hole_comes_g1(counting: OpenService) -> None:
    with pytest.raises(ConcurrencyError):
        await counting.store.append(Append("counter-a", 3, (added(),), "key", DONE))
    assert await counting.store.load("counter-a") == []
    assert await counting.store.outcome("key") is None


@pytest.fixture(params=["sqlite", "postgres"])
async def chained(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url, hash_chain=True) as opened:
        await asyncio.gather(*(opened.store.append(Append(f"counter-{n}", 0, (added(1), added(2), added(3)))) for n in range(3)))
        yield opened


async def test_the_chain_holds_over_appends_alone_and_in_groups_s14(chained: OpenService) -> None:
    for n in range(3):
        await chained.store.append(Append(f"counter-{n}", 3, (added(4), added(5))))
    checked = await check_chains(chained.store)
    assert (checked.failure, checked.chained, checked.unchained) == (None, 15, 0)


async def test_a_log_without_a_chain_says_so_s14(tmp_path: Path) -> None:
    async with open_counting(tmp_path, None) as opened:
        await opened.store.append(Append("counter-a", 0, (added(),)))
        assert (await check_chains(opened.store)).unchained == 1


async def _tamper(opened: OpenService, statement: str) -> None:
    """What a person with all rights could do to the stored bytes."""
    if hasattr(opened.store, "_path"):
        with sqlite3.connect(opened.store._path) as connection:
            connection.execute(statement)
        connection.close()
        return
    connection = await asyncpg.connect(opened.store._url)
    await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    ("statement", "stream", "version"),
    [
        ("""update events set data = replace(cast(data as text), '2', '9')""", "counter-0", 2),
        ("""update events set metadata = replace(cast(metadata as text), '"c"', '"d"') where stream = 'counter-1' and version = 3""", "counter-1", 3),
        ("""update events set type = 'counter.taken' where stream = 'counter-2' and version = 1""", "counter-2", 1),
        ("""delete from events where stream = 'counter-1' and version = 2""", "counter-1", 3),
        ("""update events set hash = null where stream = 'counter-1' and version = 1""", "counter-1", 2),
    ],
)  # fmt: skip
async def test_the_event_that_was_changed_is_named_s14(chained: OpenService, statement: str, stream: str, version: int) -> None:
    assert (await check_chains(chained.store)).failure is None
    if hasattr(chained.store, "_url"):
        statement = statement.replace("cast(data as text), '2', '9')", "data::text, '2', '9')::json").replace(
            """cast(metadata as text), '"c"', '"d"')""", """metadata::text, '"c"', '"d"')::json"""
        )
    await _tamper(chained, statement)
    failure = (await check_chains(chained.store)).failure
    assert failure is not None
    assert (failure["stream"], failure["version"]) == (stream, version)
