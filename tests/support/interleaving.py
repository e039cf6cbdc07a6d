"""Runs sagas step by step in every order in which their steps can fall, over real aggregates in a real log.

Each run has streams of its own and repeats the choices of an earlier one up to a point, then chooses otherwise. A saga is an
async generator: what lies between two yields happens at once. It yields `WAITING` where it cannot go on until another has.
Source: stateless search, Godefroid, Model Checking for Programming Languages using VeriSoft, POPL 1997.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sagakit import Aggregate, Command
from sagakit.errors import NotYet
from sagakit.outcome import CommandOutcome
from sagakit.repository import Context
from sagakit.system import System

WAITING = "waiting"
_numbers = itertools.count()
A = TypeVar("A", bound=Aggregate)


class Deadlock(AssertionError):
    """Every saga waits for another one."""


@dataclass
class World:
    """One run, and how its sagas ended."""

    system: System
    number: int
    ended: dict[str, str] = field(default_factory=dict)

    def id(self, name: str) -> str:
        """Name something of this run."""
        return f"{name}-{self.number}"

    async def send(self, command: Command) -> CommandOutcome:
        return await self.system.send(command, Context())

    async def load(self, aggregate: type[A], name: str) -> A:
        service, _ = self.system.services.owner_of(next(iter(aggregate.command_handlers)))
        loaded = await (await self.system.open(service.name)).repository.load(aggregate, self.id(name))
        assert isinstance(loaded, aggregate)
        return loaded


Play = AsyncGenerator[str, None]
Script = Callable[[World], Play]
Step = tuple[Command, Command | None]


async def saga(world: World, name: str, *steps: Step) -> Play:
    """Take steps one by one, each a command and what undoes it; when one is refused, undo what was done in reverse."""
    undos: list[Command] = []
    for command, undo in steps:
        outcome = None
        while outcome is None:
            try:
                outcome = await world.send(command)
            except NotYet:
                yield WAITING
        yield ""
        if outcome.status == "refused":
            for each in reversed(undos):
                assert (await world.send(each)).status == "done"
                yield ""
            world.ended[name] = f"compensated: {outcome.code}"
            return
        if undo is not None:
            undos.append(undo)
    world.ended[name] = "completed"


async def every_order(system: System, given: Callable[[World], Sequence[Command]], *scripts: Script) -> AsyncIterator[World]:
    """Run the scripts in every order, each time after the given commands; hand out how each run ended."""
    plan: list[int] = []
    while True:
        world = World(system, next(_numbers))
        for command in given(world):
            assert (await world.send(command)).status == "done"
        taken = await _run([script(world) for script in scripts], plan)
        yield world
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        plan = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1]


async def _run(plays: list[Play], plan: Sequence[int]) -> list[tuple[int, int]]:
    """Follow the plan, then always the first that can go on; return each choice, with how many there were."""
    taken: list[tuple[int, int]] = []
    going, waiting = list(plays), list[Play]()
    while going or waiting:
        if not going:
            raise Deadlock(f"{len(waiting)} sagas wait for each other after the choices {taken}")
        choice = plan[len(taken)] if len(taken) < len(plan) else 0
        taken.append((choice, len(going)))
        play = going[choice]
        said = await anext(play, None)
        if said == WAITING:
            going.remove(play)
            waiting.append(play)
            continue
        going = [each for each in plays if each in going or each in waiting]
        waiting = []
        if said is None:
            plays = [each for each in plays if each is not play]
            going.remove(play)
    return taken
