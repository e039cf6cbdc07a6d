"""A saga that lives for years: ten of them in seconds, reminders, grace, and an end that is asked for (G4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from aggregates.card import CardUnblocked
from aggregates.subscription import EndAsked
from sagakit.temporal.diagram import diagram_of
from sagakit.testing import Played, Stage, in_document, rehearsing
from worker.rehearsals import SUBSCRIPTION
from worker.services import RENEWALS
from workflows.subscription_renewal import GRACE, REMINDERS, SubscriptionRenewal

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/subscription-renewal.md"
UNBLOCKED = CardUnblocked(card="k", subscription="s")


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(RENEWALS, temporal_binary, is_prompt=True) as stage:
        yield stage


def _done(played: Played) -> list[str]:
    return [call.command for call in played.calls if call.effect == "done"]


async def _took(stage: Stage, played: Played) -> timedelta:
    runs = [run async for run in stage.client.list_workflows(f"WorkflowId = '{played.workflow_id}'")]
    ended = max(run.close_time for run in runs if run.close_time is not None)
    return ended - min(run.start_time for run in runs)


async def test_ten_years_in_seconds_g4(stage: Stage) -> None:
    played = await stage.play(SubscriptionRenewal, SUBSCRIPTION.model_copy(update={"months": 120}))
    assert played.status == "completed"
    charged = [call.fields["month"] for call in played.calls if (call.command, call.effect) == ("charge_card", "done")]
    renewed = [call.fields["month"] for call in played.calls if (call.command, call.effect) == ("renew_subscription", "done")]
    assert charged == renewed == list(range(1, 121))
    assert _done(played)[-1] == "end_subscription"
    assert len(played.steps) <= 3, "a chapter carries nothing of those before"


async def test_a_declined_charge_is_tried_again_after_reminders_g4(stage: Stage) -> None:
    once = SUBSCRIPTION.model_copy(update={"months": 1})
    played = await stage.play(SubscriptionRenewal, once, faults={1: "refused", 2: "refused"})
    assert (played.status, _done(played)) == ("completed", ["charge_card", "renew_subscription", "end_subscription"])


async def test_what_stays_unpaid_ends_after_its_grace_and_is_renewed_when_paid_in_it_g4(stage: Stage) -> None:
    once, faults = SUBSCRIPTION.model_copy(update={"months": 1}), dict.fromkeys((1, 2, 3), "refused")
    unpaid = await stage.play(SubscriptionRenewal, once, faults=faults)  # type: ignore[arg-type]
    assert (unpaid.status, _done(unpaid)) == ("completed", ["give_grace", "end_subscription"])
    assert await _took(stage, unpaid) >= sum(REMINDERS, GRACE)
    (end,) = [call for call in unpaid.calls if call.command == "end_subscription"]
    assert end.fields["reason"] == "month 1 was not paid for"
    paid = await stage.play(SubscriptionRenewal, once, faults=faults, told=[UNBLOCKED])  # type: ignore[arg-type]
    assert (paid.status, _done(paid)) == ("completed", ["give_grace", "charge_card", "renew_subscription", "end_subscription"])


async def test_an_end_that_is_asked_for_undoes_nothing_that_was_paid_for_g4(stage: Stage) -> None:
    """It may come before the first charge or between any two."""
    long = SUBSCRIPTION.model_copy(update={"months": 120})
    played = await stage.play(SubscriptionRenewal, long, told=[EndAsked(subscription="s")])
    assert played.status == "compensated"
    assert "cancelled by subscription.end_asked" in played.reason
    *paid, last = _done(played)
    assert last == "end_subscription"
    assert paid == ["charge_card", "renew_subscription"] * (len(paid) // 2)


async def test_every_failure_ends_right_and_is_drawn_as_it_is_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(SubscriptionRenewal, SUBSCRIPTION)
    assert {scenario.command for scenario in scenarios} == {"charge_card", "renew_subscription", "end_subscription"}
    assert {scenario.played.status for scenario in scenarios} <= {"completed", "compensated"}
    drawing = diagram_of("subscription.begun", await stage.play(SubscriptionRenewal, SUBSCRIPTION), scenarios)
    text = DOCUMENT.read_text()
    assert in_document(text, "subscription-renewal", drawing) == text
