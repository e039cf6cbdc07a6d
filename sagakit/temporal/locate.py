"""Which Temporal server a process talks to: the one that is set, the one running for this data folder, or a new one."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from sagakit.errors import TemporalUnavailable
from sagakit.settings import Settings
from sagakit.temporal import dev_server


@dataclass(frozen=True)
class Location:
    """Where the server and its UI answer; ``started`` is set when this process runs the server and has to end it."""

    address: str
    ui: str
    started: dev_server.DevServer | None = None


def _note(settings: Settings) -> Path:
    return settings.data / "temporal" / "address.json"


def running(settings: Settings) -> Location | None:
    """Find the server that is set, or that another process runs for this data folder."""
    if settings.temporal_address is not None:
        return Location(settings.temporal_address, "")
    try:
        note = json.loads(_note(settings).read_text())
        host, _, port = note["address"].partition(":")
        socket.create_connection((host, int(port)), timeout=1).close()
    except (OSError, ValueError, KeyError):
        return None
    return Location(note["address"], note["ui"])


def require(settings: Settings) -> Location:
    """Find a running server. Raises `TemporalUnavailable` with the remedy."""
    location = running(settings)
    if location is None:
        raise TemporalUnavailable(
            f"no Temporal server runs for the data folder {settings.data}. "
            "Run `start` first, or name a server in TEMPORAL_ADDRESS"
        )
    return location


async def ensure(settings: Settings, progress: dev_server.Progress) -> Location:
    """Find a running server or start one."""
    if (location := running(settings)) is not None:
        return location
    binary = await dev_server.find_binary(settings.temporal_binary, progress)
    folder = settings.data / "temporal"
    server = await dev_server.start(binary, folder, settings.temporal_port, settings.temporal_ui_port)
    _note(settings).write_text(json.dumps({"address": server.address, "ui": server.ui}))
    return Location(server.address, server.ui, server)
