"""`history` says what led to an event: an event of another service, a command's key, or nothing that can be found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.command_line import run_command
from tests.support.letters import SERVICES, PostLetter, ReturnLetter, StampLetter

MAP = ServiceMap(SERVICES)
NOBODY = "00000000-0000-0000-0000-000000000000"


async def _fill(folder: Path) -> str:
    async with System(load_settings(data=folder, database="sqlite"), MAP) as system:
        await system.send(StampLetter(stamp="s", pence=1), Context())
        (stamped,) = await (await system.open("stamps")).store.load("stamp-s")
        cause = str(stamped.id)
        await system.send(
            PostLetter(letter="a", sender="ann", grams=20), Context(causation_id=cause, actor="saga", correlation_id="t")
        )
        await system.send(ReturnLetter(letter="a", to="bob"), Context(key="k"))
        await system.send(ReturnLetter(letter="a", to="eve"), Context(causation_id=NOBODY))
        await system.send(ReturnLetter(letter="a", to="kim"), Context())
    return cause


def test_what_led_to_each_event(tmp_path: Path) -> None:
    cause = asyncio.run(_fill(tmp_path))
    code, told = run_command(MAP, "--data", str(tmp_path), "history", "letter", "a", "--json")
    assert code == 0
    assert [event["cause"] for event in json.loads(told)] == [
        {"id": cause, "kind": "event", "service": "stamps", "stream": "stamp-s", "version": 1, "type": "letter.stamped"},
        {"id": "k", "kind": "command key"},
        {"id": NOBODY, "kind": "not found"},
        {"id": None, "kind": "none"},
    ]
    assert [event["version"] for event in json.loads(told)] == [1, 2, 3, 4]
    code, told = run_command(MAP, "--data", str(tmp_path), "history", "letter", "a")
    assert code == 0
    assert "\\n" not in told
