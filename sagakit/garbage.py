"""The garbage collector of a process that lives long.

Python looks through all that a process holds whenever a quarter as much has come since: with the modules of a service and some
thousand aggregates in memory that takes a tenth of the time of a busy process, in pauses of more than 100 ms.
"""

from __future__ import annotations

import gc

_YOUNG = 10_000
"""New objects before the youngest are looked through; what most commands leave behind is gone before, without any look."""


def seldom() -> None:
    """Have what is new looked through a tenth as often. A process that has turned that off, or set more itself, keeps it."""
    young, *others = gc.get_threshold()
    if young:
        gc.set_threshold(max(young, _YOUNG), *others)


def settle() -> None:
    """Take all there is for what stays, and look through what comes a tenth as often. For the end of a start; repeatable.

    A process that has turned the collector off keeps that.
    """
    if gc.isenabled():
        gc.collect()
        gc.freeze()
        seldom()
