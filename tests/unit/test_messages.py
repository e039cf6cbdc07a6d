from __future__ import annotations

from dataclasses import replace

import pytest

from sagakit import Aggregate, Command, Event, Service
from sagakit.errors import InvalidInput, UnreadableEvent
from sagakit.messages import Registry
from sagakit.service import ServiceMap
from sagakit.trace_context import span_context
from tests.support.shop import COUNTING, Add, Added, Counter, added


def test_a_stored_event_is_decoded_by_its_stored_name() -> None:
    assert Registry([Added]).decode_all(added(3)) == (Added(amount=3),)


def test_fields_of_a_newer_writer_are_ignored_and_unknown_ones_of_a_command_refused() -> None:
    assert Added.model_validate_json('{"amount": 1, "later": 2}') == Added(amount=1)
    with pytest.raises(ValueError, match="later"):
        Add.model_validate_json('{"counter": "a", "amount": 1, "later": 2}')


@pytest.mark.parametrize("name", ["counter.lost", "os.system", "__class__.__init__", "counter.added.more"])
def test_an_unregistered_name_is_never_turned_into_a_class(name: str) -> None:
    with pytest.raises(UnreadableEvent, match="there is no event"):
        Registry([Added]).decode_all(replace(added(), type=name))


def test_names_are_checked_where_they_are_written() -> None:
    with pytest.raises(InvalidInput, match="named like"):
        type("Bad", (Event,), {}, name="NotDotted")
    with pytest.raises(InvalidInput, match="not one of its fields"):
        type("Bad", (Command,), {}, name="bad", id_field="nothing")


def test_two_owners_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="share a name"):
        ServiceMap([COUNTING, COUNTING])
    with pytest.raises(InvalidInput, match="two aggregates"):
        ServiceMap([COUNTING, Service("other", aggregates=(Counter,))])


def test_an_unhandled_command_is_refused() -> None:
    class Empty(Aggregate, category="empty"):
        pass

    with pytest.raises(InvalidInput, match="Empty does not handle add"):
        Empty(id="a").decide(Add(counter="a", amount=1))


@pytest.mark.parametrize("text", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-" + "a" * 5000])
def test_trace_context_from_outside_is_taken_only_when_it_is_well_formed(text: str | None) -> None:
    assert span_context(text) is None
    assert span_context("00-" + "a" * 32 + "-" + "b" * 16 + "-03") is not None
