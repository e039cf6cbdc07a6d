"""Draws a saga from what its rehearsals showed: steps, undos, pivot and waits, in Mermaid. There is no second definition of it.

An arrow stands for two things that were seen one after the other in some scenario; it carries the faults that led there where
it leads away from the way on which all goes well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from sagakit.errors import InvalidInput
from sagakit.temporal.faults import Fault
from sagakit.temporal.played import Played
from sagakit.temporal.rehearsal import Rehearsal
from sagakit.temporal.stage import Stage
from sagakit.temporal.walk import Scenario

# The others lead along the same ways: a drawing that named them all could not be read.
DRAWN: tuple[Fault, ...] = ("refused", "crash", "late", "silent", "undo refused", "cancelled")
_SHAPES = {"pivot": ('{{"', '"}}'), "wait": ('>"', '"]'), "undo": ('["', '"]'), "end": ('(["', '"])')}
_CLASSES = (
    "    classDef compensable fill:#e8f1fb,stroke:#3b6ea5",
    "    classDef pivot fill:#fde9c9,stroke:#b5761b",
    "    classDef retriable fill:#e6f4e6,stroke:#3f8a3f",
    "    classDef readonly fill:#f4f4f4,stroke:#888888",
    "    classDef undo fill:#fbe8e8,stroke:#a53b3b,stroke-dasharray:4 3",
    "    classDef wait fill:#fffbe6,stroke:#a58f3b",
    "    classDef end_ fill:#ffffff,stroke:#333333",
)


@dataclass(frozen=True)
class Node:
    """A box: its kind, and what it says. Two that are equal are the same box."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """Name it as Mermaid allows."""
        return f"{self.kind.replace('-', '')}_" + "".join(c if c.isalnum() else "_" for c in self.text)

    def drawn(self) -> str:
        """Draw it."""
        before, after = _SHAPES.get(self.kind, ('["', '"]'))
        style = "end_" if self.kind == "end" else self.kind.replace("-", "")
        return f"    {self.name}{before}{self.text.replace(chr(34), chr(39))}{after}:::{style}"


@dataclass
class Diagram:
    """The union of what was seen."""

    start: str
    _nodes: dict[Node, None] = field(default_factory=dict)
    _way: dict[Node, None] = field(default_factory=dict)
    _well: dict[tuple[Node, Node], None] = field(default_factory=dict)
    _faulty: dict[tuple[Node, Node], set[str]] = field(default_factory=dict)

    def add(self, played: Played, fault: str | None = None) -> None:
        """Add a run; the first has to be the one on which all goes well."""
        ranks = [(Node("end", self.start),), *_ranks(played), (Node("end", played.status),)]
        if fault is None:
            self._way |= {node: None for rank in ranks for node in rank}
        for here, there in pairwise(ranks):
            for one in here:
                for other in there:
                    self._nodes |= {one: None, other: None}
                    if fault is None:
                        self._well[one, other] = None
                    elif (one, other) not in self._well:
                        self._faulty.setdefault((one, other), set()).add(fault)

    def mermaid(self) -> str:
        """Write it down, the same for the same runs; in which order they were, matters for the first one only."""
        beside = sorted((node for node in self._nodes if node not in self._way), key=lambda node: (node.kind, node.text))
        lines = ["flowchart TD", *(node.drawn() for node in (*self._way, *beside))]
        lines += [f"    {one.name} --> {other.name}" for one, other in self._well]
        for (one, other), faults in sorted(self._faulty.items(), key=lambda edge: (edge[0][0].name, edge[0][1].name)):
            label = f"|{', '.join(sorted(faults))}|" if one in self._way and other not in self._way else ""
            lines.append(f"    {one.name} -.->{label} {other.name}")
        used = {line.rsplit(":::", 1)[1] for line in lines if ":::" in line}
        return "\n".join([*lines, *(line for line in _CLASSES if line.split()[1] in used)]) + "\n"


def diagram_of(start: str, well: Played, scenarios: Iterable[Scenario]) -> str:
    """Draw a saga that begins with ``start`` from the run on which all went well, and from all its failures."""
    diagram = Diagram(start)
    diagram.add(well)
    for scenario in scenarios:
        if scenario.fault in DRAWN:
            diagram.add(scenario.played, scenario.fault)
    return diagram.mermaid()


async def drawn(stage: Stage, *rehearsals: Rehearsal) -> str:
    """Rehearse a saga, and draw what was seen; the first of several rehearsals of it shows the way on which all goes well."""
    first = rehearsals[0]
    well = await stage.play(first.saga, first.event, told=first.told, answers=first.answers)
    scenarios = [scenario for rehearsal in rehearsals for scenario in await stage.rehearse(rehearsal, DRAWN, _quietly)]
    return diagram_of(first.event.event_name, well, scenarios)


def _quietly(_: str) -> None:
    """Say nothing: the drawing alone is written."""


def in_document(text: str, name: str, diagram: str) -> str:
    """Put a diagram between its markers in a Markdown document. Raises `InvalidInput` when they are not there."""
    begin, end = f"<!-- diagram of {name}, drawn by `sagas diagram` -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise InvalidInput(f"the document has no line {begin} with {end} behind it")
    return f"{before}{begin}\n```mermaid\n{diagram}```\n{end}{rest.partition(end)[2]}"


def _ranks(played: Played) -> Iterator[tuple[Node, ...]]:
    """Put a run in order: what went side by side shares a place; undos stand behind the step that failed."""
    concluding = _conclusions(played)
    waits = _gathered(played.waited)
    yield from _waits(waits, 0)
    undone = False
    for group, members in groupby(
        played.steps, key=lambda step: (step["group"] or f"alone {step['number']}", step["number"] in concluding)
    ):
        steps = list(members)
        if group[1] and not undone:
            yield from _undos(played)
            undone = True
        yield tuple(_step(step) for step in steps)
        yield from _waits(waits, steps[-1]["number"])
    if not undone:  # of a saga that completed: what it went on without
        yield from _undos(played)


def _gathered(waited: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    """Gather what was waited for by the number of steps before it, each once."""
    found: dict[int, list[str]] = {}
    for after, what in waited:
        if what not in found.setdefault(after, []):
            found[after].append(what)
    return found


def _conclusions(played: Played) -> set[int]:
    """Find the steps by which a compensated saga concluded: those behind its last step that is not retriable."""
    if played.status != "compensated":
        return set()
    last = max((step["number"] for step in played.steps if step["kind"] != "retriable"), default=0)
    return {step["number"] for step in played.steps if step["number"] > last}


def _step(step: dict[str, object]) -> Node:
    kind = str(step["kind"])
    return Node(kind, f"{step['name']}{' (pivot)' if kind == 'pivot' else ''}")


def _waits(waits: dict[int, list[str]], after: int) -> Iterator[tuple[Node, ...]]:
    for what in waits.get(after, ()):
        yield (Node("wait", f"waits for {what.replace('`', '')}"),)


def _undos(played: Played) -> Iterator[tuple[Node, ...]]:
    groups = {str(step["number"]): step["group"] or f"alone {step['number']}" for step in played.steps}
    seen: dict[tuple[object, str], None] = {}
    for call in played.calls:
        if call.is_undo:
            number = call.key.removeprefix(f"{played.workflow_id}/").partition("/")[0]
            seen[groups.get(number, number), call.command] = None
    for _, members in groupby(seen, key=lambda undo: undo[0]):
        yield tuple(Node("undo", command) for _, command in sorted(members, key=str))
