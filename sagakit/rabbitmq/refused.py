"""What is kept of a message that is no event: enough for a person to see what came, and from whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from sagakit.rabbitmq.wire_message import WireMessage

MAX_EXCERPT_LENGTH = 64 * 1024
_MAX_HEADERS, _MAX_VALUE_LENGTH = 64, 1024
_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa1-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True)
class RefusedMessage:
    """A message that was refused, cut to what every database can hold: 64 headers of 1024, 64 Ki of the body.

    Control characters and bytes that are no text are written as escapes. ``size`` is the whole body's, in bytes.
    """

    message_id: str | None
    reason: str
    headers: dict[str, str]
    body_excerpt: str
    size: int

    @classmethod
    def of(cls, message: WireMessage, reason: str) -> RefusedMessage:
        """Make one from any message whatever; keeps no reference to its body."""
        headers: Mapping[str, object] = message.headers
        return cls(
            message_id=_printable(message.message_id, 255) if message.message_id else None,
            reason=_printable(reason, MAX_EXCERPT_LENGTH),
            headers={
                _printable(name, 255): _printable(value, _MAX_VALUE_LENGTH)
                for name, value in islice(headers.items(), _MAX_HEADERS)
            },
            body_excerpt=_printable(bytes(message.body[:MAX_EXCERPT_LENGTH]), MAX_EXCERPT_LENGTH),
            size=len(message.body),
        )


def _printable(value: object, longest: int) -> str:
    if isinstance(value, bytes | bytearray):
        text = value[:longest].decode(errors="backslashreplace")
    elif isinstance(value, Mapping | list | tuple):
        text = f"({type(value).__name__} of {len(value)})"  # it may be nested without end
    else:
        text = str(value)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text[:longest])[:longest]
