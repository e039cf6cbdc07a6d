"""Modules that sandboxes load, found and compiled once a worker: a sandbox runs a module's code anew, but need not read it anew.

So a worker runs the code that was there when it started, whatever becomes of the files, and compiling costs nothing where
Python keeps no bytecode (PYTHONDONTWRITEBYTECODE, a read-only file system).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import Any


class CompiledModules:
    """What the sandboxes of one worker have loaded so far."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._known: dict[str, _Compiled] = {}
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have imports of this block find what is known."""
        token = _used.set(self)
        try:
            yield
        finally:
            _used.reset(token)

    def spec_of(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Make the spec of a module that is source in a file; None for anything else."""
        loader = self._known.get(name)
        if loader is None:
            found = PathFinder.find_spec(name, path)
            if found is None or type(found.loader) is not SourceFileLoader:
                return None
            loader = _Compiled(name, found.loader.path, found.submodule_search_locations)
            self._known[name] = loader
        return spec_from_file_location(name, loader.path, loader=loader, submodule_search_locations=loader.locations)


_used: ContextVar[CompiledModules | None] = ContextVar("compiled_modules", default=None)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002 the base's signature
        modules = _used.get()
        return None if modules is None else modules.spec_of(fullname, path)


class _Compiled(SourceFileLoader):
    def __init__(self, name: str, path: str, locations: list[str] | None) -> None:
        super().__init__(name, path)
        self._locations, self._code = locations, super().get_code(name)

    @property
    def locations(self) -> list[str] | None:
        return None if self._locations is None else list(self._locations)

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 it is of one module only
        return self._code

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Leave bytecode to ordinary imports."""
