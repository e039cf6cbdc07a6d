"""What nobody expected is one sentence too, and an ending that was asked for stays as it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
import typer

from sagakit.cli.output import runs


def _raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("is_verbose", [False, True])
def test_the_unexpected_is_one_sentence(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *, is_verbose: bool
) -> None:
    caplog.set_level(logging.INFO if is_verbose else logging.WARNING)
    with pytest.raises(typer.Exit) as raised:
        runs(_raising(KeyError("x[y]")))()
    assert raised.value.exit_code == 1
    said = capsys.readouterr().err
    assert "unexpected: KeyError: 'x[y]'; run again with --verbose" in said
    assert ("Traceback" in said) is is_verbose


@pytest.mark.parametrize("ending", [typer.Exit(3), typer.Abort(), asyncio.CancelledError()])
def test_an_ending_is_not_swallowed(ending: BaseException) -> None:
    with pytest.raises(type(ending)) as raised:
        runs(_raising(ending))()
    if isinstance(raised.value, typer.Exit):
        assert raised.value.exit_code == 3
