"""The commands of posts: `import`, `forget`.

Belongs here: their names, arguments and help. Does not belong here: what they do
(`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli import completion
from twin_cli.arguments import POSTS, AuthorName, Home, Include, Json, console, example, settings_of

commands = typer.Typer()


@commands.command(
    name="import",
    rich_help_panel=POSTS,
    epilog=example('twin import path/to/posts --author "First Last" --dry-run'),
)
def import_(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of posts, an export, s3://… or a feed; without it the author's known ones."
        ),
    ] = None,
    author: AuthorName = "",
    include: Include = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Import new, edited and deleted posts; retrains nothing."""
    from twin_cli.commands.import_command import run_import

    return run_import(
        settings_of(home),
        path,
        author=author,
        dry_run=dry_run,
        as_json=as_json,
        include=include or (),
    )


@commands.command(
    rich_help_panel=POSTS,
    epilog=example("twin forget --post 2014-03-02-clock.md --dry-run"),
)
def forget(
    post: Annotated[
        str,
        typer.Option(
            "--post", help="A post: its document id, path, address or title; one is enough."
        ),
    ] = "",
    author: Annotated[
        str,
        typer.Option(
            "--author",
            help="Whose post, where several have it; alone: the author with everything.",
            autocompletion=completion.authors,
        ),
    ] = "",
    reader: Annotated[
        str, typer.Option("--reader", help="A reader's key, or the 16 digits in their traces.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it is.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Remove a post, an author or a reader from everything; leaves a certificate of hashes."""
    from twin_cli.commands.forget_command import run_forget

    return run_forget(
        settings_of(home),
        post=post,
        author=author,
        reader=reader,
        dry_run=dry_run,
        as_json=as_json,
        console=console(),
    )
