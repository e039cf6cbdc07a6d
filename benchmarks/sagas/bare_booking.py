"""The other side: the same trip as one writes it on Temporal alone, with a list of compensations."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from benchmarks.sagas.bare_services import Booked, Booking, BookingServices

_ATTEMPT = timedelta(seconds=10)
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=20))


@workflow.defn
class BareTrip:
    """Car and hotel can be given back."""

    @workflow.run
    async def run(self, trip: Booking) -> Booked:
        """Book one after the other; when one fails, give back what was booked."""
        undos = []
        try:
            undos.append(BookingServices.cancel_car)
            await self._do(BookingServices.book_car, trip)
            undos.append(BookingServices.cancel_hotel)
            await self._do(BookingServices.book_hotel, trip)
            return await self._do(BookingServices.book_flight, trip)
        except ActivityError:
            for undo in reversed(undos):
                await self._do(undo, trip)
            raise

    async def _do(self, deed: object, trip: Booking) -> Booked:
        booked: Booked = await workflow.execute_activity_method(  # type: ignore[call-overload]
            deed, trip, start_to_close_timeout=_ATTEMPT, retry_policy=_RETRIES
        )
        return booked


@workflow.defn
class BareWait:
    """An open workflow: it waits for a signal that never comes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._is_told = False

    @workflow.run
    async def run(self, _: Booking) -> None:
        """Wait."""
        await workflow.wait_condition(lambda: self._is_told)

    @workflow.signal
    def tell(self) -> None:
        """End it."""
        self._is_told = True
