"""`replay --consumer`: a range of a log to one consumer once more, by the relay that runs; the command waits and tells."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from sqlmodel import select

from sagakit.cli.output import print_json, stderr, stdout
from sagakit.cli.session import Session, open_system
from sagakit.errors import InvalidInput, StoreUnavailable
from sagakit.log import read_to_head
from sagakit.sql import reconciling
from sagakit.sql.subscriptions import of_row, recorded
from sagakit.sql.tables import ReplayRow
from sagakit.system import OpenService, System

_PAUSE_SECONDS = 0.2
_PAGE = 500


@dataclass(frozen=True)
class Asked:
    """Which positions of which service's log go to which consumer, who wants it, and for how long nothing may move."""

    consumer: str
    first: int
    last: int | None
    service: str | None
    timeout_seconds: float


async def replay_to_consumer(session: Session, asked: Asked, *, as_json: bool) -> None:
    """Record the replay, wait until a relay has done it, and say how much was sent and how much had been handled before.

    Raises `StoreUnavailable` when no relay moves it on; the wish stays recorded, and a relay that starts fulfils it.
    """
    async with open_system(session) as system:
        opened, types = await _producer(session, system, asked)
        head = await opened.store.head()
        last = head if asked.last is None else min(asked.last, head)
        if asked.first > last:
            raise InvalidInput(f"--from {asked.first} is behind --to {last}; the log of {opened.service.name} ends at {head}")
        wanted, handled = await _handled_before(session, system, opened, asked, last, types)
        row = ReplayRow(
            id=str(uuid4()), consumer=asked.consumer, first=asked.first, last=last, position=asked.first - 1,
            actor="cli", requested_at=datetime.now(UTC),
        )  # fmt: skip
        async with opened.tables.transaction() as transaction:
            transaction.add(row)
        sent = await _wait(opened, row.id, asked, last)
    known = "" if handled is None else f", of which {asked.consumer} had handled {handled} before"
    if as_json:
        print_json(
            {"consumer": asked.consumer, "from": asked.first, "to": last, "events": wanted, "sent": sent, "handled": handled}
        )
    else:
        stdout.print(f"Sent {sent} of {wanted} events{known}.", soft_wrap=True)


async def _producer(session: Session, system: System, asked: Asked) -> tuple[OpenService, frozenset[str]]:
    found = []
    for name in session.services.with_a_log(asked.service):
        opened = await system.open(name)
        async with opened.tables.transaction() as transaction:
            found += [
                (opened, of_row(row, name).event_types) for row in await recorded(transaction) if row.consumer == asked.consumer
            ]
    if not found:
        raise InvalidInput(f"no subscription {asked.consumer}: `subscriptions list` shows them")
    if len(found) > 1:
        producers = ", ".join(opened.service.name for opened, _ in found)
        raise InvalidInput(f"{asked.consumer} is fed by several services, {producers}: say which with --service")
    return found[0]


async def _handled_before(
    session: Session, system: System, opened: OpenService, asked: Asked, last: int, types: frozenset[str]
) -> tuple[int, int | None]:
    """Count the events of the range, and those in the inbox of the consumer when that is a service of the list."""
    owner = asked.consumer.partition(".")[0]
    own = await system.open(owner) if owner in {service.name for service in session.services.services} else None
    wanted, handled, page = 0, 0, []
    async for event in read_to_head(opened.store, asked.first - 1):
        if event.position > last:
            break
        if event.type in types:
            wanted += 1
            page.append(str(event.id))
        if len(page) == _PAGE:
            handled += await _in_inbox(own, asked.consumer, page)
            page = []
    handled += await _in_inbox(own, asked.consumer, page)
    return wanted, None if own is None else handled


async def _in_inbox(own: OpenService | None, consumer: str, ids: list[str]) -> int:
    if own is None or not ids:
        return 0
    async with own.tables.transaction() as transaction:
        return len(await reconciling.handled(transaction, consumer, ids))


async def _wait(opened: OpenService, replay_id: str, asked: Asked, last: int) -> int:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=stderr) as bar:
        task = bar.add_task("replayed", total=last - asked.first + 1)
        position, moved_at = asked.first - 1, asyncio.get_running_loop().time()
        while True:
            async with opened.tables.transaction() as transaction:
                row = (await transaction.exec(select(ReplayRow).where(ReplayRow.id == replay_id))).one()
            now = asyncio.get_running_loop().time()
            if row.position > position:
                position, moved_at = row.position, now
            bar.update(task, completed=position - asked.first + 1)
            if row.ended_at is not None:
                bar.update(task, completed=last - asked.first + 1)
                return row.sent
            if now > moved_at + asked.timeout_seconds:
                raise StoreUnavailable(
                    f"nothing moved for {asked.timeout_seconds:g} s, at position {position} of {last}: is `start` running, with "
                    f"the relay of {opened.service.name}? `doctor` says what {asked.consumer} waits for. It stays recorded"
                )
            await asyncio.sleep(_PAUSE_SECONDS)
