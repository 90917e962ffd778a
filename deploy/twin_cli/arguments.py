"""What commands share: arguments that many take, their settings, where they print.

Belongs here: what two groups of commands use, and the panels of the help. Does not belong here: a
command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twin_cli import completion

if TYPE_CHECKING:
    from rich.console import Console

    from twin_resources.settings import Settings

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default TWIN_HOME, else .twin.")
]
AuthorName = Annotated[
    str,
    typer.Option(
        "--author", help="The author's name, or its slug.", autocompletion=completion.authors
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", help="twin/AUTHOR, or @base, @stable …", autocompletion=completion.models
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        help="Also drafts, private, followers, paid or replies; kept.",
        autocompletion=completion.included,
    ),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the next free one.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object (deploy/docs/command.md).")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the move for ever.")]

# Panels of `twin --help`, in the order in which a person comes to need them.
START, ASK, POSTS, VERSIONS, OPERATE = "Start", "Ask", "Posts", "Versions", "Operate"


def example(command: str) -> str:
    """The last line of a command's help: one way to type it."""
    return f"Example: {command}"


def settings_of(home: Path | None) -> Settings:
    """The settings of this home, with the ports of the stack that runs in it."""
    from twin_resources.processes.stack import chosen_settings
    from twin_resources.settings import load_settings

    return chosen_settings(load_settings(home))


def console() -> Console:
    """Where tables and answers are printed."""
    from twin_cli.commands.console import make_console

    return make_console()


def say(text: str, *, to_error: bool = False) -> None:
    """Print a line of plain text."""
    typer.echo(text, err=to_error)
