"""Which commands and events a function names: in its code, in the functions of its module that it calls, in its annotations."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import FunctionType
from typing import Any, TypeVar, get_args

from sagakit.fingerprint import functions_behind, names_in

T = TypeVar("T")


def mentioned(kind: type[T], functions: Iterable[object]) -> set[type[T]]:
    """Find the subclasses of ``kind`` that the functions, and those of their module that they call, mention.

    What a function gets from elsewhere, as an argument or from another module's function, is not seen; what is no plain
    function is passed over.
    """
    found: set[type[T]] = set()
    for function in functions_behind(each for each in functions if isinstance(each, FunctionType)):
        candidates = [function.__globals__.get(name) for name in names_in(function.__code__)]
        found.update(each for each in candidates if isinstance(each, type) and issubclass(each, kind) and each is not kind)
        found.update(_returned(kind, function))
    return found


def _returned(kind: type[T], function: FunctionType) -> Iterable[type[T]]:
    try:
        returned = inspect.get_annotations(function, eval_str=True).get("return")
    except (NameError, AttributeError, TypeError, SyntaxError):
        return ()  # an annotation for the type checker alone
    return [each for each in _parts(returned) if isinstance(each, type) and issubclass(each, kind) and each is not kind]


def _parts(annotation: Any) -> Iterable[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
