"""Who decides, and why: asked for in the same words by every command that lets a person decide."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from sagakit.errors import InvalidInput
from sagakit.steps import Wish

Reason = Annotated[str, typer.Option(help="Why; kept with the decision.", show_default=False)]
Actor = Annotated[str | None, typer.Option(help="Who decides; your login when left out.")]


def stated(actor: str | None, reason: str) -> Wish:
    """Take who and why. Raises `InvalidInput` for a blank one, or for a user without a name."""
    try:
        wish = Wish(actor=actor or getpass.getuser(), reason=reason)
    except (OSError, KeyError):  # as in some containers
        raise InvalidInput("this user has no name: say --actor") from None
    if not wish.actor.strip() or not wish.reason.strip():
        raise InvalidInput("a decision needs an actor and a reason: say --reason TEXT")
    return wish
