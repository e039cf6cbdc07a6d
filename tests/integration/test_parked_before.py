"""What an older release had parked is found again by this one: its state, its producer, its order."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sagakit.service import Service, ServiceMap
from sagakit.settings import load_settings
from sagakit.sql import parking
from sagakit.system import System
from tests.fixtures.make_first_release import FIRST_RELEASE
from tests.support.deliveries import events
from tests.support.shop import Counter

SERVICES = ServiceMap([Service("parcels", aggregates=(Counter,))])


async def test_parked_rows_of_the_first_release_keep_their_order(tmp_path: Path) -> None:
    shutil.copy(FIRST_RELEASE, tmp_path / "parcels.db")
    first, second = events("counter-a", 2)
    with closing(sqlite3.connect(tmp_path / "parcels.db")) as file:
        for event, reason in ((first, "ValueError: poison"), (second, "waits behind an earlier event of its stream")):
            values = (str(event.id), event.stream, event.version, json.dumps(event.as_json()), reason)
            file.execute("insert into sagakit_parked values ('c', ?, ?, ?, ?, ?, '2026-01-01 00:00:00.000000')", values)
        file.commit()
    async with System(load_settings(data=tmp_path), SERVICES) as system:
        opened = await system.open("parcels")
        async with opened.tables.transaction() as session:
            row = await session.get(parking.ParkedRow, ("c", str(first.id)))
            assert (row.state, row.producer, parking.event_of(row.message)) == ("parked", "counting", first)
            await parking.release(session, row)
        async with opened.tables.transaction() as session:
            (due,) = await parking.due_heads(session, "c", 1e12)
    assert (due.version, due.state, due.producer) == (2, "retrying", "counting")
