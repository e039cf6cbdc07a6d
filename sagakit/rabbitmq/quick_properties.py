"""A content header of AMQP 0-9-1, read and written in a third of the driver's time, which looks every type up at each value.

Only what events have as a rule is known here: short texts, and headers that are text or integers. Of anything else, and of
anything malformed, this says that it is not its business, and the driver reads or writes it from the beginning.
Source: AMQP 0-9-1, sections 2.3.5.2 and 4.2.6.1, with the field types as RabbitMQ has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct, error
from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

_FIXED = Struct(">HHQH")  # class, weight, size of the body, flags
_BASIC = Basic.frame_id
_LEFT_OUT = (None, "")
_LENGTH, _INTEGER = Struct(">I"), Struct(">q")
_TEXT = ord("S")
_LONGEST_FIELD_NAME = 128  # in bytes; a field name of AMQP 0-9-1 is no longer, and the driver cuts one that is
_INTEGERS: Mapping[int, Struct] = {
    ord(kind): Struct(f">{code}")
    for kind, code in (("b", "b"), ("B", "B"), ("s", "h"), ("u", "H"), ("I", "i"), ("i", "I"), ("l", "q"))
}


def fill(header: ContentHeader, data: bytes) -> bool:
    """Fill a content header from what its frame holds; False, and the header as it was, when the driver has to read that."""
    found: dict[str, Any] = {}
    at = _FIXED.size
    try:
        class_id, weight, body_size, flags = _FIXED.unpack_from(data)
        if flags & ~_KNOWN:
            return False
        for flag, name, read, _ in _PROPERTIES:
            if flags & flag:
                at, found[name] = read(data, at)
    except (error, ValueError, LookupError):
        return False
    if at != len(data):
        return False
    header.class_id, header.weight, header.body_size = class_id, weight, body_size
    for name, value in found.items():
        setattr(header.properties, name, value)
    return True


def written(properties: Basic.Properties, body_size: int) -> bytes | None:
    """Write a content header as its frame holds it; None when the driver has to."""
    flags, parts = 0, [b""]
    if any(getattr(properties, name) not in _LEFT_OUT for name in _UNKNOWN):
        return None
    try:
        for flag, name, _, write in _PROPERTIES:
            if (value := getattr(properties, name)) not in _LEFT_OUT:
                flags |= flag
                write(parts, value)
    except (error, ValueError, LookupError, AttributeError, TypeError):
        return None  # the driver says what is wrong
    parts[0] = _FIXED.pack(_BASIC, 0, body_size, flags)
    return b"".join(parts)


# Each reads a value, and says where what follows begins: behind the end where the value is cut short.
def _short_text(data: bytes, at: int) -> tuple[int, str]:
    start = at + 1
    end = start + data[at]
    return end, data[start:end].decode()


def _octet(data: bytes, at: int) -> tuple[int, int]:
    return at + 1, data[at]


def _table(data: bytes, at: int) -> tuple[int, dict[str, str | int]]:
    table: dict[str, str | int] = {}
    (length,) = _LENGTH.unpack_from(data, at)
    at += 4
    end = at + length
    while at < end:
        start = at + 1
        at = start + data[at]
        name = data[start:at].decode()
        kind = data[at]
        at += 1
        if kind == _TEXT:
            (length,) = _LENGTH.unpack_from(data, at)
            start = at + 4
            at = start + length
            table[name] = data[start:at].decode()
        else:
            integer = _INTEGERS[kind]
            (table[name],) = integer.unpack_from(data, at)
            at += integer.size
    if at != end:
        raise ValueError("a value goes beyond the table")
    return at, table


def _write_short_text(parts: list[bytes], value: str) -> None:
    raw = value.encode()
    parts += bytes((len(raw),)), raw


def _write_octet(parts: list[bytes], value: int) -> None:
    parts.append(bytes((value,)))


def _write_table(parts: list[bytes], value: Mapping[str, object]) -> None:
    table: list[bytes] = []
    for name, member in value.items():
        if type(member) is str:
            raw = member.encode()
            table += _named(name, b"S"), _LENGTH.pack(len(raw)), raw
        elif type(member) is int:
            table += _named(name, b"l"), _INTEGER.pack(member)
        else:
            raise TypeError
    raw = b"".join(table)
    parts += _LENGTH.pack(len(raw)), raw


@lru_cache(256)
def _named(name: str, kind: bytes) -> bytes:
    raw = name.encode()
    if len(raw) > _LONGEST_FIELD_NAME:
        raise ValueError(name)
    return bytes((len(raw),)) + raw + kind


_SHORT_TEXT, _OCTET = (_short_text, _write_short_text), (_octet, _write_octet)
_WAYS: Mapping[str, tuple[Callable[[bytes, int], tuple[int, Any]], Callable[[list[bytes], Any], None]]] = {
    "content_type": _SHORT_TEXT,
    "content_encoding": _SHORT_TEXT,
    "headers": (_table, _write_table),
    "delivery_mode": _OCTET,
    "priority": _OCTET,
    "correlation_id": _SHORT_TEXT,
    "message_id": _SHORT_TEXT,
    "message_type": _SHORT_TEXT,
}
_FLAGS: Mapping[str, int] = Basic.Properties.flags
_PROPERTIES = [(_FLAGS[name], name, read, write) for name, (read, write) in _WAYS.items()]
_KNOWN = sum(flag for flag, *_ in _PROPERTIES)
_UNKNOWN = [name for name in _FLAGS if name not in _WAYS]
