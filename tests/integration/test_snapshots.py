"""Snapshots are a cache: whatever is wrong with one, the state is that of the full fold, and a counter says so (A14)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import Field

from sagakit import Aggregate, applies, handles
from sagakit.fingerprint import fingerprint
from sagakit.messages import Event, Registry
from sagakit.repository import Context, Repository
from sagakit.system import OpenService
from tests.support.shop import Gain, Gained, Hoard
from tests.support.stores import open_counting


@pytest.fixture(params=["sqlite", "postgres"])
async def counting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as opened:
        for n in range(25):
            await opened.repository.handle(Hoard, Gain(hoard="h", item=f"i{n % 4}"), Context())
            await opened.repository.settle()  # a mark that is crossed while a snapshot is being taken is passed over
        yield opened


def _fresh(counting: OpenService) -> Repository:
    return Repository(counting.store, counting.repository.registry)


def _full_fold(counting: OpenService, events: list) -> Aggregate:
    return counting.repository.fold(Hoard, "h", events)


async def test_a_snapshot_is_taken_at_each_mark_and_used(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = await counting.store.load_snapshot("hoard-h")
    assert snapshot is not None
    assert snapshot.version >= 20
    assert counting.repository.snapshots.counts["taken"] == 2
    read: list[int] = []
    load = counting.store.load

    async def counted(stream: str, after_version: int = 0):
        found = await load(stream, after_version)
        read.append(len(found))
        return found

    monkeypatch.setattr(counting.store, "load", counted)
    fresh = _fresh(counting)
    loaded = await fresh.load(Hoard, "h")
    assert loaded.version == 25
    assert read == [25 - snapshot.version + 1], "the tail, and the event that the snapshot stands on"
    assert fresh.snapshots.counts == {"used": 1}
    assert loaded == _full_fold(counting, await load("hoard-h"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": lambda s: s.replace("i1", "i9")}, "checksum"),
        ({"checksum": lambda s: ("1" if s[0] == "0" else "0") + s[1:]}, "checksum"),
        ({"version": lambda v: v - 1}, "checksum"),
    ],
)
async def test_a_changed_byte_is_noticed(counting: OpenService, change: dict, reason: str) -> None:
    snapshot = await counting.store.load_snapshot("hoard-h")
    assert snapshot is not None
    broken = dataclasses.replace(snapshot, **{name: by(getattr(snapshot, name)) for name, by in change.items()})
    await _overwrite(counting, broken)
    fresh = _fresh(counting)
    assert await fresh.load(Hoard, "h") == _full_fold(counting, await counting.store.load("hoard-h"))
    assert fresh.snapshots.counts[f"discarded_{reason}"] == 1
    await fresh.settle()
    again = _fresh(counting)
    await again.load(Hoard, "h")
    assert again.snapshots.counts["used"] == 1, "what was thrown away is made anew"


async def _overwrite(counting: OpenService, snapshot) -> None:
    # Another fingerprint first, since a snapshot only gives way to a newer one or one by other code.
    await counting.store.save_snapshot(dataclasses.replace(snapshot, fingerprint="other"))
    await counting.store.save_snapshot(snapshot)


async def test_a_snapshot_of_an_event_that_the_log_does_not_have_is_thrown_away(counting: OpenService) -> None:
    snapshot = await counting.store.load_snapshot("hoard-h")
    assert snapshot is not None
    from sagakit.snapshots import _checksum
    from tests.support.shop import added

    moved = dataclasses.replace(snapshot, event_id=added().id)
    await _overwrite(counting, dataclasses.replace(moved, checksum=_checksum(moved)))
    fresh = _fresh(counting)
    assert await fresh.load(Hoard, "h") == _full_fold(counting, await counting.store.load("hoard-h"))
    assert fresh.snapshots.counts["discarded_not_of_this_log"] == 1


class Doubled(Aggregate, category="hoard", snapshot_every=10):
    """The same state, folded by other code."""

    items: dict[str, int] = Field(default_factory=dict)

    @handles(Gain)
    def gain(self, command: Gain) -> Event:
        return Gained(item=command.item)

    @applies(Gained)
    def _gained(self, event: Gained) -> None:
        self.items[event.item] = self.items.get(event.item, 0) + 2


class Fewer(Aggregate, category="hoard", snapshot_every=10):
    """A field fewer."""

    @applies(Gained)
    def _gained(self, event: Gained) -> None:
        pass


@pytest.mark.parametrize("other", [Doubled, Fewer])
async def test_other_code_throws_a_snapshot_away(counting: OpenService, other: type[Aggregate]) -> None:
    fresh = _fresh(counting)
    loaded = await fresh.load(other, "h")
    assert loaded == fresh.fold(other, "h", await counting.store.load("hoard-h"))
    assert fresh.snapshots.counts["discarded_other_code"] == 1


class Odd(Aggregate, category="hoard", snapshot_every=10):
    """A state that JSON does not bring back."""

    seen: object = None

    @applies(Gained)
    def _gained(self, event: Gained) -> None:
        self.seen = (event.item,)


async def test_a_state_that_json_does_not_bring_back_is_never_taken(counting: OpenService) -> None:
    fresh = _fresh(counting)
    await fresh.load(Odd, "h")
    await fresh.settle()
    assert fresh.snapshots.counts["not_restorable"] == 1
    snapshot = await counting.store.load_snapshot("hoard-h")
    assert snapshot is not None
    assert snapshot.fingerprint == fingerprint(Hoard, counting.repository.registry)


def test_a_fingerprint_follows_the_fold_and_nothing_else() -> None:
    registry = Registry([Gained], [Gain])
    assert fingerprint(Hoard, registry) == fingerprint(Hoard, Registry([Gained], [Gain]))
    assert len({fingerprint(each, registry) for each in (Hoard, Doubled, Fewer, Odd)}) == 4


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    import os
    import subprocess
    import sys

    code = (
        "from tests.integration.test_snapshots import *; print(fingerprint(Hoard, Registry([Gained], [Gain])))\n"
        "from worker.services import SERVICES; from sagakit.service import ServiceMap\n"
        "for s in SERVICES:\n  for a in s.aggregates: print(fingerprint(a, ServiceMap(SERVICES).registry))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
