"""`export`, `replay` and `failures`: take a part of production to the test bench."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.pretty import Pretty

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, printable, runs, stderr, stdout
from sagakit.cli.replay import Asked as Again
from sagakit.cli.replay import replay_to_consumer
from sagakit.cli.session import open_system, session_of
from sagakit.errors import InvalidInput
from sagakit.export import Asked
from sagakit.export import export as take_out
from sagakit.replay import Attempt, Step, check, fill, fresh_system, steps, try_again
from sagakit.slices import Slice, read_slice

_REPRODUCED, _NOT_REPRODUCED = 4, 5


@runs
async def export(
    context: typer.Context,
    stream: Annotated[str | None, typer.Option(help="This stream, like order-536365.")] = None,
    correlation: Annotated[str | None, typer.Option(metavar="ID", help="This conversation, over all services.")] = None,
    after: Annotated[
        int | None, typer.Option(metavar="POS", min=0, help="What stands behind this position of --service.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    mask: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Mask this field too, at any depth, or actor; repeat it.")
    ] = None,
) -> None:
    """Print a part of the logs as JSON lines, for `replay`: personal fields masked, each stream from its first event."""
    session = session_of(context)
    async with open_system(session) as system:
        part = await take_out(system, Asked(stream, correlation, after, service), mask or ())
    for line in part.lines():
        print(line)  # noqa: T201 the result, which is a file's content
    head = part.header
    masked = ", ".join(head.masked) or "nothing"
    stderr.print(f"{head.events} events, {head.failed_commands} failed commands; masked: {masked}", soft_wrap=True)


@runs
async def replay(  # noqa: PLR0917 typer's options
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[SLICE]", help="A file that export made.")] = None,
    data: Annotated[Path | None, typer.Option(help="A fresh folder to keep the store in; else it is thrown away.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Show every event and what it changed.")] = False,
    until: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop behind event N and show the state of its aggregate.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Show only this stream.")] = None,
    consumer: Annotated[str | None, typer.Option(help="Instead of a slice: send this consumer a part of the log again.")] = None,
    first: Annotated[int, typer.Option("--from", metavar="POS", min=1, help="With --consumer: from this position.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", metavar="POS", min=1, help="With --consumer: up to this position; all when left out.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="With --consumer: the producing service.")] = None,
    timeout: Annotated[  # noqa: ASYNC109 of the user's patience
        float, typer.Option(min=0.1, help="With --consumer: seconds without a move after which to say so.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Replay a slice with side effects off, or a range of the log to one consumer.

    Exit code of a slice: 0, no failed command; 4, each failed as then; 5, one did not.
    """
    session = session_of(context)
    if consumer is not None and file is None:
        await replay_to_consumer(session, Again(consumer, first, last, service, timeout), as_json=as_json)
        return
    if file is None or consumer is not None:
        raise InvalidInput("give a slice's file, or --consumer with --from and --to: exactly one of the two")
    part = read_slice(file)
    check(part, session.services, str(file))
    if until is not None and until > len(part.events):
        raise InvalidInput(f"--until {until}: the slice has {len(part.events)} events")
    if stream is not None and stream not in {event.stream for event in part.events}:
        raise InvalidInput(f"--stream {stream}: the slice has no event of it")
    with _folder(data) as folder:
        async with fresh_system(folder, session.services) as system:
            written = await fill(system, part, until)
            done = [each for each in steps(system, written) if stream in (None, each.event.stream)]
            wanted = [each for each in part.failures if stream in (None, each.stream)]
            attempts = [] if until is not None else [await try_again(system, failed) for failed in wanted]
    shown = done if step else _last_of_each(done if until is None else done[-1:])
    if as_json:
        print_json({"steps": [_step_json(each) for each in shown], "failed_commands": [_attempt_json(each) for each in attempts]})
    else:
        _print(part, shown, attempts, is_stepwise=step)
    if attempts:
        raise typer.Exit(_REPRODUCED if all(attempt.is_reproduced for attempt in attempts) else _NOT_REPRODUCED)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="sagakit-replay-") as folder:
        yield Path(folder)


def _last_of_each(done: list[Step]) -> list[Step]:
    return list({each.event.stream: each for each in done}.values())


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "number": step.event.number,
        "service": step.event.service,
        "stream": step.event.stream,
        "version": step.event.version,
        "type": step.event.type,
        "recorded_at": step.event.recorded_at.isoformat(),
        "state": to_jsonable_python(step.state),
        "changed": [change.as_json() for change in step.changed],
        "raised": step.raised,
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "failed": attempt.failed.model_dump(mode="json"),
        "exception": attempt.exception,
        "text": attempt.text,
        "answer": attempt.answer,
        "is_reproduced": attempt.is_reproduced,
    }


def _print(part: Slice, shown: list[Step], attempts: list[Attempt], *, is_stepwise: bool) -> None:
    for each in shown:
        event = each.event
        _say(f"{event.number} of {part.header.events}: {event.type}, {event.stream} version {event.version}, {event.recorded_at}")
        if each.raised:
            _say(each.raised)
        elif is_stepwise:
            rows = [(c["path"], c["before"], c["after"]) for c in (change.as_json() for change in each.changed)]
            print_table("it changed", ("field", "before", "after"), rows)
        else:
            stdout.print(Pretty(each.state))
    for attempt in attempts:
        failed = attempt.failed
        _say(f"{failed.command} met {failed.stream} at version {failed.version}")
        _say(f"  then: {failed.exception}: {failed.text}")
        _say(f"  here: {attempt.answer}" + ("  (the same)" if attempt.is_reproduced else ""))


def _say(text: str) -> None:
    stdout.print(printable(text), markup=False, soft_wrap=True)


@runs
async def failures(context: typer.Context, as_json: AsJson = False) -> None:
    """List the commands whose handler raised what nobody expected, with the version of the stream that each met."""
    session = session_of(context)
    found: list[dict[str, Any]] = []
    async with open_system(session) as system:
        for name in session.services.with_a_log():
            failed = await (await system.open(name)).failures.find()
            # The key of the masks stays in the database.
            found += [{"service": name} | {k: v for k, v in vars(each).items() if k != "mask_key"} for each in failed]
    if as_json:
        print_json(to_jsonable_python(found))
        return
    columns = ("service", "stream", "version", "command", "exception", "text", "correlation_id", "recorded_at")
    print_table(f"{len(found)} failed commands", columns, [[each[column] for column in columns] for each in found])
