"""Compares two JSON Schemas as pydantic writes them: whether every document of one is a document of the other.

Sound, not complete: where it cannot be proved, the answer is a fault, never a yes.
"""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]
_NOTES = {"title", "description", "examples", "deprecated"}
_MAPS = {"properties", "$defs", "patternProperties"}
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMPARED = {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", *_LOWER, *_UPPER}
_DEPTH = 40


def without_notes(schema: Any) -> Any:
    """Leave out what is for people, so that a changed docstring changes no contract."""
    if isinstance(schema, list):
        return [without_notes(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: without_notes(part) for name, part in value.items()} if key in _MAPS else without_notes(value)
        for key, value in schema.items()
        if key not in _NOTES
    }


def faults(narrow: Schema, wide: Schema) -> list[str]:
    """List why a document that fits ``narrow`` may not fit ``wide``, each with the field; empty when all fit."""
    return _faults(narrow, wide, (narrow, wide), "", 0)


def _faults(narrow: Any, wide: Any, roots: tuple[Schema, Schema], at: str, depth: int) -> list[str]:
    narrow, wide = _resolved(narrow, roots[0]), _resolved(wide, roots[1])
    if wide is True or wide == {} or (narrow == wide and roots[0].get("$defs") == roots[1].get("$defs")):
        return []
    if depth > _DEPTH or not isinstance(narrow, dict) or not isinstance(wide, dict):
        return [f"{at or 'it'} cannot be compared"]
    if "anyOf" in narrow or "oneOf" in narrow:
        each = narrow.get("anyOf") or narrow["oneOf"]
        return [fault for one in each for fault in _faults(one, wide, roots, at, depth + 1)]
    if "anyOf" in wide or "oneOf" in wide:
        options = wide.get("anyOf") or wide["oneOf"]
        if any(not _faults(narrow, option, roots, at, depth + 1) for option in options):
            return []
        return [f"{at or 'it'} was {_kind(narrow)} and is now {' or '.join(_kind(_resolved(o, roots[1])) for o in options)}"]
    return _value_faults(narrow, wide, at) or _inner_faults(narrow, wide, roots, at, depth)


def _value_faults(narrow: Schema, wide: Schema, at: str) -> list[str]:
    allowed, given = _values(wide), _values(narrow)
    if allowed is not None:
        lost = [value for value in given or [] if value not in allowed]
        return [] if given is not None and not lost else [f"{at or 'it'} no longer takes {lost or _kind(narrow)}"]
    if wide.get("type") not in (None, narrow.get("type")) and (narrow.get("type"), wide.get("type")) != ("integer", "number"):
        return [f"{at or 'it'} was {_kind(narrow)} and is now {_kind(wide)}"]
    # Whatever is not compared by meaning has to be the same.
    others = sorted(key for key in wide.keys() - _COMPARED if wide[key] != narrow.get(key))
    found = [f"{at or 'it'} has another {key}" for key in others]
    found += [
        f"{at or 'it'} has a higher {key}" for key in _LOWER if key in wide and not narrow.get(key, wide[key] - 1) >= wide[key]
    ]
    found += [
        f"{at or 'it'} has a lower {key}" for key in _UPPER if key in wide and not narrow.get(key, wide[key] + 1) <= wide[key]
    ]
    return found


def _inner_faults(narrow: Schema, wide: Schema, roots: tuple[Schema, Schema], at: str, depth: int) -> list[str]:
    inside = f"{at}." if at else ""
    mine, theirs = narrow.get("properties", {}), wide.get("properties", {})
    required = set(narrow.get("required", ()))
    missing = [name for name in wide.get("required", ()) if name not in required]
    found = [f"{inside}{name} must be there" + ("" if name in mine else " and was not known") for name in missing]
    for name in sorted(mine.keys() & theirs.keys()):
        found += _faults(mine[name], theirs[name], roots, f"{inside}{name}", depth + 1)
    if wide.get("additionalProperties") is False:
        found += [f"{inside}{name} is not taken any more" for name in sorted(mine.keys() - theirs.keys())]
    elif isinstance(wide.get("additionalProperties"), dict):
        found += _faults(narrow.get("additionalProperties", {}), wide["additionalProperties"], roots, f"{inside}*", depth + 1)
    if "prefixItems" in wide:
        places = narrow.get("prefixItems", [])
        if len(places) != len(wide["prefixItems"]):
            return [*found, f"{at or 'it'} has another number of places"]
        for number, (mine_at, theirs_at) in enumerate(zip(places, wide["prefixItems"], strict=True)):
            found += _faults(mine_at, theirs_at, roots, f"{at}[{number}]", depth + 1)
    if "items" in wide:
        found += _faults(narrow.get("items", {}), wide["items"], roots, f"{at}[]", depth + 1)
    return found


def _resolved(schema: Any, root: Schema) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {"$unknown": schema["$ref"]})
    return {key: part for key, part in schema.items() if key not in ("default", "$defs")} if isinstance(schema, dict) else schema


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _kind(schema: Any) -> str:
    return str(schema.get("type") or json.dumps(schema, sort_keys=True)) if isinstance(schema, dict) else str(schema)
