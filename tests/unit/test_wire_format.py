"""What an event looks like on the wire, and that anything else is refused by name (S10 to S12, S18)."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aio_pika import DeliveryMode, Message
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.header import ContentHeader

from sagakit.asyncapi import HEADERS
from sagakit.errors import InvalidInput, UnreadableEvent
from sagakit.messages import Metadata, RecordedEvent
from sagakit.rabbitmq.json_text import MAX_DEPTH, MAX_DIGITS
from sagakit.rabbitmq.messages import MAX_BODY_BYTES, MAX_HEADER_LENGTH, MAX_TRACESTATE_LENGTH, from_message, to_message
from tests.support.incoming import delivered, incoming, loose
from tests.support.shop import SERVICES

ID = UUID("01890000-0000-7000-8000-000000000001")
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-03"
METADATA = Metadata(
    correlation_id="c", causation_id="order-fulfilment/o/1", command="add", command_key="k", actor="kim", traceparent=TRACEPARENT
)


def _event(metadata_text: str = METADATA.model_dump_json(), **fields: Any) -> RecordedEvent:
    standard: dict[str, Any] = {
        "service": "counting", "position": 7, "stream": "counter-a", "version": 3, "id": ID, "type": "counter.added",
        "schema_version": 1, "data": '{"amount":1}', "recorded_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
    }  # fmt: skip
    return RecordedEvent(**standard | fields, metadata_text=metadata_text)


def _foreign(body: bytes = b'{"amount":1}', properties: dict[str, Any] | None = None, **changed: Any) -> Any:
    """The least that a producer has to send, changed: a header set to None is left out; a dot stands for the colon."""
    headers: dict[str, Any] = {
        "cloudEvents:specversion": "1.0", "cloudEvents:id": str(ID), "cloudEvents:type": "counter.added",
        "cloudEvents:source": "/counting", "cloudEvents:time": "2026-01-31T12:00:00Z", "stream": "counter-a", "version": 3,
    }  # fmt: skip
    headers |= {name.replace("cloudEvents_", "cloudEvents:"): value for name, value in changed.items()}
    headers = {name: value for name, value in headers.items() if value is not None}
    return loose(body, headers, **properties or {})


def test_an_event_in_every_detail() -> None:
    message = to_message(_event())
    assert message.headers == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(ID),
        "cloudEvents:type": "counter.added",
        "cloudEvents:source": "/counting",
        "cloudEvents:subject": "counter-a",
        "cloudEvents:time": "2026-01-31T12:00:00+00:00",
        "service": "counting",
        "stream": "counter-a",
        "version": 3,
        "position": 7,
        "schema_version": 1,
        "correlation_id": "c",
        "causation_id": "order-fulfilment/o/1",
        "traceparent": TRACEPARENT,
        "metadata": '{"command":"add","command_key":"k","actor":"kim"}',
    }
    assert (message.body, message.content_type, message.type) == (b'{"amount":1}', "application/json", "counter.added")
    assert (message.message_id, message.correlation_id, message.delivery_mode) == (str(ID), "c", DeliveryMode.PERSISTENT)


def test_the_document_lists_every_header_and_limit() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/messages.md").read_text()
    rows = {
        line.split("`")[1]: line.split("|") for line in document.splitlines() if line.startswith("| `") and line.count("|") == 6
    }
    assert rows.keys() == HEADERS["properties"].keys()
    assert set(to_message(_event()).headers) <= rows.keys()
    assert {name for name, row in rows.items() if "**must**" in row[4]} == {*HEADERS["required"], "cloudEvents:source"}
    assert {name for name, row in rows.items() if row[2].strip() == "integer"} == {"version", "position", "schema_version"}
    for limit in (
        "1 MiB",
        str(MAX_HEADER_LENGTH),
        str(MAX_TRACESTATE_LENGTH),
        f"deeper than {MAX_DEPTH}",
        f"{MAX_DIGITS} digits",
    ):
        assert limit in document


@pytest.mark.parametrize(
    "event",
    [
        _event(),
        _event(Metadata(correlation_id="c").model_dump_json()),
        _event(Metadata(correlation_id="add/" + "\U00010000" * 200).model_dump_json(), stream="counter-" + "\U00010000" * 200),
        _event(data='{"text":"é \\" \\\\ \\n"}', version=2**63 - 1, position=2**63 - 1),
        _event(recorded_at=datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    ],
    ids=["full", "bare", "long names", "text", "offset"],
)
def test_what_is_read_is_what_was_written(event: RecordedEvent) -> None:
    read = from_message(incoming(to_message(event)))
    assert read == event
    assert read.metadata == event.metadata


def test_metadata_of_a_newer_release_travel_in_the_header_metadata() -> None:
    text = json.dumps(json.loads(METADATA.model_dump_json()) | {"hops_of_tomorrow": 3})
    message = to_message(_event(text))
    assert json.loads(str(message.headers["metadata"]))["hops_of_tomorrow"] == 3
    assert from_message(incoming(message)).metadata == METADATA


def test_a_producer_that_is_not_sagakit_needs_cloud_events_stream_and_version_alone() -> None:
    event = from_message(_foreign())
    bare = Metadata(correlation_id=str(ID))
    assert event == _event(bare.model_dump_json(), position=0, schema_version=1)
    assert event.metadata == bare


def test_a_producer_may_say_more() -> None:
    event = from_message(
        _foreign(schema_version=2, correlation_id="c", causation_id="d", traceparent=TRACEPARENT, service="counting", other="x")
    )
    assert event.schema_version == 2
    assert event.metadata == Metadata(correlation_id="c", causation_id="d", traceparent=TRACEPARENT)
    assert from_message(_foreign(properties={"correlation_id": "p"})).metadata.correlation_id == "p"


def test_both_prefixes_of_cloud_events_are_read() -> None:
    message = _foreign()
    message.headers = {name.replace("cloudEvents:", "cloudEvents_"): value for name, value in message.headers.items()}
    assert from_message(message) == from_message(_foreign())


@pytest.mark.parametrize(
    "traceparent",
    ["", "x" * 2**20, TRACEPARENT + "-x", TRACEPARENT.upper(), f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01",
     f"ff-{'a' * 32}-{'b' * 16}-01", 7, b"\xff", {}, TRACEPARENT + "\n", TRACEPARENT.replace("a", "\u0661")],
)  # fmt: skip
def test_trace_context_that_is_wrong_costs_no_event_s18(traceparent: Any) -> None:
    event = from_message(_foreign(traceparent=traceparent, tracestate="a=1"))
    assert event.metadata.traceparent is None
    assert "tracestate" not in event.metadata_text


@pytest.mark.parametrize("tracestate", ["a=1,b=2", "x" * 512])
def test_tracestate_is_kept(tracestate: str) -> None:
    event = from_message(_foreign(traceparent=TRACEPARENT, tracestate=tracestate))
    assert json.loads(event.metadata_text)["tracestate"] == tracestate
    assert to_message(event).headers["tracestate"] == tracestate


@pytest.mark.parametrize("tracestate", ["x" * 513, "x" * 2**20, "é", "", 7])
def test_tracestate_is_bounded_s18(tracestate: Any) -> None:
    event = from_message(_foreign(traceparent=TRACEPARENT, tracestate=tracestate))
    assert event.metadata.traceparent == TRACEPARENT
    assert event == from_message(_foreign(traceparent=TRACEPARENT))


def _wide(count: int) -> bytes:
    return b'{"a":[' + b"{}," * count + b"1]}"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe{", "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"a":1} {}', "not JSON"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e400}', "too large"),
        (b'{"a":1,"a":2}', "two values under one name"),
        (b'{"b":{"a":1,"\\u0061":2}}', "two values under one name"),
        (b'{"a":"\\ud800"}', "malformed"),
        (b'{"a":' + b"9" * 101 + b"}", "more than 100 digits"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
        (b'{"a":"' + b'\\"[' * 100_000, "not JSON"),
        (b'"' + b'\\"[' * 100_000 + b"\\", "not JSON"),
        (_wide(300_000) + b",", "not JSON"),
        (b"x" * (MAX_BODY_BYTES + 1), "over the limit"),
    ],
)
def test_a_body_that_is_refused_s11(body: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        from_message(_foreign(body))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "body",
    [_wide(300_000), b'{"a":' * 31 + b"{}" + b"}" * 31, b'{"a":"' + b"[" * 100 + b'\\"{{"}', b'{"a":"\\\\ud800"}', b' {"a":"\\ud83d\\ude00"} '],
    ids=["wide", "deep enough", "brackets in text", "an escaped backslash", "a whole pair"],
)  # fmt: skip
def test_a_body_that_only_looks_dangerous(body: bytes) -> None:
    assert from_message(_foreign(body)).data == body.decode()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stream": None}, "without the header stream"),
        ({"version": None}, "without the header version"),
        ({"cloudEvents_id": None}, "without the header cloudEvents:id"),
        ({"cloudEvents_type": None}, "without the header cloudEvents:type"),
        ({"cloudEvents_source": None}, "without the header service or cloudEvents:source"),
        ({"cloudEvents_time": None}, "without the header cloudEvents:time"),
        ({"cloudEvents_specversion": None}, "cloudEvents:specversion"),
        ({"cloudEvents_specversion": "0.3"}, "cloudEvents:specversion"),
        ({"cloudEvents_id": "7"}, "must be a UUID"),
        ({"cloudEvents_source": "/a b"}, "service"),
        ({"service": "os.path"}, "service"),
        ({"cloudEvents_time": "yesterday"}, "cloudEvents:time"),
        ({"cloudEvents_time": "2026-01-31T12:00:00"}, "with its offset"),
        ({"stream": "counter"}, "<category>-<id>"),
        ({"stream": "counter-\x00"}, "control character"),
        ({"stream": 7}, "stream must be text"),
        ({"version": "3"}, "version must be an integer"),
        ({"version": True}, "version must be an integer"),
        ({"version": 0}, "version must be an integer"),
        ({"version": 2**63}, "version must be an integer"),
        ({"position": -1}, "position must be an integer"),
        ({"schema_version": 1.0}, "schema_version must be an integer"),
        ({"correlation_id": "\n"}, "correlation_id must be text"),
        ({"causation_id": {}}, "causation_id must be text"),
        ({"metadata": "[]"}, "metadata must be a JSON object"),
        ({"metadata": "[" * 8000}, "metadata must be a JSON object"),
        ({"metadata": '{"actor":7}'}, "metadata is wrong at actor"),
        ({"other": "x" * (MAX_HEADER_LENGTH + 1)}, "longer than"),
        ({"properties": {"message_id": str(UUID(int=7))}}, "cloudEvents:id differs"),
        ({"properties": {"type": "counter.noted"}}, "cloudEvents:type differs"),
        ({"properties": {"content_type": "application/cloudevents+json"}}, "content_type"),
        ({"properties": {"content_encoding": "gzip"}}, "content_encoding"),
    ],
)
def test_headers_that_are_refused_name_what_is_wrong(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        from_message(_foreign(**changed))
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["os.system", "__class__", "sagakit.errors:InvalidInput", "builtins.eval", "../../etc/passwd"])
def test_a_forged_type_stays_a_name_that_nobody_knows_s12(name: str) -> None:
    event = from_message(_foreign(cloudEvents_type=name))
    assert event.type == name
    with pytest.raises(UnreadableEvent, match="there is no event called"):
        SERVICES.registry.decode_all(event)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from([*_foreign().headers, *to_message(_event()).headers, "tracestate", "x-death"]) | st.text(max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
)


@given(
    body=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()) | st.text(alphabet='{}[]",:\\u0d8e1').map(str.encode),
    changed=st.dictionaries(_NAMES, _VALUES, max_size=4),
    properties=st.dictionaries(st.sampled_from(["message_id", "type", "correlation_id", "content_type"]), st.text(max_size=9), max_size=2),
)  # fmt: skip
def test_whatever_comes_is_read_or_refused_s11(body: bytes, changed: dict[str, Any], properties: dict[str, Any]) -> None:
    message = _foreign(body, properties)
    message.headers |= changed
    try:
        event = from_message(message)
    except InvalidInput:
        return
    # What was read can be stored, and sent on unchanged.
    event.metadata_text.encode()
    assert event.metadata == Metadata.model_validate_json(event.metadata_text)
    assert from_message(incoming(to_message(event))) == event


@example(flags=0x0100, raw=b"\x00")  # an expiration without a number
@example(flags=0x1000, raw=b"\x07")  # a delivery mode that there is not
@given(flags=st.integers(0, 2**15 - 1).map(lambda flags: flags << 1), raw=st.binary(max_size=300))
def test_whatever_the_properties_are_in_bytes_the_body_is_found_s11(flags: int, raw: bytes) -> None:
    content = ContentHeader()
    content.unmarshal(struct.pack(">HHQH", 60, 0, 2, flags) + raw)
    assert content.body_size == 2
    with pytest.raises(InvalidInput):
        from_message(delivered(content, b"{}"))


def test_a_frame_that_is_cut_short_stays_an_error_of_the_connection() -> None:
    with pytest.raises(struct.error):
        ContentHeader().unmarshal(b"short")


def test_a_message_without_any_header() -> None:
    with pytest.raises(InvalidInput, match="cloudEvents:specversion"):
        from_message(incoming(Message(b"{}")))
