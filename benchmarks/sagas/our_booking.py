"""Our side: the trip as a saga, and one that only waits."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from benchmarks.sagas.domain import BookCar, BookFlight, BookHotel, CancelCar, CancelHotel, FlightBooked, TripRequested
    from sagakit.saga import Saga


@workflow.defn
class BookTrip(Saga, starts_on=TripRequested, key="trip"):
    """Car and hotel can be given back; the flight is the point of no return."""

    @workflow.run
    async def run(self, asked: TripRequested) -> None:
        """Book one after the other."""
        trip, traveller = asked.trip, asked.traveller
        await self.step(BookCar(trip=trip, traveller=traveller), undo=CancelCar(trip=trip))
        await self.step(BookHotel(trip=trip, traveller=traveller), undo=CancelHotel(trip=trip))
        await self.step(BookFlight(trip=trip, traveller=traveller), pivot=True)


@workflow.defn
class AwaitTrip(Saga, starts_on=TripRequested, key="trip", expects={FlightBooked: "traveller"}):
    """An open saga: it waits for an event that never comes."""

    @workflow.run
    async def run(self, _: TripRequested) -> None:
        """Wait."""
        await self.expect(FlightBooked)
