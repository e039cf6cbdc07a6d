"""Who decides, and why: asked for in the same words by every command that lets a person decide, and read back from the log."""

from __future__ import annotations

import getpass
import json
from typing import Annotated, Any

import typer

from sagakit.cli.session import Session, open_system
from sagakit.errors import InvalidInput
from sagakit.saga_journal import CATEGORY, SagaDecided
from sagakit.steps import Wish

Reason = Annotated[str | None, typer.Option(help="Why; needed, and kept with the decision.", show_default=False)]
Actor = Annotated[str | None, typer.Option(help="Who decides; your login when left out.")]


def stated(actor: str | None, reason: str | None) -> Wish:
    """Take who and why. Raises `InvalidInput` for one that is missing or blank, or for a user without a name."""
    try:
        wish = Wish(actor=getpass.getuser() if actor is None else actor, reason=reason or "")
    except (OSError, KeyError):  # as in some containers
        raise InvalidInput("this user has no name: say --actor") from None
    if not wish.actor.strip():
        raise InvalidInput("a decision needs an actor: --actor is blank")
    if not wish.reason.strip():
        raise InvalidInput("a decision needs a reason: say --reason TEXT")
    return wish


async def decisions_about(session: Session, workflow_id: str) -> list[dict[str, Any]]:
    """Read what people decided about a saga from the log of its service, where it stays when the history is gone."""
    name, found = workflow_id.partition("/")[0], []
    async with open_system(session) as system:
        for service in session.services.services:
            if not any(saga.saga_name == name for saga in service.sagas):
                continue
            async with system.look(service.name) as opened:
                found += [] if opened is None else await opened.store.load(f"{CATEGORY}-{workflow_id}")
    return [
        {"at": event.recorded_at.isoformat(), **json.loads(event.data)} for event in found if event.type == SagaDecided.event_name
    ]
