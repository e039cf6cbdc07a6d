"""Masks what leaves production: the fields that messages declare as personal, and those that are named for one export.

Fail closed: an event that today's code cannot read is not exported, since nobody can tell what in it is personal.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable
from typing import Any

from sagakit.errors import InvalidInput, UnreadableEvent
from sagakit.messages import RecordedEvent, Registry
from sagakit.personal import Path, Pseudonyms, each_leaf, leaves, personal_paths, replaced, spoken, without
from sagakit.ports import FailedCommand
from sagakit.slices import SliceEvent, SliceFailure


class Masking:
    """Puts pseudonyms in, with one key for a whole slice, which nobody keeps."""

    def __init__(self, registry: Registry, names: Collection[str]) -> None:
        """Take the known messages, and names of further fields to mask, at any depth; ``actor`` is one of the metadata."""
        self._registry, self._names = registry, frozenset(names)
        self._mask = Pseudonyms(secrets.token_bytes(32)).of
        self.masked: set[str] = set()
        self._met: set[str] = set()

    @property
    def unmet(self) -> list[str]:
        """The names that no message had."""
        return sorted(self._names - self._met)

    def event(self, number: int, event: RecordedEvent, *, earlier: bool) -> SliceEvent:
        """Make a line of an event. Raises `UnreadableEvent`, and `InvalidInput` when masking makes it unreadable."""
        older = self._values_once_upcast(event)
        stored = json.loads(event.data)
        self._note(event.type, stored, self._paths(event))
        data = replaced(stored, self._paths(event), self._names, self._mask)
        data = each_leaf(data, lambda value: self._mask(value) if value in older and not isinstance(value, bool) else value)
        fields = event.fields() | {"data": data, "number": number, "earlier": earlier}
        fields["metadata"]["actor"] = self._actor(event.metadata.actor)
        masked = SliceEvent.model_validate(fields)
        try:
            if data != stored:
                self._registry.decode_all(masked.recorded())
        except UnreadableEvent as error:
            raise InvalidInput(
                f"{event.type} does not take a pseudonym ({error.why}): widen its field, or mask another"
            ) from None
        return masked

    def failure(self, service: str, failed: FailedCommand, stream: Iterable[RecordedEvent]) -> SliceFailure:
        """Make a line of a failed command; ``stream`` is what its stream held.

        The record holds pseudonyms of its own key. They become those of the slice, so that they agree with the events.
        """
        own = Pseudonyms(bytes.fromhex(failed.mask_key)).of
        command = self._registry.commands.get(failed.command)
        paths = personal_paths(command) if command else frozenset[Path]()
        known: dict[str, Any] = {}
        named = leaves(failed.fields, paths, self._names)
        for event in stream:
            data = json.loads(event.data)
            personal = {*leaves(data, self._paths(event)), *self._values_once_upcast(event)}
            known |= {str(own(value)): self._mask(value) for value in personal}
            named += leaves(data, (), self._names)

        def translated(value: Any) -> Any:
            return known.get(str(value), self._mask(value))

        texts = {text: str(value) for pseudonym, value in known.items() for text in spoken(pseudonym, pseudonym)}
        for value in named:
            texts |= {text: str(translated(value)) for text in spoken(value, value)}
        self._note(failed.command, failed.fields, paths)
        fields = {name: value for name, value in vars(failed).items() if name != "mask_key"} | {
            "service": service,
            "fields": replaced(failed.fields, paths, self._names, translated),
            "text": without(failed.text, texts),
            "traceback": without(failed.traceback, texts),
            "actor": self._actor(failed.actor),
        }
        return SliceFailure.model_validate(fields)

    def _actor(self, actor: str | None) -> Any:
        self._note("metadata", {"actor": actor}, ())
        return self._mask(actor) if "actor" in self._names else actor

    def _paths(self, event: RecordedEvent) -> frozenset[Path]:
        """List the personal fields of an event by all classes of its name, and by those it is read as."""
        ends = self._registry.upcasting.ends((event.type, event.schema_version))
        kinds = [kind for key, kind in self._registry.events.items() if key in ends or key[0] == event.type]
        return frozenset(path for kind in kinds for path in personal_paths(kind))

    def _values_once_upcast(self, event: RecordedEvent) -> set[Any]:
        """Return the personal values of an event in today's form, which an old one may hold under another name."""
        parts = self._registry.decode_all(event)
        if (event.type, event.schema_version) not in self._registry.upcasting.steps:
            return set()
        written = [leaves(part.model_dump(mode="json"), personal_paths(type(part))) for part in parts]
        return {value for values in written for value in values} - {None, ""}

    def _note(self, what: str, value: dict[str, Any], paths: Collection[Path]) -> None:
        self.masked |= {f"{what}: {'.'.join(path)}" for path in paths if leaves(value, [path])}
        for name in self._names:
            if leaves(value, (), [name]):
                self.masked.add(f"{what}: {name}")
                self._met.add(name)
