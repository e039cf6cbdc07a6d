"""Personal fields: declared where they stand, and replaced by pseudonyms where data leaves its database.

Source: pseudonymisation by a keyed hash, https://www.enisa.europa.eu/publications/pseudonymisation-techniques-and-best-practices
"""

from __future__ import annotations

import hashlib
import hmac
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

Path = tuple[str, ...]
"""Where a field stands: names, and ``*`` for every item of a list or value of a mapping."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_SHORT = 4
_FIFTY_YEARS_SECONDS = 50 * 365 * 86_400


@dataclass(frozen=True)
class Personal:
    """Marks a field that tells who somebody is: ``customer: Annotated[str, Personal()]``, in an event, a command or a part."""


def personal_paths(model: type[BaseModel]) -> frozenset[Path]:
    """List where the personal fields of a message stand, those of nested models included."""
    found = set(_paths(model, ()))
    again = {path for path in found if path and not isinstance(path[-1], str)}
    # A model within itself has no end of paths: where it comes again, all of it counts as personal when any of it is.
    tops = {path[:-1] for path in again if any(not end or isinstance(end[-1], str) for end in _paths(path[-1], ()))}
    return frozenset((found - again) | tops)


def _paths(annotation: Any, inside: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from [()] if _is_personal(args[1:]) else _paths(args[0], inside)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in inside:
            yield (annotation,)
        else:
            for name, field in annotation.model_fields.items():
                found = [()] if _is_personal(field.metadata) else _paths(field.annotation, (*inside, annotation))
                yield from ((name, *rest) for rest in found)
    elif origin in (Union, types.UnionType):
        for option in args:
            yield from _paths(option, inside)
    elif origin is not None:
        # The keys of a mapping stay as they are: they name things.
        items = args[1:] if isinstance(origin, type) and issubclass(origin, Mapping) else args
        for item in items:
            yield from (("*", *rest) for rest in _paths(item, inside))


def _is_personal(metadata: Collection[Any]) -> bool:
    return any(isinstance(each, Personal) for each in metadata)


def replaced(value: Any, paths: Collection[Path], names: Collection[str], mask: Callable[[Any], Any]) -> Any:
    """Copy a JSON value with what stands at the paths, or under one of the names at any depth, masked."""
    if () in paths:
        return each_leaf(value, mask)
    if isinstance(value, dict):
        return {key: replaced(part, [()] if key in names else _below(paths, key), names, mask) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [replaced(part, _below(paths, "*"), names, mask) for part in value]
    return value


def leaves(value: Any, paths: Collection[Path], names: Collection[str] = ()) -> list[Any]:
    """List the values that `replaced` would mask, in their order."""
    found: list[Any] = []
    replaced(value, paths, names, found.append)
    return found


def _below(paths: Collection[Path], key: str) -> list[Path]:
    return [path[1:] for path in paths if path and path[0] in (key, "*")]


def each_leaf(value: Any, mask: Callable[[Any], Any]) -> Any:
    """Copy a JSON value with every plain value in it masked."""
    if isinstance(value, dict):
        return {key: each_leaf(part, mask) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [each_leaf(part, mask) for part in value]
    return mask(value)


class Pseudonyms:
    """Stands another value in for each, the same for the same one, so that rules that compare them behave alike.

    The type stays (also of numbers, times and ids written as text), nothing stays nothing, and size and order are lost.
    Nobody without the key can tell which value it was.
    """

    def __init__(self, key: bytes) -> None:
        """Take the key; a new one for each export, thrown away with it."""
        self._key = key

    def of(self, value: Any) -> Any:
        """Return what stands in for a plain JSON value."""
        if value is None or value == "":
            return value
        digest = hmac.digest(self._key, f"{type(value).__name__}:{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        number = 10**11 + int.from_bytes(digest[:8], "big") % (9 * 10**11)
        if isinstance(value, bool):
            return value ^ (hmac.digest(self._key, b"bool", hashlib.sha256)[0] % 2 == 1)
        if isinstance(value, int | float):
            return type(value)(-number if value < 0 else number)
        return _text_like(value, number, digest)


def _text_like(value: str, number: int, digest: bytes) -> str:
    if match := _NUMBER.fullmatch(value):
        places = str(int.from_bytes(digest[8:24], "big"))[: len(match[1] or ".") - 1]
        return f"{'-' if value.startswith('-') else ''}{number}{'.' + places if places else ''}"
    try:
        moment = datetime.fromisoformat(value) if value[:4].isdigit() and value[4:5] == "-" else None
    except ValueError:
        moment = None
    if moment is not None:
        other = datetime(1970, 1, 1, tzinfo=moment.tzinfo) + timedelta(seconds=number % _FIFTY_YEARS_SECONDS)
        return other.date().isoformat() if len(value) == len("1970-01-01") else other.isoformat()
    try:
        UUID(value)
    except ValueError:
        return f"masked-{digest[:6].hex()}" + ("@example.com" if "@" in value else "")
    return str(UUID(bytes=digest[:16]))


def spoken(written: Any, live: Any) -> set[str]:
    """List how a value may show in a text: as JSON writes it, and as Python prints it."""
    texts = {live, repr(live)[1:-1]} if isinstance(live, str) else {str(written), str(live), repr(live)}
    return texts - {"", "None", "True", "False"}  # these say nothing of anybody, and stand in many texts


def without(text: str, pairs: Mapping[str, str]) -> str:
    """Replace in a text what the mapping names, the longest first; a short one only where it stands as a word."""
    if not pairs:
        return text
    known = sorted(pairs, key=len, reverse=True)
    pattern = "|".join(re.escape(each) if len(each) >= _SHORT else rf"(?<!\w){re.escape(each)}(?!\w)" for each in known)
    return re.sub(pattern, lambda match: pairs[match[0]], text)
