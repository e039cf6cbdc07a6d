"""Which command an expression in a saga's source makes, as far as the source alone says."""

from __future__ import annotations

import ast
import typing
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from sagakit.messages import Command

Commands = frozenset[type[Command]]


class CommandReader:
    """Reads expressions with the names of a saga's module; of local variables it knows what was last assigned."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        """Take the module's names."""
        self._names = names
        self._locals: dict[str, Commands | None] = {}

    def assigned(self, name: str, value: ast.expr) -> None:
        """Note an assignment; of two, both may be meant."""
        made, earlier = self.of(value), self._locals.get(name, frozenset())
        self._locals[name] = None if made is None or earlier is None else made | earlier

    def of(self, node: ast.expr) -> Commands | None:  # noqa: PLR0911 an answer for each kind of expression
        """Return the commands that an expression may make, a batch of them as well; None when the source does not say."""
        match node:
            case ast.Constant(value=None):
                return frozenset()
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return self._all(elements)
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
                return self.of(element)
            case ast.IfExp(body=one, orelse=other):
                return self._all([one, other])
            case ast.Name(id=name) if name in self._locals:
                return self._locals[name]
            case ast.Call(func=function):
                return _made_by(self.value(function))
        return None

    def value(self, node: ast.expr) -> Any:
        """Return what a name, or a dotted one, stands for in the module; None when it is nothing there."""
        match node:
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.Attribute(value=owner, attr=name):
                return getattr(self.value(owner), name, None)
        return None

    def _all(self, nodes: list[ast.expr]) -> Commands | None:
        found: Commands = frozenset()
        for node in nodes:
            made = self.of(node)
            if made is None:
                return None
            found |= made
        return found


def _made_by(called: Any) -> Commands | None:
    if isinstance(called, type) and issubclass(called, Command):
        return frozenset([called])
    if not isinstance(called, FunctionType):
        return None
    try:
        answer = typing.get_type_hints(called).get("return")
    except NameError:
        return None
    members = [member for member in (typing.get_args(answer) or (answer,)) if member not in (None, type(None), ...)]
    if members and all(isinstance(member, type) and issubclass(member, Command) and member is not Command for member in members):
        return frozenset(members)
    return None
