"""The commands of whoever runs it: `check`.

Belongs here: their names, arguments and help. Does not belong here: what they do (`command/`).
"""

from __future__ import annotations

import typer

from twin_resources.cli.arguments import OPERATE, example

commands = typer.Typer()


@commands.command(
    rich_help_panel=OPERATE,
    epilog=example("twin check --fast"),
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def check(context: typer.Context) -> int:
    """Lint, types and tests; arguments go through (`--fast`, `--no-live`, `--long`, pytest's)."""
    from twin_resources.check import main as run_check

    return run_check(list(context.args))
