"""Records a command whose handler raised what nobody expected, so that it can be replayed elsewhere (`replay`)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import traceback as tracebacks
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Protocol
from uuid import uuid4

import structlog
from pydantic import BaseModel, ValidationError

from sagakit.aggregate import Aggregate
from sagakit.errors import SagakitError, UnreadableEvent
from sagakit.messages import Command, Registry
from sagakit.personal import Pseudonyms, leaves, personal_paths, replaced, spoken, without
from sagakit.ports import EventStore, FailedCommand, FailureLog

_log = structlog.get_logger("sagakit.failures")
_PATIENCE_SECONDS = 5.0
_MAX_TEXT, _MAX_TRACEBACK, _MAX_CHAIN = 4 * 1024, 16 * 1024, 5
_DECIDE, _EVOLVE = Aggregate.decide.__code__, Aggregate.evolve.__code__


class Sender(Protocol):
    """Who sent a command, and what it follows from: the repository's context."""

    @property
    def correlation_id(self) -> str: ...  # noqa: D102 as in the context
    @property
    def causation_id(self) -> str | None: ...  # noqa: D102
    @property
    def actor(self) -> str | None: ...  # noqa: D102
    @property
    def key(self) -> str | None: ...  # noqa: D102


async def record_failure(
    log: FailureLog | None,
    store: EventStore,
    registry: Registry,
    stream: str,
    command: Command,
    context: Sender,
    error: Exception,
) -> None:
    """Record it when a handler or an applier raised it and it is no error that sagakit knows; a repeat is recorded once.

    It never raises: the caller is to see the error itself, also when the database is away.
    """
    frame = _raised_in(error)
    if log is None or frame is None or isinstance(error, SagakitError):
        return
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            recorded = await store.load(stream)
            # A handler's aggregate says what it met; an applier fails on the way there, whatever the end was.
            is_deciding = frame.f_code is _DECIDE
            version = frame.f_locals["self"].version if is_deciding else recorded[-1].version if recorded else 0
            mask_key = secrets.token_hex(32)
            mask = Pseudonyms(bytes.fromhex(mask_key)).of
            said = _said(command, mask)
            for event in recorded[:version]:
                try:
                    parts = registry.decode_all(event)
                except UnreadableEvent:
                    continue
                for part in parts:
                    said |= _said(part, mask)
            name, text, traceback = described(error)
            failed = FailedCommand(
                id=_id(context.key, command, stream, version, name),
                command=command.command_name,
                fields=replaced(command.model_dump(mode="json"), personal_paths(type(command)), (), mask),
                stream=stream,
                version=version,
                exception=name,
                text=without(text, said)[:_MAX_TEXT],
                traceback=without(traceback, said)[-_MAX_TRACEBACK:],
                correlation_id=context.correlation_id or context.key or f"{command.command_name}/{command.aggregate_id}",
                causation_id=context.causation_id or context.key,
                command_key=context.key,
                actor=context.actor,
                recorded_at=datetime.now(UTC),
                mask_key=mask_key,
            )
            await log.record(failed)
    except Exception as lost:  # noqa: BLE001 recording is a service to the reader, and must not hide what happened
        _log.warning("a failed command is not recorded", command=command.command_name, reason=type(lost).__name__)


def described(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's type, text and traceback: no values of variables, and of a validation none of the input."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < _MAX_CHAIN:
        frames = "".join(tracebacks.format_tb(link.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{_name(link)}: {_text(link)}\n")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return _name(error), _text(error)[:_MAX_TEXT], _storable("\nwhich followed from this:\n\n".join(reversed(parts)))


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return _storable(f"{error.title}: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in faults))
    try:
        return _storable(str(error))
    except Exception as another:  # noqa: BLE001 its own __str__ is part of what nobody expected
        return f"its text cannot be made: {type(another).__name__}"


def _storable(text: str) -> str:
    """Write out what a database cannot keep in a text."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _raised_in(error: Exception) -> FrameType | None:
    """Find the call of `Aggregate.decide` or `Aggregate.evolve` that the error came through, the outermost."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in (_DECIDE, _EVOLVE):
            return step.tb_frame
        step = step.tb_next
    return None


def _said(message: BaseModel, mask: Any) -> dict[str, str]:
    """Map how a message's personal values may show in a text to how their pseudonyms do."""
    paths = personal_paths(type(message))
    if not paths:
        return {}
    written, live = leaves(message.model_dump(mode="json"), paths), leaves(message.model_dump(), paths)
    return {
        text: str(mask(as_json)) for as_json, as_python in zip(written, live, strict=True) for text in spoken(as_json, as_python)
    }


def _id(key: str | None, command: Command, stream: str, version: int, exception: str) -> str:
    """Name a failure: a saga's step is tried again and again, with one key, and fails alike."""
    if key is None:
        return uuid4().hex
    return hashlib.sha256("\n".join((key, command.command_name, stream, str(version), exception)).encode()).hexdigest()[:32]
