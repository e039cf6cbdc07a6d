"""Names the code that folds an aggregate, so that a snapshot made by other code is recognised and thrown away.

Covered: the state's schema, the aggregate's methods and the functions of its module that they call, the schemas of its
events and the upcasters on the way to them. Code of other modules is not seen: say ``fold_version=2`` in the class
statement when such code changes what a fold comes to. Another Python release counts as other code; that costs one fold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any

from sagakit.aggregate import Aggregate
from sagakit.messages import Registry
from sagakit.upcasting import Key


def fingerprint(aggregate_type: type[Aggregate], registry: Registry) -> str:
    """Hash everything that a fold of this aggregate depends on, as far as it can be seen."""
    sha = hashlib.sha256()
    for part in _parts(aggregate_type, registry):
        sha.update(part.encode())
        sha.update(b"\0")
    return sha.hexdigest()


def _parts(aggregate_type: type[Aggregate], registry: Registry) -> Iterable[str]:
    yield f"{aggregate_type.category} {aggregate_type.fold_version}"
    yield json.dumps(aggregate_type.model_json_schema(), sort_keys=True, default=str)
    methods = [each for base in _bases(aggregate_type) for each in vars(base).values()]
    for function in functions_behind(each for each in methods if isinstance(each, FunctionType)):
        yield _text_of(function.__code__)
    ends: set[Key] = set()
    for event in sorted(aggregate_type.event_appliers, key=lambda event: (event.event_name, event.schema_version)):
        ends.add((event.event_name, event.schema_version))
        yield json.dumps(event.model_json_schema(), sort_keys=True, default=str)
    for source, upcaster in sorted(registry.upcasting.steps.items()):
        if registry.upcasting.ends(source) & ends or not registry.upcasting.ends(source):
            for function in functions_behind([upcaster.function]):  # type: ignore[list-item]
                yield f"{source} {_text_of(function.__code__)}"


def _bases(aggregate_type: type[Aggregate]) -> list[type]:
    return [base for base in aggregate_type.__mro__ if issubclass(base, Aggregate) and base is not Aggregate]


def functions_behind(functions: Iterable[FunctionType]) -> list[FunctionType]:
    """List functions with those of the same module that they name, in the order they are met."""
    waiting, seen = list(functions), dict[FunctionType, None]()
    while waiting:
        function = waiting.pop(0)
        if function in seen:
            continue
        seen[function] = None
        if isinstance(original := getattr(function, "__wrapped__", None), FunctionType):
            waiting.append(original)
        for name in sorted(names_in(function.__code__)):
            found = function.__globals__.get(name)
            if isinstance(found, FunctionType) and found.__module__ == function.__module__:
                waiting.append(found)
    return list(seen)


def names_in(code: CodeType) -> set[str]:
    """List the global and attribute names that code mentions, inner functions included."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _text_of(code: CodeType) -> str:
    constants: list[Any] = [_text_of(each) if isinstance(each, CodeType) else _stable(each) for each in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {constants}"


def _stable(constant: object) -> str:
    # A frozenset's order differs from process to process.
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
