"""The command line as a whole: what is wrong with the words that were given is said in one sentence, like any other error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

# typer keeps the errors that its parser raises in a module of its own; its public ones say nothing about what is wrong.
from typer._click.exceptions import NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from sagakit.cli.output import print_error


class CommandLine(TyperGroup):
    """Leaves with exit code 2 where a command, an option or a value is missing, unknown or of the wrong kind."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001 typer's signature
        windows_expand_args: bool = True,  # noqa: FBT001
        **extra: Any,
    ) -> Any:
        """Run it, by the words of the process unless others are given, and leave with its exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)  # noqa: FBT003
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)  # noqa: FBT003
        except NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except UsageError as error:
            said = error.format_message().rstrip(".")
            print_error(f"{said}; see {error.ctx.command_path} --help" if error.ctx else said)
            sys.exit(error.exit_code)
        # A command returns nothing, unless it left on purpose: then typer returns its exit code.
        sys.exit(code if isinstance(code, int) else 0)
