"""`topology show`, `check` and `apply`: services, exchanges and queues, as declared, as recorded and as the broker has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stderr, stdout
from sagakit.cli.session import Session, open_system, session_of
from sagakit.comparison import with_broker, with_records
from sagakit.errors import BusUnavailable, InvalidInput
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.inspection import Inspection, LayoutLook
from sagakit.rabbitmq.topology import DEAD_LETTERS, layout
from sagakit.repartition import partitioned
from sagakit.sql import subscriptions
from sagakit.sql.tables import SubscriptionRow

app = typer.Typer(help="Services, exchanges and queues of RabbitMQ: draw, compare, declare.", no_args_is_help=True)


@app.command()
@runs
async def show(
    context: typer.Context,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid diagram.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw which service feeds which through which queues; with counts of messages and consumers where the broker answers."""
    session = session_of(context)
    wanted = _wanted(session)
    looks: dict[str, LayoutLook] = {}
    if not session.settings.is_embedded_bus:
        try:
            async with _inspecting(session) as inspection:
                looks = await _looks(inspection, wanted)
        except BusUnavailable as error:
            stderr.print(f"without live counts: {error}", markup=False, soft_wrap=True)
    drawn = [_drawn(subscription, looks.get(layout(subscription).exchange)) for subscription in wanted]
    if as_json:
        print_json({"subscriptions": drawn, "dead_letters": DEAD_LETTERS})
    elif mermaid:
        stdout.print(_mermaid(drawn), markup=False, soft_wrap=True)
    else:
        rows = [
            (d["producer"], ", ".join(d["events"]), f"{d['exchange']} ({d['kind']})", q["name"], q["messages"], q["consumers"])
            for d in drawn
            for q in d["queues"]
        ]
        print_table("topology", ("producer", "events", "exchange", "queue", "messages", "consumers"), rows)
        stdout.print(f"refused without a table to keep it: {DEAD_LETTERS}")


@app.command()
@runs
async def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Compare what is declared with what is recorded and what the broker has; exit code 1 on any difference. It only looks."""
    session = _on_rabbitmq(context)
    wanted = _wanted(session)
    records: dict[str, Sequence[SubscriptionRow]] = {}
    async with open_system(session) as system:
        for name in {subscription.producer for subscription in wanted}:
            async with system.look(name) as opened:
                if opened is not None:
                    async with opened.tables.transaction() as transaction:
                        records[name] = await subscriptions.recorded(transaction)
    async with _inspecting(session) as inspection:
        looks = await _looks(inspection, wanted)
    found = with_records(wanted, records) + with_broker(wanted, looks)
    if as_json:
        print_json([difference.as_json() for difference in found])
    elif found:
        rows = [(d.consumer, d.what, d.problem, "yes" if d.is_reparable else "no", d.remedy) for d in found]
        print_table("differences", ("consumer", "what", "problem", "reparable", "remedy"), rows)
    else:
        stdout.print("everything is as declared; bindings are not seen by AMQP, `topology apply` makes them sure")
    if found:
        raise typer.Exit(1)


@app.command()
@runs
async def apply(context: typer.Context) -> None:
    """Record the subscriptions and declare their queues, as `start` does: for a deployment, before anything runs."""
    session = _on_rabbitmq(context)
    wanted = _wanted(session)
    bus = RabbitBus(session.settings.bus, session.settings.publish_seconds, session.settings.prefetch)
    try:
        await bus.open()
        await bus.declare(wanted)
    finally:
        await bus.close()
    async with open_system(session) as system:
        for subscription in wanted:
            opened = await system.open(subscription.producer)
            async with opened.tables.transaction() as transaction:
                await subscriptions.record(transaction, subscription)
    stdout.print(f"{len(wanted)} subscriptions recorded and declared")


def _on_rabbitmq(context: typer.Context) -> Session:
    session = session_of(context)
    if session.settings.is_embedded_bus:
        raise InvalidInput("the in-process bus has no queues: set SAGAKIT_BUS to an AMQP URL")
    return session


def _wanted(session: Session) -> list[Subscription]:
    return partitioned(session.services.subscriptions(), session.settings.partitions)


@asynccontextmanager
async def _inspecting(session: Session) -> AsyncIterator[Inspection]:
    inspection = Inspection(session.settings.bus, session.settings.publish_seconds)
    try:
        await inspection.open()
        yield inspection
    finally:
        await inspection.close()


async def _looks(inspection: Inspection, wanted: Sequence[Subscription]) -> dict[str, LayoutLook]:
    layouts = {laid_out.exchange: laid_out for laid_out in map(layout, wanted)}
    return {name: await inspection.look(laid_out) for name, laid_out in layouts.items()}


def _drawn(subscription: Subscription, look: LayoutLook | None) -> dict[str, Any]:
    laid_out = layout(subscription)
    live = {queue.name: queue for queue in look.queues if queue.state != "missing"} if look else {}
    queues = [
        {
            "name": name,
            "binding": key,
            "messages": live[name].messages if name in live else None,
            "consumers": live[name].consumers if name in live else None,
        }
        for name, key in laid_out.bindings
    ]
    return {
        "producer": subscription.producer,
        "consumer": subscription.consumer,
        "events": sorted(subscription.event_types),
        "partitions": subscription.partitions,
        "exchange": laid_out.exchange,
        "kind": laid_out.exchange_type,
        "queues": queues,
    }


def _mermaid(drawn: Sequence[dict[str, Any]]) -> str:
    lines = ["flowchart LR"]
    for d in drawn:
        lines.append(f'    {_node(d["producer"])}["{d["producer"]}"] -->|{", ".join(d["events"])}| {_node(d["exchange"])}_x')
        lines.append(f'    {_node(d["exchange"])}_x{{{{"{d["exchange"]} ({d["kind"]})"}}}}')
        for queue in d["queues"]:
            counts = "" if queue["messages"] is None else f"<br/>{queue['messages']} waiting, {queue['consumers']} consuming"
            lines.append(f'    {_node(d["exchange"])}_x --> {_node(queue["name"])}_q[("{queue["name"]}{counts}")]')
            lines.append(f'    {_node(queue["name"])}_q --> {_node(d["consumer"])}_c("{d["consumer"]}")')
    dead = _node(DEAD_LETTERS)
    lines += [f'    {dead}_x{{{{"{DEAD_LETTERS} (fanout)"}}}} --> {dead}_q[("{DEAD_LETTERS}")]']
    return "\n".join(dict.fromkeys(lines))


def _node(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
