"""What an import came to: counts, the table for people, the JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from sqlmodel import func, select

from projections.order_summary import OrderSummaryRow
from sagakit.cli.output import print_table, stdout
from sagakit.errors import InvalidInput
from sagakit.system import System
from worker import invariants
from worker.order_file import OrderFile, Reject

_SHOWN_REJECTS = 200
_SHOWN_CHARACTERS = 40


async def read_model_rows(system: System) -> int:
    """Count the rows of all read models."""
    total = 0
    for service in system.services.services:
        for projection in service.projections:
            async with (await system.open(service.name)).tables.transaction() as session:
                total += (await session.exec(select(func.count()).select_from(projection.table))).one()
    return total


async def summarise(
    system: System, file: OrderFile, rows: dict[str, OrderSummaryRow], parked: set[str], duplicates: int, seconds: float
) -> dict[str, Any]:
    """Put the figures of an import together."""
    status = Counter(rows[d.number].status for d in (*file.orders, *file.returns) if d.number in rows and d.number not in parked)
    facts = await invariants.all_facts(system)
    return {
        "documents": len(file.orders) + len(file.returns) + len(file.rejected_documents),
        "orders": len(file.orders),
        "returns": len(file.returns),
        "completed": status["completed"],
        "compensated": status["cancelled"],
        "returned": status["returned"],
        "parked": len(parked),
        "rejected_documents": len(file.rejected_documents),
        "rejected_lines": len(file.rejects),
        "duplicates": duplicates,
        "events": len(facts),
        "read_model_rows": await read_model_rows(system),
        "seconds": round(seconds, 2),
        "invariants": await invariants.check(system, facts),
    }


def print_summary(summary: dict[str, Any], file: OrderFile, rows: dict[str, OrderSummaryRow]) -> None:
    """Show the figures, the reasons of compensation and the rejects."""
    print_table("outcomes", ("what", "count"), [(k.replace("_", " "), v) for k, v in summary.items() if k != "invariants"])
    reasons = Counter(
        row.reason.partition(":")[0].partition(" has ")[0][:60] for row in rows.values() if row.status == "cancelled"
    )
    declined = sum(count for reason, count in reasons.items() if reason.startswith("payment declined"))
    stdout.print(f"Compensated: {declined} for payment, {sum(reasons.values()) - declined} for stock or another reason.")
    _print_rejects(file.rejects)
    for name, holds in summary["invariants"].items():
        stdout.print(f"invariant {name}: " + ("[green]holds[/]" if holds else "[bold red]BROKEN[/]"))


def _print_rejects(rejects: list[Reject]) -> None:
    """Show every reject, or the first ones and how many more there are of each reason."""
    shown, rest = rejects[:_SHOWN_REJECTS], rejects[_SHOWN_REJECTS:]
    if shown:
        rows = [(r.row, r.column, r.found[:_SHOWN_CHARACTERS], r.reason) for r in shown]
        print_table(f"rejected rows ({len(shown)} of {len(rejects)})", ("line", "column", "found", "reason"), rows)
    if rest:
        counts = Counter((reject.column, reject.reason) for reject in rest).most_common()
        print_table(f"{len(rest)} more", ("column", "reason", "count"), [(*kind, count) for kind, count in counts])


def refuse_unwritable(path: Path) -> None:
    """Find out before anything is sent whether the summary can be written. Raises `InvalidInput`."""
    is_new = not path.exists()
    try:
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise InvalidInput(f"--summary-file {path} cannot be written: {error.strerror}") from None


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the figures as JSON. Raises `InvalidInput` when the file cannot be written."""
    try:
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--summary-file {path} cannot be written: {error.strerror}") from None
