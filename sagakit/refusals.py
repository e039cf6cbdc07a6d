"""What the activity of a step says when the business says no."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from sagakit.errors import StepRefused


def refusal_of(name: str, cause: ApplicationError) -> StepRefused:
    """Read a refusal: which rule, in whose words, and how many commands of the step took effect all the same."""
    done = cause.details[0] if cause.details and isinstance(cause.details[0], int) else 0  # none in an older history
    return StepRefused(name, cause.type or "unknown", cause.message, done)
