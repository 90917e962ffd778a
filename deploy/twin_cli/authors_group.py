"""Declare the commands of author files: `authors apply`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import OPERATE, commands_of, example

commands = typer.Typer()
group = typer.Typer(
    help="Share author files with every host that has the same PostgreSQL state store.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
TYPED = "twin authors apply authors/"
commands.add_typer(group, name="authors", rich_help_panel=OPERATE, epilog=example(TYPED))
command = commands_of(group)


@command("authors_command.run_apply", TYPED, name="apply")
def apply(
    folder: Annotated[
        Path, typer.Argument(help="Folder of author files; shared files not in it are deleted.")
    ],
    agreed: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False,
) -> None:
    """Replace the shared author files with a folder's, after showing the changes."""
