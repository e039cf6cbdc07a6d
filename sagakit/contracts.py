"""The contract lock: what is stored and sent, as JSON Schema per type and version, compared with what was agreed on.

By induction every stored event fits its locked schema: only a change under which old events still load is accepted in
silence. A retired version stays in the lock for as long as stores may hold it, that is for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sagakit.errors import InvalidInput
from sagakit.reach import Reach
from sagakit.schemas import faults, without_notes
from sagakit.service import ServiceMap

Lock = dict[str, Any]
Verdict = Literal["compatible", "needs an upcaster", "breaking"]
_FORMAT = 1


@dataclass(frozen=True)
class Change:
    """One difference between code and lock: what it means for stored events and running code, and whom it reaches."""

    subject: str
    verdict: Verdict
    detail: str
    reaches: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def contract_of(services: ServiceMap) -> Lock:
    """Write down today's events, commands and upcasters: the same code, the same document."""
    registry = services.registry
    events: dict[str, dict[str, Any]] = {}
    for (name, version), event in registry.events.items():
        if not services.is_recorded_by_a_service(event):
            continue  # sagakit's own, which its releases answer for
        schema = without_notes(event.model_json_schema())
        events.setdefault(name, {})[str(version)] = {"service": services.producer_of(event).name, "schema": schema}
    for (name, version), upcaster in registry.upcasting.steps.items():
        into = [f"{target} {target_version}" for target, target_version in upcaster.into]
        events.setdefault(name, {}).setdefault(str(version), {})["upcast_into"] = into
    commands = {
        name: {
            "service": services.owner_of(command)[0].name,
            "id_field": command.id_field,
            "schema": without_notes(command.model_json_schema()),
        }
        for name, command in registry.commands.items()
    }
    return {"format": _FORMAT, "events": events, "commands": commands}


def merged(locked: Lock | None, today: Lock, accepted: Iterable[dict[str, str]] = ()) -> Lock:
    """Lock today's contract; what was retired keeps its last schema, and what was accepted keeps its reason."""
    old = locked or {"events": {}}
    for name, versions in today["events"].items():
        for version, entry in versions.items():
            if "schema" not in entry and (before := old["events"].get(name, {}).get(version)):
                entry |= {key: before[key] for key in ("service", "schema") if key in before}
    reasons = [*old.get("accepted", []), *accepted]
    return today | ({"accepted": reasons} if reasons else {})


def compare(locked: Lock, services: ServiceMap) -> list[Change]:
    """List every difference, by name; empty when the lock says what the code does."""
    today, reach = contract_of(services), Reach(services)
    changes: list[Change] = []
    for name in sorted(locked["events"].keys() | today["events"].keys()):
        before, now = locked["events"].get(name, {}), today["events"].get(name, {})
        for version in sorted(before.keys() | now.keys(), key=int):
            verdict = _event_verdict(before.get(version), now.get(version), is_known=bool(before))
            if verdict is not None:
                old_service = before.get(version, {}).get("service", "")
                changes.append(Change(f"event {name} {version}", *verdict, reach.of_event(name, int(version), old_service)))
    for name in sorted(locked["commands"].keys() | today["commands"].keys()):
        verdict = _command_verdict(locked["commands"].get(name), today["commands"].get(name))
        if verdict is not None:
            old_service = locked["commands"].get(name, {}).get("service", "")
            changes.append(Change(f"command {name}", *verdict, reach.of_command(name, old_service)))
    return changes


def _event_verdict(before: Lock | None, now: Lock | None, *, is_known: bool) -> tuple[Verdict, str] | None:
    if before is None:
        return "compatible", "a new version" if is_known else "new"
    if now is None:
        return (
            "breaking",
            "nothing reads it any more, and stores may hold it: keep its class, or add an upcaster (into=() drops it)",
        )
    if "upcast_into" in now or "upcast_into" in before:
        return _upcast_verdict(before, now)
    return None if now == before else _schema_verdict(before, now)


def _upcast_verdict(before: Lock, now: Lock) -> tuple[Verdict, str] | None:
    if "upcast_into" not in now:
        return (
            "breaking",
            "its upcaster is gone, and a class took the old name and version: stored ones were read as something newer",
        )
    same_schema = now.get("schema", before.get("schema")) == before.get("schema")
    if same_schema and now["upcast_into"] == before.get("upcast_into"):
        return None
    return "compatible", f"stored ones are read as {', '.join(now['upcast_into']) or 'nothing'}"


def _schema_verdict(before: Lock, now: Lock) -> tuple[Verdict, str]:
    if now["schema"] == before["schema"]:
        return "compatible", f"moved from service {before['service']} to {now['service']}; the stored ones stay where they are"
    if unreadable := faults(before["schema"], now["schema"]):
        return "needs an upcaster", f"stored ones do not load: {'; '.join(unreadable)}. {_REMEDY}"
    if unreadable := faults(_written(now["schema"]), before["schema"]):
        return "needs an upcaster", f"running code of before does not load new ones: {'; '.join(unreadable)}. {_REMEDY}"
    return "compatible", "stored ones load, and running code of before loads new ones"


_REMEDY = "Make it a new version, with an upcaster from this one"


def _command_verdict(before: Lock | None, now: Lock | None) -> tuple[Verdict, str] | None:
    if before is None:
        return "compatible", "new"
    if now is None:
        return "breaking", "nobody handles it any more, and open sagas and callers may still send it"
    if now == before:
        return None
    if now["id_field"] != before["id_field"]:
        return "breaking", f"it goes to the aggregate named by {now['id_field']}, before by {before['id_field']}"
    if refused := faults(before["schema"], now["schema"]):
        return "breaking", f"commands under way are refused: {'; '.join(refused)}. Add a command beside it instead"
    return "compatible", "old senders are understood; deploy the service that handles it before those that send it"


def _written(schema: dict[str, Any]) -> dict[str, Any]:
    """Tell what is written under a schema: every field, those with a default too."""
    parts = {name: _written(part) for name, part in schema.get("$defs", {}).items()}
    return schema | {"required": sorted(schema.get("properties", {}))} | ({"$defs": parts} if parts else {})


def load_lock(path: Path) -> Lock:
    """Read a lock file. Raises `InvalidInput` when it is missing, or is none."""
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"there is no {path}: make it with `contracts lock`, and commit it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} cannot be read: {type(error).__name__}. Restore it from version control") from None
    if not isinstance(lock, dict) or lock.get("format") != _FORMAT or not _has_shape(lock):
        raise InvalidInput(f"{path} is no contract lock of format {_FORMAT}: restore it from version control")
    return lock


def _has_shape(lock: Lock) -> bool:
    events, commands = lock.get("events"), lock.get("commands")
    if not isinstance(events, dict) or not isinstance(commands, dict):
        return False
    entries = [
        (version, entry) for versions in events.values() if isinstance(versions, dict) for version, entry in versions.items()
    ]
    return (
        all(isinstance(versions, dict) for versions in events.values())
        and all(version.isdigit() and isinstance(entry, dict) for version, entry in entries)
        and all("schema" in entry or "upcast_into" in entry for _, entry in entries)
        and all(isinstance(entry, dict) and {"schema", "id_field"} <= entry.keys() for entry in commands.values())
    )


def save_lock(path: Path, lock: Lock) -> None:
    """Write a lock file, sorted and one value a line, so that version control shows what changed."""
    try:
        path.write_text(json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
