"""The commands of keys: `keys add`, `keys list`, `keys revoke`, `keys usage`.

Belongs here: their names, arguments and help. Does not belong here: what they do
(`twin_cli/commands/`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from twin_cli import completion
from twin_cli.arguments import OPERATE, Home, Json, console, example, settings_of

commands = typer.Typer()
group = typer.Typer(
    help="Keys of the endpoint: who may ask whom, how often, and for how much money.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
commands.add_typer(group, name="keys", rich_help_panel=OPERATE, epilog=example("twin keys list"))
Label = Annotated[str, typer.Argument(help="A name for people, as `twin keys list` shows it.")]


@group.command(
    epilog=example(
        'twin keys add "my site" --author mara-lindqvist --role site --usd-per-day 2 '
        "--per-minute 60"
    )
)
def add(
    label: Label,
    author: Annotated[
        list[str],
        typer.Option(
            "--author",
            help="Whom it may ask: name or slug, or * for all; repeatable.",
            autocompletion=completion.authors,
        ),
    ],
    role: Annotated[
        Literal["reader", "site", "author", "admin"],
        typer.Option(
            "--role",
            help="site: has readers of its own and names them (user); author: its edits may train.",
        ),
    ] = "reader",
    alias: Annotated[
        list[str] | None,
        typer.Option(
            "--alias",
            help="What it may name; default @stable, @canary, @base and @voice; @paid costs money.",
        ),
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option("--per-minute", min=1, help="Requests in 60 seconds.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Requests under way at a time.")
    ] = None,
    usd_per_day: Annotated[
        float | None,
        typer.Option("--usd-per-day", min=0, help="For paid answers, US dollars a UTC day."),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Make a key and print it, once; without a limit none is held."""
    from twin_cli.commands.keys_command import run_add

    return run_add(
        settings_of(home),
        label,
        authors=author,
        role=role,
        aliases=alias or (),
        per_minute=per_minute,
        at_once=at_once,
        usd_per_day=usd_per_day,
        as_json=as_json,
        console=console(),
    )


@group.command(name="list", epilog=example("twin keys list"))
def list_(as_json: Json = False, home: Home = None) -> int:
    """The keys in use with their limits, without the keys themselves."""
    from twin_cli.commands.keys_command import run_list

    return run_list(settings_of(home), as_json=as_json, console=console())


@group.command(epilog=example('twin keys revoke "my site"'))
def revoke(label: Label, as_json: Json = False, home: Home = None) -> int:
    """End a key: it is refused within a second."""
    from twin_cli.commands.keys_command import run_revoke

    return run_revoke(settings_of(home), label, as_json=as_json, console=console())


@group.command(epilog=example("twin keys usage"))
def usage(as_json: Json = False, home: Home = None) -> int:
    """What each key, the teacher, judges and labels spent today and this month."""
    from twin_cli.commands.keys_command import run_usage

    return run_usage(settings_of(home), as_json=as_json, console=console())
