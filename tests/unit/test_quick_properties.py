"""What is read or written the quick way is what the driver would have, and everything else is left to it (failures S11)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from sagakit.rabbitmq.messages import to_message
from sagakit.rabbitmq.properties import replace_decoding
from sagakit.rabbitmq.quick_properties import fill, written
from tests.support.deliveries import event

replace_decoding()
_driver: Callable[[ContentHeader, bytes], None] = ContentHeader.unmarshal.__wrapped__  # type: ignore[attr-defined]
_SHORT = st.text(max_size=60)
_NAME = st.text(max_size=128).filter(lambda name: len(name.encode()) <= 128)
_TEXTS = ("content_type", "content_encoding", "correlation_id", "message_id", "message_type")
_USUAL = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(_NAME, st.text() | st.integers(-(2**63), 2**63 - 1)),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        **dict.fromkeys(_TEXTS, _SHORT),
    },
)
_UNUSUAL = {
    "reply_to": "somewhere", "expiration": "1000", "user_id": "guest", "app_id": "a",
    "headers": {"x-death": [{"count": 1}]},
}  # fmt: skip


def _bytes(properties: dict[str, Any]) -> bytes:
    return ContentHeader(0, 7, Basic.Properties(**properties)).marshal()


def _read(header: ContentHeader) -> tuple[object, ...]:
    return header.class_id, header.weight, header.body_size, dict(header.properties)


@given(properties=_USUAL)
def test_what_events_have_is_read_as_the_driver_reads_it(properties: dict[str, Any]) -> None:
    data = _bytes(properties)
    quick, slow = ContentHeader(), ContentHeader()
    assert fill(quick, data)
    _driver(slow, data)
    assert _read(quick) == _read(slow)


def test_an_event_of_ours_is_read_the_quick_way() -> None:
    message = to_message(event("counter-a", 300))
    header = ContentHeader()
    assert fill(header, ContentHeader(0, len(message.body), message.properties).marshal())
    assert header.properties.headers == message.headers


@given(properties=_USUAL, place=st.integers(0, 400), change=st.integers(1, 255), cut=st.integers(0, 3))
@example(properties={"headers": {"stream": "s-1"}}, place=15, change=0x40, cut=0)  # a table that is longer than it is
@example(properties={"headers": {"stream": "s-1"}}, place=28, change=0x01, cut=0)  # a text that ends behind its table
def test_nothing_that_the_driver_refuses_or_reads_otherwise_is_read(
    properties: dict[str, Any], place: int, change: int, cut: int
) -> None:
    data = bytearray(_bytes(properties))
    data[place % len(data)] ^= change
    harmed = bytes(data[: len(data) - cut])
    quick, slow = ContentHeader(), ContentHeader()
    if not fill(quick, harmed):
        assert _read(quick) == _read(ContentHeader())
        return
    _driver(slow, harmed)
    assert _read(quick) == _read(slow)


@given(properties=_USUAL)
@example(properties={"headers": {"é" * 64: 1}})  # the longest name
def test_what_events_have_is_written_as_the_driver_writes_it(properties: dict[str, Any]) -> None:
    found, expected = ContentHeader(), ContentHeader()
    data = written(Basic.Properties(**properties), 7)
    assert data is not None
    _driver(found, data)
    _driver(expected, _bytes(properties))
    assert _read(found) == _read(expected)


@pytest.mark.parametrize(
    "properties",
    [
        {"reply_to": "somewhere"},
        {"timestamp": datetime(2026, 1, 31, tzinfo=UTC)},
        {"headers": {"is_late": True}},
        {"headers": {"share": 0.5}},
        {"headers": {"nothing": None}},
        {"headers": {"deep": {"a": 1}}},
        {"headers": {"large": 2**63}},
        {"headers": {"x" * 129: 1}},
        {"headers": {"é" * 65: 1}},
        {"headers": {"x" * 256: 1}},
        {"headers": {"half": "\ud800"}},
        {"headers": {1: "a number for a name"}},
        {"message_id": "x" * 256},
        {"priority": 256},
    ],
    ids=str,
)
def test_what_events_do_not_have_is_left_to_the_driver_to_write(properties: dict[str, Any]) -> None:
    assert written(Basic.Properties(**properties), 7) is None


def test_an_event_of_ours_is_written_the_quick_way() -> None:
    message = to_message(event("counter-a", 300))
    header = ContentHeader()
    _driver(header, written(message.properties, 5) or b"")
    assert (header.body_size, header.properties.headers) == (5, message.headers)
    assert (header.properties.message_id, header.properties.delivery_mode) == (message.message_id, 2)


@pytest.mark.parametrize("name", _UNUSUAL)
def test_what_events_do_not_have_is_left_to_the_driver(name: str) -> None:
    data = _bytes({name: _UNUSUAL[name]})
    header = ContentHeader()
    assert not fill(header, data)
    header.unmarshal(data)
    assert getattr(header.properties, name) == _UNUSUAL[name]
