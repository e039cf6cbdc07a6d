"""What the SDK looks at when it makes a workflow of a saga's class, which it does anew in each sandbox (ADR 29)."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio import workflow


class SagaClass(type):
    """The class of `Saga` and what it derives from.

    The SDK examines every member that `dir` names. In a sandbox, a saga names what its author wrote and the handlers of `Saga`,
    which are all that may be of a workflow; the hundred others would be most of what a sandbox costs.
    """

    def __dir__(cls) -> Iterable[str]:
        """Name the members: all of them, outside of sandboxes."""
        if not workflow.unsafe.in_sandbox():
            return super().__dir__()
        names = {"__init__"}
        for base in cls.__mro__[:-1]:
            members = vars(base)
            handlers = members.get("sagakit_handlers")
            names.update(members if handlers is None else handlers)
        return names


def handlers_of(*bases: type) -> frozenset[str]:
    """Find the signals, queries and updates among the members of classes."""
    return frozenset(name for base in bases for name, member in vars(base).items() if _is_handler(member))


def _is_handler(member: object) -> bool:
    if isinstance(member, workflow.UpdateMethodMultiParam):
        return True
    return any(name.startswith("__temporal_") for name in getattr(member, "__dict__", {}))
