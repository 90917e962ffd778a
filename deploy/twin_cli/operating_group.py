"""Declare the operator's commands, such as `doctor`, `backup`, `restore`, `repair` and `logs`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from twin_cli.arguments import OPERATE, AuthorName, command_decorator

commands = typer.Typer()
command = command_decorator(commands, OPERATE)


@command("doctor.run_doctor", "twin doctor --json", json=True)
def doctor(
    repairs: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Restore damaged tables to their newest intact version, after showing the plan.",
        ),
    ] = False,
    is_confirmed: Annotated[
        bool, typer.Option("--yes", help="With --repair, repair without asking.")
    ] = False,
) -> None:
    """Check everything that a twin needs and suggest remedies; exit code 1 if a check fails."""


BackupLocation = Annotated[str, typer.Argument(metavar="FILE", help="A tar file.")]


@command("operating.run_backup", "twin backup ~/twin-monday.tar", json=True)
def backup(
    location: BackupLocation,
    include_secrets: Annotated[
        bool,
        typer.Option("--secrets", help="Include the keys, readable by anyone who has the backup."),
    ] = False,
) -> None:
    """Back up a home, even while it runs, to a file; verify every table."""


@command("operating.run_restore", "twin restore ~/twin-monday.tar --home ~/new-twin", json=True)
def restore(location: BackupLocation) -> None:
    """Fill an empty home from a backup; the settings decide where tables and state are stored."""


@command("operating.run_pause", 'twin pause mara-lindqvist --reason "she asked for it"')
def pause(
    author: Annotated[str, typer.Argument(help="Name or slug.")],
    reason: Annotated[
        str, typer.Option("--reason", help="The reason that readers see.")
    ] = "paused by the operator",
    should_resume: Annotated[
        bool, typer.Option("--resume", help="Let the author answer again.")
    ] = False,
) -> None:
    """Pause an author's answers within seconds; requests get status 503 and the reason."""


@command("routing_command.run_routing", "twin routing", json=True)
def routing(author: AuthorName = "") -> None:
    """Show which questions go to the paid model, the savings, and any missing requirements."""


@command("why_command.run_why", "twin why mara-lindqvist", json=True)
def why(author: Annotated[str, typer.Argument(help="Name or slug.")] = "") -> None:
    """Show 90 days of an author's votes, their outcomes, and every decision with its rule."""


@command("serving_command.run_serve", "twin serve gateway")
def serve(
    program: Annotated[str, typer.Argument(help="gateway, models, relay …")],
) -> None:
    """Run one program of the stack in the foreground, on its own host or in its own container."""


@command("logs.run_logs", "twin logs gateway --follow")
def logs(
    program: Annotated[
        str,
        typer.Argument(help="A program from `twin status`; without it, list the programs."),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")
    ] = False,
    line_count: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="The number of last lines to print.")
    ] = 50,
) -> None:
    """Print the log of one of the stack's programs."""
