"""Holds what writers noted against what the log says, from outside: neither is the service's own view."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.chaos_writer import Notes
from tests.support.tally import SERVICES, Counted, Tally


async def check(folder: Path, database: str) -> Counter[str]:
    """Check G1 over all notes of a folder; return how many commands had which fate."""
    sent: set[str] = set()
    outcomes: dict[str, tuple[str, int]] = {}
    for path in folder.glob("*.notes"):
        notes = Notes(path)
        notes.close()
        sent |= notes.sent
        outcomes |= notes.outcomes
    async with System(load_settings(data=folder, database=database), SERVICES) as system:
        opened = await system.open("tallies")
        events = [event async for event in read_to_head(opened.store)]
        by_key = {event.metadata.command_key: event for event in events}
        assert len(by_key) == len(events), "one command has its events twice"
        done = {key: version for key, (status, version) in outcomes.items() if status == "done"}
        lost = done.keys() - by_key.keys()
        assert not lost, f"acknowledged and not there: {sorted(lost)[:5]}"
        wrong = [key for key, version in done.items() if by_key[key].version != version]
        assert not wrong, f"acknowledged with another version than is stored: {wrong[:5]}"
        refused = outcomes.keys() - done.keys()
        assert not refused & by_key.keys(), "refused, and there all the same"
        assert by_key.keys() <= sent, "nobody sent this"
        unknown = sent - outcomes.keys()
        for key in unknown & by_key.keys():
            outcome = await opened.store.outcome(str(key))
            assert outcome is not None, "events without their outcome"
        for stream, of_stream in _by_stream(events).items():
            total = 0
            for version, event in enumerate(of_stream, 1):
                (counted,) = SERVICES.registry.decode_all(event)
                assert isinstance(counted, Counted)
                total += counted.amount
                assert (event.version, counted.total) == (version, total), f"{stream}: a hole, a twin, or decided on an old state"
            loaded = await opened.repository.load(Tally, stream.removeprefix("tally-"))
            assert isinstance(loaded, Tally)
            assert (loaded.version, loaded.total) == (len(of_stream), total)
    return Counter([status for status, _ in outcomes.values()] + ["unknown"] * len(unknown))


def _by_stream(events: list[RecordedEvent]) -> dict[str, list[RecordedEvent]]:
    streams: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in events:
        streams[event.stream].append(event)
    return streams
