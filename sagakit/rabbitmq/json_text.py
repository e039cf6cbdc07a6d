"""JSON from outside, read with bounds: what it may hold is checked before anything else looks at it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pydantic_core import from_json

from sagakit.errors import InvalidInput

MAX_DEPTH = 32
MAX_DIGITS = 100
# Matches from any quote, also one that is never closed: else a hostile text would be searched again from each of its quotes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def json_object(text: str, what: str) -> dict[str, Any]:
    """Read a JSON object. Raises `InvalidInput`, which says ``what`` is wrong and never what it holds.

    Refused: nesting deeper than 32, two values under one name, NaN and numbers without end, integers of more than 100
    digits, half of a surrogate pair.
    """
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _refuse_depth(text.encode("utf-8", "replace"), what)
    try:
        value = _decoder.decode(text)
        if "\\u" in text:
            from_json(text)  # unlike the standard library's, it refuses half of a surrogate pair
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{what} is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        why = error.args[0] if isinstance(error, _Refused) else "it is malformed"
        raise InvalidInput(f"{what} is not JSON that is taken here: {why}") from None
    if type(value) is not dict:
        raise InvalidInput(f"{what} is not a JSON object")
    return value


class _Refused(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise _Refused("an object has two values under one name")
    return read


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused(f"an integer has more than {MAX_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    if len(text) > MAX_DIGITS or math.isinf(number := float(text)):
        raise _Refused("a number is too large or too long")
    return number


def _constant(name: str) -> None:
    raise _Refused(f"{name} is no JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant)


def _refuse_depth(text: bytes, what: str) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _BUT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidInput(f"{what} is nested deeper than {MAX_DEPTH}")
