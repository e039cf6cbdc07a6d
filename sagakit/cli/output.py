"""What every command says and how: results on stdout, everything else on stderr, an error in one sentence."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sagakit.errors import InvalidInput, SagakitError

P = ParamSpec("P")
T = TypeVar("T")
stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout, and nothing else there."""
    print(json.dumps(value, default=str, ensure_ascii=False, indent=None))  # noqa: T201 the machine-readable result


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    stdout.print(table)


def printable(text: str) -> str:
    """Write what a terminal would obey, or cannot show, as escapes: control characters, changes of direction, a poor encoding."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.encode(stdout.encoding, "backslashreplace").decode(stdout.encoding)


def fail(error: SagakitError) -> NoReturn:
    """Say what is wrong and leave: exit code 2 for bad input, 1 for anything else."""
    _show_trace(error)
    print_error(str(error))
    raise typer.Exit(2 if isinstance(error, InvalidInput) else 1)


def print_error(text: str) -> None:
    """Say on stderr what is wrong."""
    stderr.print(f"[bold red]error:[/] {_escaped(text)}", soft_wrap=True)


def _show_trace(error: Exception) -> None:
    if logging.getLogger().isEnabledFor(logging.INFO):  # what --verbose sets
        stderr.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def runs(command: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Run an async command; a sagakit error becomes one sentence instead of a stack trace."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return asyncio.run(command(*args, **kwargs))  # type: ignore[arg-type]
        except SagakitError as error:
            fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:  # noqa: BLE001 nobody expected it: told in one sentence, shown whole with --verbose
            _show_trace(error)
            text = _escaped(f"{type(error).__name__}: {error}")
            advice = "run again with --verbose for the stack trace, and report it"
            stderr.print(f"[bold red]unexpected:[/] {text}; {advice}", soft_wrap=True)
            raise typer.Exit(1) from None

    return run


def configure_logging(*, is_verbose: bool) -> None:
    """Log to stderr: warnings, or everything with --verbose. No message bodies and no settings are ever logged."""
    level = logging.INFO if is_verbose else logging.WARNING
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=stderr.is_terminal),
        ],
    )
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s")
    # The reconnecting client reports each attempt with a stack trace; our own loops say that they wait.
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
