"""A saga that asks for everything that is served on a service's queue: commands, a call to the outside, a decision to record."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, DomainError, Event, Saga, Service, applies, handles
    from sagakit.messages import Identifier


class Cast(Command, name="cast_bell", id_field="bell"):
    bell: Identifier


class Hang(Command, name="hang_bell", id_field="bell"):
    bell: Identifier


class Tune(Command, name="tune_bell", id_field="bell"):
    bell: Identifier


class BellCast(Event, name="bell.cast", version=1):
    bell: str


class BellHung(Event, name="bell.hung", version=1):
    bell: str


class OutOfTune(DomainError):
    pass


class Bell(Aggregate, category="bell"):
    @handles(Cast)
    def cast(self, command: Cast) -> Event:
        return BellCast(bell=self.id)

    @handles(Hang)
    def hang(self, command: Hang) -> Event:
        return BellHung(bell=self.id)

    @handles(Tune)
    def tune(self, command: Tune) -> Event:
        raise OutOfTune(self.id)

    @applies(BellCast)
    def _cast(self, event: BellCast) -> None: ...

    @applies(BellHung)
    def _hung(self, event: BellHung) -> None: ...


@activity.defn
async def strike(bell: str) -> str:
    return f"{bell}: dong"


@workflow.defn
class BellSaga(Saga, starts_on=BellCast, key="bell"):
    @workflow.run
    async def run(self, cast: BellCast) -> None:
        await workflow.execute_activity("strike", cast.bell, start_to_close_timeout=timedelta(seconds=10))
        await self.step(Hang(bell=cast.bell), pivot=True)
        await self.step(Tune(bell=cast.bell))


BELLS = Service("bells", aggregates=(Bell,), sagas=(BellSaga,), activities=(strike,))
