"""Reads old events in today's form: pure functions, one per event type and version, chained until a class takes over.

What is stored is never rewritten. A chain is checked once, when the list of services is read: it has no cycle, no gap,
and every end of it is an event of the code. Decision: docs/adr/0012-upcasters.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sagakit.errors import InvalidInput

Key = tuple[str, int]
"""A stored name and its schema version, like ``("order.placed", 1)``."""
Fields = dict[str, Any]
Upcasted = tuple[str, int, Fields]
Result = Fields | Upcasted | Sequence[Upcasted]


@dataclass(frozen=True)
class Upcaster:
    """One step on the way to today's form: what it reads, and what it may lead to."""

    source: Key
    into: tuple[Key, ...]
    function: Callable[[Fields], Result]

    def __call__(self, fields: Fields) -> tuple[Upcasted, ...]:
        """Answer the events that a stored one means. Raises `InvalidInput` for one that was not declared, else what it raises."""
        return self.checked(self.function(fields))

    def checked(self, result: Result) -> tuple[Upcasted, ...]:
        """Answer the events that the function returned. Raises `InvalidInput` for one that was not declared."""
        if isinstance(result, dict):
            if len(self.into) != 1:
                raise InvalidInput(f"{self} returned fields alone, but it leads to {_listed(self.into) or 'nothing'}")
            return ((*self.into[0], result),)
        several: tuple[Any, ...] = (result,) if result and isinstance(result[0], str) else tuple(result)
        for name, version, _ in several:
            if (name, version) not in self.into:
                raise InvalidInput(f"{self} returned {name} {version}; declare it: into={[*self.into, (name, version)]}")
        return several

    def __str__(self) -> str:
        """Name it for a message: the stored form, and the function."""
        return f"the upcaster {self.function.__name__} of {_listed([self.source])}"


def upcasts(name: str, version: int, *, into: Sequence[Key] | None = None) -> Callable[[Callable[[Fields], Result]], Upcaster]:
    """Make a pure function from the stored fields the reader of one event type and version; list it in its `Service`.

    Without ``into`` it leads to the same type's next version and returns the new fields. With ``into`` it leads to the
    forms listed: for one it may return the fields alone, for several it returns (name, version, fields) for each event
    that follows, in order. ``into=()`` drops the event: it then returns ().
    """
    if version < 1:
        raise InvalidInput(f"@upcasts({name!r}, {version}): versions begin with 1")
    targets = ((name, version + 1),) if into is None else tuple(into)

    def mark(function: Callable[[Fields], Result]) -> Upcaster:
        return Upcaster((name, version), targets, function)

    return mark


class Upcasting:
    """All upcasters of a system, checked against the events of its code."""

    def __init__(self, upcasters: Iterable[Upcaster], known: Collection[Key]) -> None:
        """Take the upcasters and the forms that have a class. Raises `InvalidInput` for a cycle, a gap or a dead end."""
        self.steps: dict[Key, Upcaster] = {}
        for upcaster in upcasters:
            other = self.steps.setdefault(upcaster.source, upcaster)
            if other is not upcaster:
                raise InvalidInput(f"two upcasters read {_listed([upcaster.source])}: {other.function.__name__} and {upcaster}")
        self._known = set(known)
        for upcaster in self.steps.values():
            self._check(upcaster, (upcaster.source,))
        self._refuse_gaps()

    def ends(self, source: Key) -> frozenset[Key]:
        """List the forms that a stored one is read as: itself without an upcaster, none when it is dropped."""
        step = self.steps.get(source)
        if step is None:
            return frozenset([source])
        return frozenset(end for target in step.into for end in self.ends(target))

    def run(self, source: Key, fields: Fields) -> list[Upcasted]:
        """Follow the chain to its ends, keeping the order of what a step returned."""
        step = self.steps.get(source)
        if step is None:
            return [(*source, fields)]
        result = step.function(fields)
        if isinstance(result, dict) and len(step.into) == 1:
            return self.run(step.into[0], result)  # the usual change: one form into the next
        return [end for name, version, new in step.checked(result) for end in self.run((name, version), new)]

    def _check(self, upcaster: Upcaster, path: tuple[Key, ...]) -> None:
        for target in upcaster.into:
            if target in path:
                raise InvalidInput(f"the upcasters of {' > '.join(_listed([key]) for key in (*path, target))} go in a circle")
            if (step := self.steps.get(target)) is not None:
                self._check(step, (*path, target))
            elif target not in self._known:
                raise InvalidInput(
                    f"{upcaster} leads to {_listed([target])}, which no aggregate applies and no upcaster reads: "
                    "add the class with its applier, or the next upcaster"
                )

    def _refuse_gaps(self) -> None:
        versions: dict[str, set[int]] = {}
        for name, version in self._known | self.steps.keys():
            versions.setdefault(name, set()).add(version)
        for name, found in versions.items():
            missing = set(range(min(found), max(found))) - found
            if missing:
                raise InvalidInput(
                    f"{name} is read in versions {', '.join(map(str, sorted(found)))}, but nothing reads {name} {min(missing)}, "
                    "which stores may hold: add its class or its upcaster"
                )


def _listed(keys: Iterable[Key]) -> str:
    return ", ".join(f"{name} {version}" for name, version in keys)
