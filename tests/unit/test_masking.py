"""Old forms of events are masked too, and what cannot be masked safely is not let out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import StringConstraints

from sagakit import Event, Personal, upcasts
from sagakit.errors import InvalidInput, UnreadableEvent
from sagakit.masking import Masking
from sagakit.messages import Metadata, RecordedEvent, Registry


class Sent(Event, name="parcel.sent", version=2):
    recipient: Annotated[str, Personal()]
    pounds: float


class Signed(Event, name="parcel.signed", version=1):
    initials: Annotated[str, Personal(), StringConstraints(max_length=3)]


@upcasts("parcel.sent", 1)
def to_is_called_recipient(fields: dict[str, Any]) -> dict[str, Any]:
    return {"recipient": fields["to"], "pounds": fields["pounds"]}


REGISTRY = Registry([Sent, Signed], upcasters=[to_is_called_recipient])


def _stored(event_type: str, version: int, data: str) -> RecordedEvent:
    return RecordedEvent(
        id=UUID(int=1), type=event_type, schema_version=version, data=data, metadata_text=Metadata(correlation_id="c", actor="kim").model_dump_json(),
        service="parcels", stream="parcel-1", version=1, position=1, recorded_at=datetime(2010, 12, 1, tzinfo=UTC),
    )  # fmt: skip


def test_a_renamed_field_is_masked_by_its_value_and_agrees_with_the_new_one() -> None:
    masking = Masking(REGISTRY, [])
    old = masking.event(1, _stored("parcel.sent", 1, '{"to": "ann", "pounds": 2.5, "copy": ["ann"]}'), earlier=False)
    new = masking.event(2, _stored("parcel.sent", 2, '{"recipient": "ann", "pounds": 2.5}'), earlier=False)
    assert old.data["to"] == old.data["copy"][0] == new.data["recipient"] != "ann"
    assert old.data["pounds"] == 2.5
    assert (old.metadata.actor, masking.unmet) == ("kim", [])


def test_named_fields_are_masked_and_names_that_are_nowhere_are_known() -> None:
    masking = Masking(REGISTRY, ["pounds", "actor", "ponds"])
    event = masking.event(1, _stored("parcel.sent", 2, '{"recipient": "ann", "pounds": 2.5}'), earlier=False)
    assert event.data["pounds"] != 2.5
    assert event.metadata.actor not in (None, "kim")
    assert masking.unmet == ["ponds"]
    assert masking.masked == {"parcel.sent: recipient", "parcel.sent: pounds", "metadata: actor"}


def test_what_nobody_can_read_or_mask_is_not_let_out() -> None:
    with pytest.raises(UnreadableEvent, match=r"parcel\.lost 1"):
        Masking(REGISTRY, []).event(1, _stored("parcel.lost", 1, "{}"), earlier=False)
    with pytest.raises(InvalidInput, match=r"parcel\.signed does not take a pseudonym"):
        Masking(REGISTRY, []).event(1, _stored("parcel.signed", 1, '{"initials": "abc"}'), earlier=False)
