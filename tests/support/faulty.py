"""A saga over three counters whose steps can be made to fail, with a pivot and a retriable step behind it."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, DomainError, Event, Saga, Service, applies, handles
    from sagakit.messages import Identifier


class Begin(Command, name="begin", id_field="run"):
    run: Identifier
    fail: str = ""


class Begun(Event, name="run.begun", version=1):
    run: str
    fail: str


class Do(Command, name="do", id_field="part"):
    part: Identifier
    fail: str = ""


class Undo(Command, name="undo", id_field="part"):
    part: Identifier


class Done(Event, name="part.done", version=1):
    part: str


class Undone(Event, name="part.undone", version=1):
    part: str


class Refused(DomainError):
    pass


class Run(Aggregate, category="run"):
    @handles(Begin)
    def begin(self, command: Begin) -> Event:
        return Begun(run=self.id, fail=command.fail)

    @applies(Begun)
    def _begun(self, event: Begun) -> None:
        pass


class Part(Aggregate, category="part"):
    is_done: bool = False

    @handles(Do)
    def do(self, command: Do) -> Event:
        if command.fail and self.id.endswith(f"-{command.fail}"):
            raise Refused(f"part {self.id} says no")
        return Done(part=self.id)

    @handles(Undo)
    def undo(self, command: Undo) -> Event:
        return Undone(part=self.id)

    @applies(Done)
    def _done(self, event: Done) -> None:
        self.is_done = True

    @applies(Undone)
    def _undone(self, event: Undone) -> None:
        self.is_done = False


@workflow.defn
class FaultySaga(Saga, starts_on=Begun, key="run"):
    @workflow.run
    async def run(self, begun: Begun) -> None:
        for name in ("one", "two"):
            await self.step(Do(part=f"{begun.run}-{name}", fail=begun.fail), undo=Undo(part=f"{begun.run}-{name}"))
        if begun.fail == "python":
            raise KeyError("a mistake in the saga itself")
        if begun.fail == "no-pivot":
            return
        if begun.fail == "wait":
            await workflow.wait_condition(lambda: False)
        await self.step(Do(part=f"{begun.run}-pivot", fail=begun.fail), pivot=True)
        if begun.fail == "mistake-behind-pivot":
            raise KeyError("a mistake in the saga itself")
        await self.step(Do(part=f"{begun.run}-after", fail=begun.fail))


RUNS = Service("runs", aggregates=(Run,), sagas=(FaultySaga,))
PARTS = Service("parts", aggregates=(Part,))
