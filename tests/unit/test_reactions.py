"""What a reaction is, what a list of services refuses, and how its tests are written; no server."""

from __future__ import annotations

from typing import Any

import pytest

from sagakit import Command, ForeignService, RecordedEvent, Service, reaction
from sagakit.contracts import contract_of
from sagakit.errors import InvalidInput, UnknownMessage
from sagakit.hops import HopLimit
from sagakit.messages import Metadata
from sagakit.reach import Reach
from sagakit.service import ServiceMap
from sagakit.testing import ImpureReaction, given_event
from tests.support.command_line import run_command
from tests.support.echoes import (
    CIRCLE,
    HILLS,
    LISTENERS,
    VALLEYS,
    WAREHOUSE,
    Answer,
    Hill,
    ParcelPacked,
    Shouted,
    Valley,
    answer_back,
    answer_the_parcel,
)


def test_the_kit_shows_what_follows() -> None:
    given_event(ParcelPacked(parcel="p", grams=500)).when(answer_the_parcel).then(
        Answer(valley="p"), Answer(valley="p", words=500)
    )
    given_event(ParcelPacked(parcel="p", grams=0)).when(answer_the_parcel).then()
    with pytest.raises(AssertionError, match="answer_back led to"):
        given_event(Shouted(hill="h")).when(answer_back).then()


def test_the_kit_hands_the_envelope_over_and_notices_impurity() -> None:
    @reaction(Shouted)
    def by_stream(event: Shouted, recorded: RecordedEvent) -> Command:
        return Answer(valley=f"{recorded.service} {recorded.stream} {recorded.metadata.hops}")

    given_event(Shouted(hill="h"), stream="hill-h", service="hills", hops=3).when(by_stream).then(Answer(valley="hills hill-h 3"))
    count = iter(range(10))

    @reaction(Shouted)
    def counting(event: Shouted, recorded: RecordedEvent) -> Command:
        return Answer(valley=str(next(count)))

    with pytest.raises(ImpureReaction, match="counting answers the same event"):
        given_event(Shouted(hill="h")).when(counting)


def test_a_reaction_is_a_plain_function() -> None:
    async def later(event: Shouted, recorded: RecordedEvent) -> Any: ...

    with pytest.raises(InvalidInput, match="later is asynchronous"):
        reaction(Shouted)(later)
    with pytest.raises(InvalidInput, match="letters, digits"):
        reaction(Shouted, name="a b")(lambda *_: None)
    with pytest.raises(InvalidInput, match="returned str, which is no command"):
        given_event(Shouted(hill="h")).when(reaction(Shouted, name="x")(lambda *_: "y"))  # type: ignore[arg-type, return-value]


def test_a_command_of_another_service_is_refused_at_start() -> None:
    with pytest.raises(InvalidInput, match="answer_back of service hills sends answer, which service valleys handles"):
        ServiceMap([Service("hills", aggregates=(Hill,), reactions=(answer_back,)), Service("valleys", aggregates=(Valley,))])
    with pytest.raises(InvalidInput, match="sends answer, which nobody handles"):
        ServiceMap([Service("hills", aggregates=(Hill,), reactions=(answer_back,))])


def test_what_only_the_annotation_names_is_seen_too() -> None:
    made = {"answer": Answer}

    @reaction(Shouted)
    def hidden(event: Shouted, recorded: RecordedEvent) -> Answer | None:
        return made["answer"](valley="v")

    with pytest.raises(InvalidInput, match="sends answer"):
        ServiceMap([Service("hills", aggregates=(Hill,), reactions=(hidden,))])


def test_other_mistakes_in_the_list_are_refused() -> None:
    with pytest.raises(InvalidInput, match="two reactions of service valleys share a name"):
        ServiceMap([HILLS, Service("valleys", aggregates=(Valley,), reactions=(answer_back, answer_back))])
    with pytest.raises(UnknownMessage, match="no event called"):
        ServiceMap([LISTENERS])
    with pytest.raises(InvalidInput, match="two services share a name"):
        ServiceMap([HILLS, VALLEYS, ForeignService("hills")])
    with pytest.raises(InvalidInput, match="hills and warehouse"):
        ServiceMap([HILLS, VALLEYS, ForeignService("warehouse", events=(Shouted,))])


def test_subscriptions_name_the_reaction_and_the_producer() -> None:
    (subscription,) = ServiceMap([WAREHOUSE, LISTENERS]).subscriptions()
    assert (subscription.consumer, subscription.producer) == ("listeners.reaction.answer_the_parcel", "warehouse")
    assert subscription.event_types == {"parcel.packed"}


def test_a_foreign_service_has_no_log_here_and_its_events_are_locked(tmp_path: Any) -> None:
    services = ServiceMap([WAREHOUSE, LISTENERS])
    assert services.producer_of(ParcelPacked) is WAREHOUSE
    assert services.with_a_log() == ["listeners"]
    with pytest.raises(InvalidInput, match="warehouse is foreign"):
        services.with_a_log("warehouse")
    assert contract_of(services)["events"]["parcel.packed"]["1"]["service"] == "warehouse"
    assert run_command(services, "--data", str(tmp_path), "events", "--json") == (0, "[]\n")


def test_a_change_names_the_reactions_it_reaches() -> None:
    reach = Reach(ServiceMap([HILLS, VALLEYS]))
    assert "reaction answer_back (valleys)" in reach.of_event("hill.shouted", 1, "")
    assert "reaction answer_back (valleys)" in reach.of_command("answer", "")
    assert "reaction shout_again (hills)" not in reach.of_command("answer", "")


def test_the_circle_is_named_d18() -> None:
    ring = ("hill.shouted", "reaction answer_back", "valley.answered", "reaction shout_again", "hill.shouted")
    assert HopLimit(ServiceMap([HILLS, VALLEYS]), 16).cycle_through("hill.shouted") == ring
    with_a_saga = HopLimit(ServiceMap(CIRCLE), 16).cycle_through("valley.answered")
    assert with_a_saga == ("valley.answered", "saga shout-once", "hill.shouted", "reaction shout_further", "valley.answered")
    assert HopLimit(ServiceMap([WAREHOUSE, LISTENERS]), 16).cycle_through("parcel.packed") == ()


def test_metadata_without_hops_is_written_as_before() -> None:
    assert "hops" not in Metadata(correlation_id="c").model_dump_json()
    assert "hops" not in Metadata(correlation_id="c").model_dump()
    assert Metadata.model_validate_json(Metadata(correlation_id="c", hops=3).model_dump_json()).hops == 3
