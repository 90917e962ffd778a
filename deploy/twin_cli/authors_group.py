"""Declare the command for author files, `authors apply`.

Scope: its name, arguments and help.
Out of scope: its work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import OPERATE, command_decorator, format_example

commands = typer.Typer()
group = typer.Typer(
    help="Share author files with every host that uses the same PostgreSQL state store.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EXAMPLE_COMMAND = "twin authors apply authors/"
commands.add_typer(
    group, name="authors", rich_help_panel=OPERATE, epilog=format_example(EXAMPLE_COMMAND)
)
command = command_decorator(group)


@command("authors_command.run_apply", EXAMPLE_COMMAND, name="apply")
def apply(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of author files; shared files missing from it are deleted."),
    ],
    is_confirmed: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False,
) -> None:
    """Show the changes, then replace the shared author files with the files in a folder."""
