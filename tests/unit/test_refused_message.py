"""What is kept of a refused message fits every database, whatever came (failures S11)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sagakit.rabbitmq.messages import RefusedMessage
from tests.support.incoming import loose


def test_the_whole_of_a_small_one() -> None:
    message = loose("grüß\n\x00\x1b[2J".encode(), {"stream": "s", "version": 3, "x-death": [{"count": 1}]}, message_id="m")
    assert RefusedMessage.of(message, "the body is not JSON") == RefusedMessage(
        message_id="m",
        reason="the body is not JSON",
        headers={"stream": "s", "version": "3", "x-death": "(list of 1)"},
        body_excerpt="grüß\n\\u0000\\u001b[2J",
        size=12,
    )


def test_a_large_one_is_cut() -> None:
    refused = RefusedMessage.of(loose(b"\xff" * 2**21, {f"h{n}": "x" * 2**16 for n in range(100)}), "x" * 2**20)
    assert refused.size == 2**21
    assert refused.body_excerpt == "\\xff" * (2**14)
    assert (len(refused.headers), max(map(len, refused.headers.values())), len(refused.reason)) == (64, 1024, 2**16)


def test_a_table_nested_without_end_is_named_only() -> None:
    nested: Any = {}
    for _ in range(100_000):
        nested = {"a": nested}
    assert RefusedMessage.of(loose(b"", {"deep": nested}), "").headers == {"deep": "(dict of 1)"}


@given(
    body=st.binary(),
    headers=st.dictionaries(st.text(), st.none() | st.text() | st.binary() | st.integers() | st.floats() | st.datetimes()),
    message_id=st.none() | st.text(),
    reason=st.text(),
)
def test_whatever_came_can_be_stored(body: bytes, headers: dict[str, Any], message_id: str | None, reason: str) -> None:
    refused = RefusedMessage.of(loose(body, headers, message_id=message_id), reason)
    for text in (refused.reason, refused.body_excerpt, refused.message_id or "", *refused.headers, *refused.headers.values()):
        assert "\x00" not in text
        text.encode()
