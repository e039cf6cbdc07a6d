"""Two services that answer each other for ever, on purpose; a saga in a circle with a service; and a modest reaction."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import (
        Aggregate,
        Command,
        DomainError,
        Event,
        ForeignService,
        RecordedEvent,
        Saga,
        Service,
        applies,
        handles,
        reaction,
    )
    from sagakit.messages import Identifier


class Shout(Command, name="shout", id_field="hill"):
    hill: Identifier


class Shouted(Event, name="hill.shouted", version=1):
    hill: str


class Answer(Command, name="answer", id_field="valley"):
    valley: Identifier
    words: int = 1


class Answered(Event, name="valley.answered", version=1):
    valley: str


class Hoarse(DomainError):
    pass


class Hill(Aggregate, category="hill"):
    @handles(Shout)
    def shout(self, command: Shout) -> Event:
        return Shouted(hill=self.id)

    @applies(Shouted)
    def _shouted(self, event: Shouted) -> None: ...


class Valley(Aggregate, category="valley"):
    @handles(Answer)
    def answer(self, command: Answer) -> Event:
        if command.words > 100:
            raise Hoarse("that is too much")
        return Answered(valley=self.id)

    @applies(Answered)
    def _answered(self, event: Answered) -> None: ...


@reaction(Shouted)
def answer_back(event: Shouted, recorded: RecordedEvent) -> Command:
    return Answer(valley=event.hill)


@reaction(Answered)
def shout_again(event: Answered, recorded: RecordedEvent) -> Command:
    return Shout(hill=event.valley)


HILLS = Service("hills", aggregates=(Hill,), reactions=(shout_again,))
VALLEYS = Service("valleys", aggregates=(Valley,), reactions=(answer_back,))


class ParcelPacked(Event, name="parcel.packed", version=1):
    parcel: str
    grams: int


@reaction(ParcelPacked)
def answer_the_parcel(event: ParcelPacked, recorded: RecordedEvent) -> Sequence[Command] | None:
    """Nothing for an empty one, else two commands, the second of which may be refused."""
    if not event.grams:
        return None
    return [Answer(valley=event.parcel), Answer(valley=event.parcel, words=event.grams)]


WAREHOUSE = ForeignService("warehouse", events=(ParcelPacked,))
LISTENERS = Service("listeners", aggregates=(Valley,), reactions=(answer_the_parcel,))


@workflow.defn
class ShoutOnce(Saga, starts_on=Answered, key="valley"):
    """With `shout_further` a circle of a saga and a service: each round goes to the next valley."""

    @workflow.run
    async def run(self, answered: Answered) -> None:
        await self.step(Shout(hill=answered.valley))


@reaction(Shouted)
def shout_further(event: Shouted, recorded: RecordedEvent) -> Command:
    return Answer(valley=f"{event.hill}x")


CIRCLE = (
    Service("hills", aggregates=(Hill,), sagas=(ShoutOnce,)),
    Service("valleys", aggregates=(Valley,), reactions=(shout_further,)),
)
