"""Declare the post commands `import`, `questions` and `forget`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import POSTS, AuthorName, Exclude, Include, command_decorator

commands = typer.Typer()
command = command_decorator(commands, POSTS)


@command(
    "import_and_forget.run_import",
    'twin import path/to/posts --author "First Last" --dry-run',
    name="import",
    json=True,
)
def import_(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of posts, an export, s3://… or a feed; default: the author's sources."
        ),
    ] = None,
    author: AuthorName = "",
    include: Include = None,
    exclude: Exclude = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported, and stop or ask.")
    ] = False,
) -> None:
    """Import new, edited and deleted posts without training."""


@command("unanswered_command.run_questions", "twin questions mara-lindqvist", json=True)
def questions(
    author: Annotated[
        str, typer.Argument(help="The author's name or slug; default: the last-served one.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="How far back to look.")] = 28,
    write: Annotated[
        str, typer.Option("--write", help="Draft a post that answers the questions of this id.")
    ] = "",
    quote: Annotated[
        str, typer.Option("--quote", help="Answer such questions with the passage of --passage.")
    ] = "",
    passage: Annotated[
        str, typer.Option("--passage", help="A sentence of the passage, word for word.")
    ] = "",
    never: Annotated[str, typer.Option("--never", help="Decline such questions from now on.")] = "",
    undo: Annotated[
        str, typer.Option("--undo", help="Delete what --quote or --never has set for this id.")
    ] = "",
) -> None:
    """List what readers asked and no post answered, by subject, and act on a subject."""


@command(
    "import_and_forget.run_forget", "twin forget --post 2014-03-02-clock.md --dry-run", json=True
)
def forget(
    post: Annotated[
        str,
        typer.Option("--post", help="The post's document id, path, address or title."),
    ] = "",
    author: Annotated[
        str,
        typer.Option(
            "--author",
            help="The post's author, if several have it; without --post, forget the author.",
        ),
    ] = "",
    reader: Annotated[
        str, typer.Option("--reader", help="A reader's key, or the 16 digits in their traces.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show where the data is stored, and stop.")
    ] = False,
) -> None:
    """Erase a post, an author or a reader everywhere and write a certificate of hashes."""
