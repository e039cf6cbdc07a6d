"""What can go wrong with a saga, by name: at a step, at the undo of one, and while it waits."""

from __future__ import annotations

from typing import Literal, get_args

StepFault = Literal["refused", "crash", "late", "silent", "cancelled", "late success", "double event", "killed"]
"""What goes wrong at a step.

*refused*: the business says no. *crash*: the first attempt fails before it has an effect. *late*: it takes effect, and its answer
is lost; the next attempt finds it done. *silent*: it takes effect and never answers, until a person has it tried again.
*cancelled*: the saga is cancelled while the step is on its way. *late success*: the call is lost on its way and the saga gives it
up; it arrives once the saga has ended. *double event*: what the saga began with, and all that it was told, comes again while the
step is on its way. *killed*: it takes effect, and its worker, which holds the saga too, is gone before it answers.
"""
UndoFault = Literal[
    "undo refused", "undo crash", "undo late", "undo silent", "undo cancelled", "undo double event", "undo killed"
]
"""The same at the undo of a step, behind which something is refused. What is refused or silent is tried again by a person."""
WaitFault = Literal["wait lost", "wait late", "wait doubled", "wait cancelled", "wait killed"]
"""What goes wrong while the saga waits.

*lost*: the event never comes. *late*: it comes as the saga next does something, its time over. *doubled*: it comes twice.
*cancelled*, *killed*: as at a step; what is waited for comes afterwards.
"""
Fault = StepFault | UndoFault | WaitFault
STEP_FAULTS: tuple[StepFault, ...] = get_args(StepFault)
UNDO_FAULTS: tuple[UndoFault, ...] = get_args(UndoFault)
WAIT_FAULTS: tuple[WaitFault, ...] = get_args(WaitFault)
FAULTS: tuple[Fault, ...] = (*STEP_FAULTS, *UNDO_FAULTS, *WAIT_FAULTS)
