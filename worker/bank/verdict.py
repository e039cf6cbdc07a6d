"""What a run of the bank test came to: counts, what has to hold, the table for people and the JSON for machines."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from sagakit.cli.output import print_table, stdout
from worker.bank.audit import Sample, samples_of
from worker.bank.course import Course
from worker.bank.crew import Crew

SAMPLES = 200
_TOLD = 10


def sum_up(
    course: Course, crew: Crew, transfers: int, parked: frozenset[str], seconds: float, chance: Random
) -> tuple[dict[str, Any], list[str]]:
    """Put the figures together, and say in words what is wrong.

    The cuts while it ran are those that were taken live; the logs are then cut again, from the beginning, at random places.
    """
    again, judged_again = samples_of(course.logs, chance, SAMPLES)
    ends = Counter(end for transfer, end in course.ends.items() if transfer not in parked)
    last = course.audit.sample()
    broken = [sample for sample in (*course.samples, *again) if not sample.is_square]
    events = sum(len(events) for events in course.logs.values())
    in_transit = sum(pence for transfer, pence in course.audit.on_the_way.items() if transfer.startswith(f"{course.run}-"))
    stuck = transfers - sum(ends.values()) - len(parked)
    disagreements = course.disagreements
    summary = {
        "transfers": transfers,
        "completed": ends["completed"],
        "compensated": ends["compensated"],
        "parked": len(parked),
        "parked_then_decided": len(parked & course.ends.keys()),
        "stuck": stuck,
        "kills": dict(crew.kills),
        "processes_that_ended_by_themselves": crew.ended_alone,
        "samples_while_running": len(course.samples),
        "samples_of_random_cuts": len(again),
        "samples_with_money_in_transit": sum(sample.in_transit > 0 for sample in (*course.samples, *again)),
        "samples_moved_back_to_be_consistent": sum(sample.held_back > 0 for sample in (*course.samples, *again)),
        "double_effects": len(course.audit.faults) + course.ended_twice,
        "invariant_breaks": len(broken) + len(disagreements),
        "brought_in_pence": last.brought_in,
        "at_rest_pence": last.balances,
        "in_transit_pence": in_transit,
        "in_transit_pence_of_earlier_runs": last.in_transit - in_transit,
        "events": events,
        "seconds": round(seconds, 1),
        "invariants": {
            "outcomes": stuck == 0 and transfers == sum(ends.values()) + len(parked),
            "money at rest": last.is_square and not in_transit and not last.held_back and last == judged_again.sample(),
            "money at every cut": not broken and len(course.samples) + len(again) >= min(SAMPLES, events),
            "effects": not course.audit.faults and not course.ended_twice and not disagreements,
        },
    }
    return summary, [*course.audit.faults, *disagreements, *(_told(sample) for sample in broken)]


def _told(sample: Sample) -> str:
    found = f"{sample.balances} in balances and {sample.in_transit} in transit"
    return f"at the cut {sample.cut}: {found}, {sample.brought_in} brought in"


def show(summary: dict[str, Any], faults: list[str]) -> None:
    """Print the table, what holds, and the first faults."""
    rows = [(name.replace("_", " "), _shown(value)) for name, value in summary.items() if name != "invariants"]
    print_table("bank", ("what", "count"), rows)
    for name, holds in summary["invariants"].items():
        stdout.print(f"invariant {name}: " + ("[green]holds[/]" if holds else "[bold red]BROKEN[/]"))
    for fault in faults[:_TOLD]:
        stdout.print(f"fault: {fault}", markup=False, soft_wrap=True)
    if len(faults) > _TOLD:
        stdout.print(f"and {len(faults) - _TOLD} faults more")


def _shown(value: object) -> object:
    return ", ".join(f"{name} {count}" for name, count in value.items()) or "none" if isinstance(value, dict) else value
