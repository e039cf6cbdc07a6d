"""`dbos` at work, in its own environment: reads a JSON job a line, prints a JSON answer a line.

A workflow of three steps and a list of compensations, as its documentation shows: async functions, steps with retries, the
state of the workflow in PostgreSQL. The services are in memory. There is no server between caller and worker.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from dbos import DBOS, SetWorkflowID

BOOKED: dict[str, str] = {}


def step(deed):
    return DBOS.step(retries_allowed=True, interval_seconds=0.2, max_attempts=100)(deed)


@step
async def book_car(trip: str, traveller: str) -> str:
    return book(f"car/{trip}", traveller)


@step
async def cancel_car(trip: str, traveller: str) -> str:
    return BOOKED.pop(f"car/{trip}", "")


@step
async def book_hotel(trip: str, traveller: str) -> str:
    return book(f"hotel/{trip}", traveller)


@step
async def cancel_hotel(trip: str, traveller: str) -> str:
    return BOOKED.pop(f"hotel/{trip}", "")


@step
async def book_flight(trip: str, traveller: str) -> str:
    return book(f"flight/{trip}", traveller)


def book(reference: str, traveller: str) -> str:
    BOOKED[reference] = traveller
    return reference


@DBOS.workflow()
async def book_trip(trip: str, traveller: str) -> str:
    undos = []
    try:
        undos.append(cancel_car)
        await book_car(trip, traveller)
        undos.append(cancel_hotel)
        await book_hotel(trip, traveller)
        return await book_flight(trip, traveller)
    except Exception:
        for undo in reversed(undos):
            await undo(trip, traveller)
        raise


class Peer:
    async def open(self, url: str) -> dict:
        url = url.replace("postgresql://", "postgresql+psycopg://")
        DBOS(config={"name": "trips", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})
        DBOS.launch()
        return {}

    async def book(self, trips: list[str], in_flight: int) -> dict:
        before, cpu, began = len(BOOKED), cpu_seconds(), time.perf_counter()
        waiting = iter(trips)

        async def work() -> None:
            for trip in waiting:
                with SetWorkflowID(trip):
                    await book_trip(trip, "Ada")

        await asyncio.gather(*(work() for _ in range(in_flight)))
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
        if (found := len(BOOKED) - before) != 3 * len(trips):
            raise AssertionError(f"{found} bookings for {len(trips)} trips; the measurement counts for nothing")
        return {"seconds": seconds, "cpu": cpu}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        print(json.dumps(await getattr(peer, job.pop("do"))(**job)), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main())
