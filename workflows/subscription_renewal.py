"""Renew a subscription month by month, for years: charge, remind, give grace, end it."""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from aggregates.card import CardUnblocked, ChargeCard
    from aggregates.subscription import EndAsked, EndSubscription, GiveGrace, RenewSubscription, SubscriptionBegun
    from sagakit.errors import NotInTime, StepRefused
    from sagakit.saga import Saga

REMINDERS = (timedelta(0), timedelta(days=3), timedelta(days=5))
GRACE = timedelta(days=14)


class Month(BaseModel):
    """Where a chapter of the saga stands: the month to be paid for next, and when."""

    number: int = 1
    due: datetime | None = None


@workflow.defn
class SubscriptionRenewal(
    Saga,
    starts_on=SubscriptionBegun,
    key="subscription",
    expects={CardUnblocked: "subscription"},
    cancels_on={EndAsked: "subscription"},
):
    """A month is a chapter: its charge is the pivot, and what was paid for is never undone."""

    @workflow.run
    async def run(self, begun: SubscriptionBegun, month: Month = Month()) -> None:
        """Take one month through its steps, then begin the chapter of the next."""
        self._id = begun.subscription
        due = month.due or begun.first_due
        await self.sleep_until(due)
        if not (await self._is_charged(begun, month) or await self._is_charged_in_grace(begun, month)):
            await self.step(EndSubscription(subscription=self._id, reason=f"month {month.number} was not paid for"))
            return
        await self.step(RenewSubscription(subscription=self._id, month=month.number))
        if month.number == begun.months:
            await self.step(EndSubscription(subscription=self._id, reason=f"its {begun.months} months are over"))
            return
        await self.new_chapter(Month(number=month.number + 1, due=a_month_after(due)))

    async def _is_charged(self, begun: SubscriptionBegun, month: Month) -> bool:
        for pause in REMINDERS:
            await self.sleep(pause)
            if await self._charge(begun, month):
                return True
        return False

    async def _is_charged_in_grace(self, begun: SubscriptionBegun, month: Month) -> bool:
        await self.step(GiveGrace(subscription=self._id, month=month.number))
        try:
            await self.expect(CardUnblocked, within=GRACE)
        except NotInTime:
            return False
        return await self._charge(begun, month)

    async def _charge(self, begun: SubscriptionBegun, month: Month) -> bool:
        charge = ChargeCard(card=begun.card, subscription=self._id, month=month.number, pence=begun.pence)
        try:
            await self.step(charge, pivot=True)
        except StepRefused:
            return False
        return True

    async def compensated(self, reason: str) -> None:
        """Whoever asks to end it gets to the end of what was paid for."""
        await self.conclude(EndSubscription(subscription=self._id, reason=reason))


def a_month_after(moment: datetime) -> datetime:
    """Say when the next month is due; what is due on the 29th to 31st moves to the 28th, and stays there."""
    first = moment.replace(day=1) + timedelta(days=31)
    return first.replace(day=min(moment.day, 28))
