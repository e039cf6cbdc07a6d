"""Appends: alone or as a group, one statement and one round trip each; and what to do when the answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg

from sagakit.chain import digest
from sagakit.errors import ConcurrencyError, DuplicateCommand, StoreUnavailable
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.postgres import statements
from sagakit.postgres.connections import Connections, patiently
from sagakit.sql.group_commit import Answer

_NAMES = ("events_stream_version", "commands_key", "events_id")


class Appending:
    """Runs the appends of one store."""

    def __init__(self, connections: Connections, seconds: float, *, is_chained: bool) -> None:
        """``seconds`` is how long the truth about a lost answer is looked for; ``is_chained`` adds the hash chain."""
        self._connections, self._seconds, self._is_chained = connections, seconds, is_chained

    async def alone(self, append: Append) -> list[int]:
        """Append in a transaction of its own; a lost answer is settled before this returns."""
        try:
            return await self._once(append)
        except StoreUnavailable:
            return await self._settle(append)

    async def together(self, appends: Sequence[Append]) -> Sequence[Answer]:
        """Append all in one transaction; one that does not fit takes nothing from the others."""
        try:
            (row,) = await self._connections.fetch(*self._group_statement(appends))
        except (StoreUnavailable, asyncpg.PostgresError):
            # A race that the statement could not see, a member that the database refuses, or a lost answer: each member by
            # itself, and as one whose fate is unknown.
            return await asyncio.gather(*(self._settle(append) for append in appends), return_exceptions=True)  # type: ignore[return-value]
        positions = iter(row["positions"] or ())
        return [_answer(*member, positions) for member in zip(appends, row["known"], row["fits"], strict=True)]

    async def _once(self, append: Append) -> list[int]:
        try:
            rows = await self._connections.fetch(*self._statement(append))
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "commands_key" and append.key is not None:
                known = await self._connections.fetch("select outcome from commands where key = $1", append.key)
                if known:
                    raise DuplicateCommand(append.key, CommandOutcome.model_validate_json(known[0]["outcome"])) from None
            if error.constraint_name in _NAMES:
                raise ConcurrencyError(append.stream, append.expected_version) from error
            raise
        if len(rows) != len(append.events):
            raise ConcurrencyError(append.stream, append.expected_version)
        return [row["position"] for row in rows]

    async def _settle(self, append: Append) -> list[int]:
        """Find the truth about an append that may or may not have been committed, by sending it again.

        It cannot be stored twice: its version, its event ids and its key are unique. One that is still on its way holds the
        second back until it is decided (failures A17).
        """
        try:
            return await patiently(lambda: self._once(append), self._seconds)
        except (ConcurrencyError, DuplicateCommand):
            if (positions := await self._ours(append)) is not None:
                return positions
            raise
        except StoreUnavailable as lost:
            raise StoreUnavailable(f"{lost}. Whether {append.stream} was written is not known; send the command again") from lost

    async def _ours(self, append: Append) -> list[int] | None:
        if not append.events:
            return None  # the recorded outcome is the answer
        rows = await self._connections.fetch_patiently(
            statements.IS_OURS, append.stream, append.expected_version, len(append.events)
        )
        if [row["id"] for row in rows] != [event.id for event in append.events]:
            return None
        return [row["position"] for row in rows]

    def _statement(self, append: Append) -> tuple[Any, ...]:
        outcome = append.outcome.model_dump_json() if append.outcome else None
        if not append.events:
            return statements.RECORD_OUTCOME, append.key, outcome
        events = append.events
        if len(events) == 1 and not self._is_chained:
            (event,) = events
            return (
                statements.APPEND_ONE,
                append.stream,
                append.expected_version,
                event.id,
                event.type,
                event.schema_version,
                event.data,
                event.metadata.model_dump_json(),
                append.key,
                outcome,
            )
        metadata = [event.metadata.model_dump_json() for event in events]
        values = (
            append.stream,
            append.expected_version,
            [event.id for event in events],
            [event.type for event in events],
            [event.schema_version for event in events],
            [event.data for event in events],
            metadata,
            append.key,
            outcome,
        )
        if not self._is_chained:
            return statements.APPEND, *values
        return statements.APPEND_CHAINED, *values, _digests(append, metadata)

    def _group_statement(self, appends: Sequence[Append]) -> tuple[Any, ...]:
        events = [(number, n, event) for number, append in enumerate(appends) for n, event in enumerate(append.events, 1)]
        metadata = [event.metadata.model_dump_json() for _, _, event in events]
        values = (
            list(range(len(appends))),
            [append.stream for append in appends],
            [append.expected_version if append.events else None for append in appends],
            [append.key for append in appends],
            [append.outcome.model_dump_json() if append.outcome else None for append in appends],
            [number for number, _, _ in events],
            [n for _, n, _ in events],
            [event.id for _, _, event in events],
            [event.type for _, _, event in events],
            [event.schema_version for _, _, event in events],
            [event.data for _, _, event in events],
            metadata,
        )
        if not self._is_chained:
            return statements.APPEND_GROUP, *values
        texts = iter(metadata)
        digests = [each for append in appends for each in _digests(append, [next(texts) for _ in append.events])]
        return statements.APPEND_GROUP_CHAINED, *values, digests


def _digests(append: Append, metadata: Sequence[str]) -> list[bytes]:
    versions = range(append.expected_version + 1, append.expected_version + 1 + len(append.events))
    return [
        digest(append.stream, version, event.id, event.type, event.schema_version, event.data, text)
        for version, event, text in zip(versions, append.events, metadata, strict=True)
    ]


def _answer(append: Append, known: str | None, fits: bool, positions: Iterator[int]) -> Answer:  # noqa: FBT001 a column
    if known is not None:
        return DuplicateCommand(append.key or "", CommandOutcome.model_validate_json(known))
    if not fits:
        return ConcurrencyError(append.stream, append.expected_version)
    return [next(positions) for _ in append.events]
