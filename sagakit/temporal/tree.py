"""The steps of a rehearsed saga and of all its children, by their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from temporalio.client import Client

from sagakit.temporal.participants import Call


def step_of(key: str) -> str:
    """Name the step of a command's key, ``<workflow id>/<step>/<item>``, without the item."""
    return key.rpartition("/")[0]


async def kinds_of(client: Client, keys: Iterable[str]) -> dict[str, str]:
    """Ask every saga of the tree of what kind its steps are; those of chapters that are over are no longer shown."""
    sagas = dict.fromkeys(step_of(key).rpartition("/")[0] for key in keys)
    shown = {saga: await client.get_workflow_handle(saga).query("steps") for saga in sagas}
    return {f"{saga}/{step['number']}": step["kind"] for saga, found in shown.items() for step in found["steps"]}


def taken(calls: Iterable[Call], kinds: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """List the steps that took effect: the number that participants give each, its command's name, and its kind."""
    commands = {step_of(call.key): call.command for call in calls if call.effect == "done"}  # in the order they came first
    return [(number, name, kinds[step]) for number, (step, name) in enumerate(commands.items(), start=1) if step in kinds]
