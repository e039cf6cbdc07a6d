"""A saga that does what the test tells it: steps side by side, waits for events and people, undos that are refused."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, DomainError, Event, Saga, Service, applies, handles
    from sagakit.errors import NotInTime
    from sagakit.messages import Identifier


class Embark(Command, name="embark", id_field="voyage"):
    voyage: Identifier
    plan: str = ""


class Embarked(Event, name="voyage.embarked", version=1):
    voyage: str
    plan: str


class Tell(Command, name="tell", id_field="voyage"):
    voyage: Identifier
    news: str


class Told(Event, name="voyage.told", version=1):
    voyage: str
    news: str


class CallOff(Command, name="call_off", id_field="voyage"):
    voyage: Identifier


class CalledOff(Event, name="voyage.called_off", version=1):
    voyage: str


class Voyage(Aggregate, category="voyage"):
    @handles(Embark)
    def embark(self, command: Embark) -> Event:
        return Embarked(voyage=self.id, plan=command.plan)

    @handles(Tell)
    def tell(self, command: Tell) -> Event:
        return Told(voyage=self.id, news=command.news)

    @handles(CallOff)
    def call_off(self, command: CallOff) -> Event:
        return CalledOff(voyage=self.id)

    @applies(Embarked)
    def _embarked(self, event: Embarked) -> None: ...

    @applies(Told)
    def _told(self, event: Told) -> None: ...

    @applies(CalledOff)
    def _called_off(self, event: CalledOff) -> None: ...


class Book(Command, name="book", id_field="leg"):
    leg: Identifier
    is_refused: bool = False


class Unbook(Command, name="unbook", id_field="leg"):
    leg: Identifier


class Permit(Command, name="permit", id_field="leg"):
    leg: Identifier


class Booked(Event, name="leg.booked", version=1):
    leg: str


class Unbooked(Event, name="leg.unbooked", version=1):
    leg: str


class Permitted(Event, name="leg.permitted", version=1):
    leg: str


class Refused(DomainError):
    pass


class Leg(Aggregate, category="leg"):
    is_permitted: bool = False

    @handles(Book)
    def book(self, command: Book) -> Event:
        if command.is_refused and not self.is_permitted:
            raise Refused(f"no seat on {self.id}")
        return Booked(leg=self.id)

    @handles(Unbook)
    def unbook(self, command: Unbook) -> Event:
        if "sticky" in self.id and not self.is_permitted:
            raise Refused(f"{self.id} cannot be given back")
        return Unbooked(leg=self.id)

    @handles(Permit)
    def permit(self, command: Permit) -> Event:
        return Permitted(leg=self.id)

    @applies(Permitted)
    def _permitted(self, event: Permitted) -> None:
        self.is_permitted = True

    @applies(Booked)
    def _booked(self, event: Booked) -> None: ...

    @applies(Unbooked)
    def _unbooked(self, event: Unbooked) -> None: ...


@workflow.defn
class VoyageSaga(
    Saga,
    starts_on=Embarked,
    key="voyage",
    expects={Told: "voyage"},
    cancels_on={CalledOff: "voyage"},
    deadline=timedelta(days=30),
    patience=timedelta(seconds=2),
):
    @workflow.run
    async def run(self, embarked: Embarked) -> None:
        plan, voyage = set(embarked.plan.split()), embarked.voyage

        def leg(name: str) -> tuple[Book, Unbook]:
            full = f"{voyage}-{name}"
            return Book(leg=full, is_refused=f"refuse:{name}" in plan), Unbook(leg=full)

        names = ["sticky-a"] if "sticky" in plan else ["a"]
        book, unbook = leg(names[0])
        await self.step(book, undo=unbook)
        if "together" in plan:
            kind = "sticky-" if "sticky-pair" in plan else ""
            pair = (leg(f"{kind}b"), leg(f"{kind}c"))
            await self.together(*(self.step(book, undo=unbook) for book, unbook in pair))
        if "news" in plan:
            told = await self.expect(Told, match=lambda told: told.news != "chatter", within=timedelta(days=14))
            if told.news == "storm":
                raise Refused("a storm")
        if "ask" in plan:
            try:
                answer = await self.ask_person("Sail at night?", ["sail", "stay"], within=timedelta(days=7))
            except NotInTime:
                raise Refused("nobody answered") from None
            if answer.choice == "stay":
                raise Refused("stayed")
        if "unserved" in plan:
            await self.step(Unknown(leg="x"))
        pivots = ["pivot", "pivot-too"] if "pair-pivot" in plan else ["pivot"]
        await self.step([leg(name)[0] for name in pivots], pivot=True)
        if "compensable-behind-pivot" in plan:
            book, unbook = leg("d")
            await self.step(book, undo=unbook)
        await self.step(leg("after")[0])


class Unknown(Command, name="unknown_to_all", id_field="leg"):
    leg: Identifier


VOYAGES = Service("voyages", aggregates=(Voyage,), sagas=(VoyageSaga,))
LEGS = Service("legs", aggregates=(Leg,))
