"""The longer ways of an order and of a return, rehearsed: every failure, and their waits of minutes and days (G4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aggregates.order import CancellationRequested
from sagakit.temporal.diagram import DRAWN, diagram_of
from sagakit.testing import Later, Played, Rehearsal, Scenario, Stage, in_document, rehearsing
from worker.rehearsals import ANSWERED, DELIVERED, LONG_ORDER, LONG_WAYS, SLOWLY
from worker.services import SERVICES
from workflows.order_fulfilment import OrderFulfilment

LONG_WAY, OF_AN_ORDER = LONG_WAYS
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "order-sagas.md"
TAKES_EFFECT = ("crash", "late", "silent")
BEFORE_THE_PIVOT = ("reserve_stock", "request_payment")
CAME_TOO_LATE = ("ship_order", "cancelled")
BEHIND_IT = ("note_dispatch", "capture_payment", "complete_order")


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(SERVICES, temporal_binary, is_prompt=True) as stage:
        yield stage


def _done(played: Played, *, is_undo: bool = False) -> list[str]:
    return [call.command for call in played.calls if call.effect == ("undone" if is_undo else "done")]


async def test_every_failure_of_a_long_order_ends_right_g4(stage: Stage) -> None:
    scenarios = await _walked_and_drawn_as_it_is(stage, LONG_WAY)
    assert {s.command for s in scenarios} == {*BEFORE_THE_PIVOT, "ship_order", *BEHIND_IT}
    for scenario in scenarios:
        played, done = scenario.played, _done(scenario.played)
        if scenario.command in BEHIND_IT or scenario.fault in TAKES_EFFECT or (scenario.command, scenario.fault) == CAME_TOO_LATE:
            assert played.status == "completed", scenario
        elif (scenario.command, scenario.fault) == ("reserve_stock", "refused"):
            assert played.status == "completed", "one line is short, the other is shipped"
            assert "drop_lines" in done
        else:
            assert played.status == "compensated", scenario
        assert ("capture_payment" in done) == ("ship_order" in done) == (played.status == "completed")
        assert ("cancel_order" in done) == (played.status == "compensated")
    print(f"{len(scenarios)} failures of a long order: {Counter(s.played.status for s in scenarios)}")


async def test_every_failure_of_a_return_of_an_order_ends_right_g4(stage: Stage) -> None:
    scenarios = await _walked_and_drawn_as_it_is(stage, OF_AN_ORDER)
    for scenario in scenarios:
        is_refused = (scenario.command, scenario.fault) == ("accept_return", "refused")
        assert scenario.played.status == ("compensated" if is_refused else "completed"), scenario
        assert ("refuse_return" in _done(scenario.played)) == is_refused
        assert ("refund_payment" in _done(scenario.played)) == (not is_refused)


async def _walked_and_drawn_as_it_is(stage: Stage, rehearsal: Rehearsal) -> list[Scenario]:
    """Walk through every failure; what was seen is what the document shows: `make diagrams` renews it."""
    saga, event, told = rehearsal.saga, rehearsal.event, rehearsal.told
    well = await stage.play(saga, event, told=told)
    scenarios = list(await stage.rehearse(rehearsal, DRAWN))
    text = DOCUMENT.read_text()
    assert in_document(text, rehearsal.title, diagram_of(event.event_name, well, scenarios)) == text
    return scenarios


async def test_a_provider_that_takes_20_seconds_is_waited_for(stage: Stage) -> None:
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=SLOWLY)
    assert (played.status, played.unmatched) == ("completed", ())
    since = {step["name"]: datetime.fromisoformat(step["since"]) for step in played.steps}
    assert timedelta(seconds=19) <= since["ship_order"] - since["request_payment"] <= timedelta(seconds=25)
    assert timedelta(days=2, hours=23) <= since["complete_order"] - since["capture_payment"] <= timedelta(days=3, hours=1)


async def test_an_answer_behind_the_30_minutes_and_a_confirmation_behind_the_14_days_come_too_late(stage: Stage) -> None:
    late = await stage.play(OrderFulfilment, LONG_ORDER, told=[Later(timedelta(minutes=31), ANSWERED)])
    assert (late.status, late.reason) == ("compensated", "payment.answered did not come within 0:30:00")
    lost = await stage.play(OrderFulfilment, LONG_ORDER, told=[ANSWERED, Later(timedelta(days=15), DELIVERED)])
    assert lost.status == "completed"
    assert _done(lost)[-2:] == ["open_claim", "complete_order"]
    just = await stage.play(OrderFulfilment, LONG_ORDER, told=[ANSWERED, Later(timedelta(days=13, hours=23), DELIVERED)])
    assert "open_claim" not in _done(just)


async def test_without_a_line_in_stock_nothing_is_paid(stage: Stage) -> None:
    played = await stage.play(OrderFulfilment, LONG_ORDER, faults={1: "refused", 2: "refused", 3: "refused"})
    assert (played.status, _done(played)) == ("compensated", ["cancel_order"])


async def test_a_payment_without_an_answer_is_given_up_after_30_minutes(stage: Stage) -> None:
    played = await stage.play(OrderFulfilment, LONG_ORDER)
    assert (played.status, played.reason) == ("compensated", "payment.answered did not come within 0:30:00")
    assert _done(played, is_undo=True) == ["void_payment", "release_stock", "release_stock"]


async def test_a_declined_payment_says_why(stage: Stage) -> None:
    no = ANSWERED.model_copy(update={"is_authorised": False, "reason": "payment declined: no money"})
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=[no])
    assert (played.status, played.reason) == ("compensated", "payment declined: no money")


async def test_without_a_word_of_the_carrier_an_order_ends_after_14_days_with_a_claim(stage: Stage) -> None:
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=[ANSWERED])
    assert played.status == "completed"
    assert _done(played)[-2:] == ["open_claim", "complete_order"]
    assert next(call.fields["delivery"] for call in played.calls if call.command == "complete_order") == "unconfirmed"


async def test_the_same_news_twice_are_one(stage: Stage) -> None:
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=[ANSWERED, DELIVERED], doubled=True)
    assert (played.status, played.unmatched) == ("completed", ())
    assert next(call.fields["delivery"] for call in played.calls if call.command == "complete_order") == "confirmed"


async def test_a_customer_who_cancels_while_the_provider_thinks_pays_nothing(stage: Stage) -> None:
    wish = CancellationRequested(order_id="8", reason="r")
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=[Later(timedelta(seconds=10), wish), *SLOWLY])
    assert (played.status, played.reason) == ("compensated", "cancelled by order.cancellation_requested")
    assert _done(played, is_undo=True) == ["void_payment", "release_stock", "release_stock"]


async def test_a_wish_that_comes_while_the_delivery_is_awaited_changes_nothing(stage: Stage) -> None:
    wish = CancellationRequested(order_id="8", reason="r")
    played = await stage.play(OrderFulfilment, LONG_ORDER, told=[*SLOWLY, Later(timedelta(days=1), wish)])
    assert (played.status, _done(played, is_undo=True)) == ("completed", [])
