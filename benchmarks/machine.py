"""The machine a benchmark ran on, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil


class ForeignCpu:
    """The share of the machine's processors taken by others than this process and its children, since it was made."""

    def __init__(self) -> None:
        """Begin to count."""
        self._total, self._busy, self._own = *_machine_seconds(), _own_seconds()

    def share(self) -> float:
        """Return the share from 0 to 1."""
        total, busy = _machine_seconds()
        return foreign_share(total - self._total, busy - self._busy, _own_seconds() - self._own)


def foreign_share(total: float, busy: float, own: float) -> float:
    """Work out the foreign share of a span from its processor seconds: all, busy, and busy for us."""
    return min(max((busy - own) / total, 0.0), 1.0) if total > 0 else 0.0


def _machine_seconds() -> tuple[float, float]:
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy = user + nice + system + interrupts + soft + stolen
    ticks = os.sysconf("SC_CLK_TCK")
    return (busy + idle + waiting) / ticks, busy / ticks


def _own_seconds() -> float:
    here = psutil.Process()
    seconds = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            seconds += sum(process.cpu_times()[:4])  # its own and that of its ended children, user and system
        except psutil.Error:
            continue  # it ended just now, and counts with its parent
    return seconds


def description() -> str:
    """Name processor, cores, memory, kernel and Python in one line."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    memory = psutil.virtual_memory().total / 2**30
    processor = names[0] if names else platform.machine()
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} x {processor}, {memory:.0f} GiB, {system}, Python {platform.python_version()}"


def versions(*packages: str) -> str:
    """Name the versions of packages in this environment."""
    return ", ".join(f"{package} {version(package)}" for package in packages)
