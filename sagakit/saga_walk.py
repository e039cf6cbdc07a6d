"""Walks every way through a saga's source, and notes where its steps are written wrong, or where the source does not tell.

An abstract interpretation with two facts, *before* and *behind* the pivot (Cousot and Cousot, POPL 1977): a branch is taken both
ways, a loop until nothing new is found, a handler from every place at which its block may fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress

from sagakit.durable_calls import DURABLE, takes_steps
from sagakit.messages import Event
from sagakit.saga_commands import CommandReader, Commands
from sagakit.saga_determinism import check_determinism

NOWHERE, BEFORE, BEHIND = 0, 1, 2
_DEEPEST = 8
_SWALLOWING = frozenset({"BaseException", "CancelledError"})
Note = Callable[[ast.AST, str, bool], None]


class Walk:
    """One walk through one saga. ``note`` takes a place, a sentence, and whether that is wrong for certain."""

    def __init__(
        self,
        methods: dict[str, ast.AsyncFunctionDef | ast.FunctionDef],
        reader: CommandReader,
        serves: Callable[[str], bool],
        expects: frozenset[type[Event]],
        asks: frozenset[type[Event]],
        note: Note,
    ) -> None:
        """Begin before the pivot. ``expects`` are the events that the saga may wait for, ``asks`` the messages it may send."""
        self._methods, self._reader, self._serves, self._note = methods, reader, serves, note
        self._expects, self._asks = expects, asks
        self._at, self._seen, self._breaks, self._calls = BEFORE, BEFORE, NOWHERE, [""]

    def method(self, name: str) -> None:
        """Walk through a method, from where the walk is."""
        if name in self._calls or len(self._calls) > _DEEPEST:
            self._unclear(self._methods[name], f"{name} calls itself, or is called too deep")
            return
        self._calls.append(name)
        self._block(self._methods[name].body)
        self._calls.pop()
        self._move(self._at or self._seen)  # it may have returned anywhere

    def _wrong(self, node: ast.AST, what: str) -> None:
        self._note(node, what, True)  # noqa: FBT003 the caller's own callable

    def _unclear(self, node: ast.AST, what: str) -> None:
        self._note(node, what, False)  # noqa: FBT003 the caller's own callable

    def _move(self, at: int) -> None:
        self._at = at
        self._seen |= at

    def _block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            if self._at == NOWHERE:
                return
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:  # noqa: C901, PLR0912 a case for each kind of statement
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                self._expression(test)
                self._either(body, orelse)
            case ast.Match(subject=subject, cases=cases):
                self._expression(subject)
                self._either(*(case.body for case in cases), [])
            case ast.For() | ast.AsyncFor() | ast.While():
                self._loop(node)
            case ast.Try() | ast.TryStar():
                self._try(node)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    self._expression(item.context_expr)
                self._with(items, body)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if takes_steps(node):
                    self._unclear(node, f"steps inside the inner {node.name}, whose calls are not followed")
            case ast.Return() | ast.Raise():
                self._expressions(node)
                self._at = NOWHERE
            case ast.Break():
                self._breaks, self._at = self._breaks | self._at, NOWHERE
            case ast.Continue():
                self._at = NOWHERE  # the loop begins again from whatever was seen
            case _:
                self._expressions(node)
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self._reader.assigned(node.targets[0].id, node.value)

    def _with(self, items: Sequence[ast.withitem], body: Sequence[ast.stmt]) -> None:
        """Go through a block; one under `contextlib.suppress` may end anywhere in it."""
        outer, self._seen = self._seen, self._at
        self._block(body)
        for item in items:
            if isinstance(item.context_expr, ast.Call) and self._reader.value(item.context_expr.func) is suppress:
                self._at |= self._seen
                self._check_caught(item.context_expr, item.context_expr.args)
        self._seen |= outer

    def _either(self, *branches: Sequence[ast.stmt]) -> None:
        begin, after = self._at, NOWHERE
        for branch in branches:
            self._move(begin)
            self._block(branch)
            after |= self._at
        self._at = after

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        outer_breaks, self._breaks = self._breaks, NOWHERE
        outer_seen, self._seen = self._seen, self._at
        self._expression(node.test if isinstance(node, ast.While) else node.iter)
        while True:
            before = self._seen
            self._move(before)
            self._block(node.body)
            if self._seen == before:
                break
        self._at = self._breaks if endless else self._seen
        self._breaks, self._seen = outer_breaks, outer_seen | self._seen
        self._block(node.orelse)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        outer, self._seen = self._seen, self._at
        self._block(node.body)
        done, failed = self._at, self._seen
        self._at = done
        self._block(node.orelse)
        after = self._at
        for handler in node.handlers:
            self._check_handler(handler)
            self._move(failed)
            self._block(handler.body)
            after |= self._at
        self._seen |= outer
        self._at = after
        if any(takes_steps(statement) for statement in node.finalbody):
            self._unclear(node.finalbody[0], "steps in a finally, which runs while the saga ends as well")
        self._block(node.finalbody)

    def _check_handler(self, handler: ast.ExceptHandler) -> None:
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(handler)):
            kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            self._check_caught(handler, kinds)

    def _check_caught(self, node: ast.AST, kinds: Sequence[ast.expr | None]) -> None:
        names = {getattr(kind, "id", getattr(kind, "attr", "")) for kind in kinds if kind is not None}
        if None in kinds or names & _SWALLOWING:
            self._wrong(node, "it swallows a cancellation: let what is no Exception pass, or raise it again")

    def _expressions(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._expression(child)

    def _expression(self, node: ast.expr) -> None:
        match node:
            case ast.Await(value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) as call):
                self._call(call, name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) if name in DURABLE:
                self._unclear(node, f"{name} is not awaited where it is called")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                self._call(node, name)
            case ast.Lambda() if takes_steps(node):
                self._unclear(node, "steps inside a lambda, whose calls are not followed")
            case ast.Name(id="self"):
                self._unclear(node, "self is handed on to where its steps are not followed")
            case ast.Attribute(value=ast.Name(id="self")):
                pass
            case ast.Call(func=function):
                check_determinism(self._reader.value(function), node, self._wrong, self._unclear)
                self._parts(node)
            case _:
                self._parts(node)

    def _parts(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._expression(child)
            elif isinstance(child, ast.keyword | ast.comprehension):
                self._parts(child)

    def _call(self, call: ast.Call, name: str) -> None:
        if name == "together":
            self._together(call)
            return
        self._parts_of_arguments(call)
        if name == "step":
            self._step(call, is_in_group=False)
        elif name == "child":
            self._child(call)
        elif name == "conclude":
            self._check_served(call, self._reader.of(call.args[0]) if call.args else None, "the command")
        elif name == "expect":
            self._check_listed(call, self._reader.value(call.args[0]) if call.args else None, self._expects, "expects")
        elif name == "ask_service":
            self._ask(call)
        else:
            self._further(name)

    def _further(self, name: str) -> None:
        if name == "new_chapter":
            self._at = NOWHERE  # it begins at the top again, before the pivot
        elif name in self._methods:
            self.method(name)

    def _child(self, call: ast.Call) -> None:
        pivot = next((keyword.value for keyword in call.keywords if keyword.arg == "pivot"), ast.Constant(value=False))
        is_told = isinstance(pivot, ast.Constant)
        if isinstance(pivot, ast.Constant) and not pivot.value:
            return
        if self._at & BEHIND:
            self._unclear(call, "a child that is the pivot, perhaps behind the pivot")
        self._move(BEHIND if is_told else self._at | BEHIND)

    def _ask(self, call: ast.Call) -> None:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        undo = options.get("undo", ast.Constant(value=None))
        takes_back = not (isinstance(undo, ast.Constant) and undo.value is None)
        for message in (*call.args[:1], undo):
            made = self._reader.value(message.func) if isinstance(message, ast.Call) else None
            self._check_listed(call, made, self._asks, "asks")
        self._check_listed(call, self._reader.value(options.get("reply", undo)), self._expects, "expects")
        if takes_back and self._at == BEHIND:
            self._wrong(call, "a question that is taken back, behind the pivot")
        elif takes_back and self._at & BEHIND:
            self._unclear(call, "a question that is taken back, perhaps behind the pivot")

    def _check_listed(self, call: ast.Call, event: object, listed: frozenset[type[Event]], where: str) -> None:
        if isinstance(event, type) and issubclass(event, Event) and event not in listed:
            self._wrong(call, f"it {where} {event.event_name}, which the saga does not list in {where}=")

    def _parts_of_arguments(self, call: ast.Call) -> None:
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            self._expression(argument)

    def _together(self, call: ast.Call) -> None:
        for argument in call.args:
            inner = argument.value if isinstance(argument, ast.Starred) else argument
            if isinstance(inner, ast.ListComp | ast.GeneratorExp):
                inner = inner.elt
            match inner:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="step")):
                    self._parts_of_arguments(inner)
                    self._step(inner, is_in_group=True)
                case _:
                    self._unclear(argument, "what goes on side by side here is not written as steps")

    def _step(self, call: ast.Call, *, is_in_group: bool) -> None:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        if None in options or not call.args:
            self._unclear(call, "the arguments of the step are not written out")
            return
        commands, undos = self._reader.of(call.args[0]), self._reader.of(options.get("undo", ast.Constant(None)))
        name = " or ".join(sorted(command.command_name for command in commands or ())) or "a step"
        pivot = options.get("pivot", ast.Constant(value=False))
        may_pivot = not (isinstance(pivot, ast.Constant) and not pivot.value)
        has_undo = undos is None or bool(undos)
        self._check_served(call, commands, "the command")
        self._check_served(call, undos, "the undo")
        if may_pivot and not isinstance(pivot, ast.Constant):
            self._unclear(call, f"{name}: whether it is the pivot is decided when it runs")
        elif may_pivot and (undos or is_in_group):
            self._wrong(call, f"{name}: the pivot has no undo, and no step beside it")
        if (has_undo or may_pivot) and self._at & BEHIND:
            what = "a second pivot" if may_pivot else "something compensable"
            if self._at == BEHIND and (undos or (may_pivot and isinstance(pivot, ast.Constant))):
                self._wrong(call, f"{name}: {what} behind the pivot")
            else:
                self._unclear(call, f"{name}: {what}, perhaps behind the pivot")
        if may_pivot:
            self._move(BEHIND if isinstance(pivot, ast.Constant) else self._at | BEHIND)

    def _check_served(self, call: ast.Call, commands: Commands | None, what: str) -> None:
        if commands is None:
            self._unclear(call, f"{what} of this step is not written where it is taken")
            return
        for command in sorted(commands, key=lambda each: each.command_name):
            if not self._serves(command.command_name):
                self._wrong(call, f"no service in the list of services handles {command.command_name}")
