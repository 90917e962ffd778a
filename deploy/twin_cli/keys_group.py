"""Declare the key commands `keys add`, `keys list`, `keys revoke` and `keys usage`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from twin_cli.arguments import OPERATE, command_decorator, format_example

commands = typer.Typer()
group = typer.Typer(
    help="Manage the endpoint's keys: the authors each may ask, how often, and at what cost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
commands.add_typer(
    group, name="keys", rich_help_panel=OPERATE, epilog=format_example("twin keys list")
)
command = command_decorator(group)
Label = Annotated[str, typer.Argument(help="A human-readable name, as `twin keys list` shows it.")]


@command(
    "keys_command.run_add",
    'twin keys add "my site" --author mara-lindqvist --role site --usd-per-day 2 --per-minute 60',
    json=True,
)
def add(
    label: Label,
    authors: Annotated[
        list[str],
        typer.Option(
            "--author", help="An author the key may ask: name, slug, or * for all; repeatable."
        ),
    ],
    role: Annotated[
        Literal["reader", "site", "author", "admin", "monitor", "alarm"],
        typer.Option(
            "--role",
            help="site: may name its readers in `user`; author: edits may be used for training, "
            "and opens /questions; monitor: may read only /metrics; alarm: may only request "
            "retrainings at /twin/alarm.",
        ),
    ] = "reader",
    aliases: Annotated[
        list[str] | None,
        typer.Option(
            "--alias",
            help="A model suffix the key may use; default: @stable, @canary, @base and @voice.",
        ),
    ] = None,
    per_minute: Annotated[
        int | None,
        typer.Option("--per-minute", min=1, help="Maximum number of requests in 60 seconds."),
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Maximum number of concurrent requests.")
    ] = None,
    usd_per_day: Annotated[
        float | None,
        typer.Option("--usd-per-day", min=0, help="US dollars for paid answers per UTC day."),
    ] = None,
) -> None:
    """Create a key and print it once; it has no limits unless you set some."""


@command("keys_command.run_list", "twin keys list", name="list", json=True)
def list_() -> None:
    """List the active keys with their limits, and the spending today and this month."""


@command("keys_command.run_revoke", 'twin keys revoke "my site"', json=True)
def revoke(label: Label) -> None:
    """Revoke a key; the gateway refuses it within a second."""
