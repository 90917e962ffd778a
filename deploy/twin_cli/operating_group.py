"""The commands of whoever runs it: `doctor`, `backup`, `restore`, `repair`, `logs` …

Belongs here: their names, arguments and help. Does not belong here: what they do
(`twin_cli/commands/`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from twin_cli import completion
from twin_cli.arguments import OPERATE, AuthorName, Home, Json, console, example, settings_of

commands = typer.Typer()


@commands.command(rich_help_panel=OPERATE, epilog=example("twin doctor --json"))
def doctor(as_json: Json = False, home: Home = None) -> int:
    """Look at everything a twin needs and say what mends it; exit code 1 when anything fails."""
    from twin_cli.commands.doctor.examination import run_doctor

    return run_doctor(settings_of(home), as_json=as_json, console=console())


BackupPlace = Annotated[str, typer.Argument(metavar="FILE|s3://…", help="A tar file or a prefix.")]


@commands.command(rich_help_panel=OPERATE, epilog=example("twin backup ~/twin-monday.tar"))
def backup(
    place: BackupPlace,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Also the keys: whoever has the backup has them then.")
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Save the home as one file or under a prefix, while it runs; every table is verified."""
    from twin_cli.commands.backup_command import run_backup

    return run_backup(settings_of(home), place, secrets=secrets, as_json=as_json, console=console())


@commands.command(
    rich_help_panel=OPERATE, epilog=example("twin restore ~/twin-monday.tar --home ~/new-twin")
)
def restore(place: BackupPlace, as_json: Json = False, home: Home = None) -> int:
    """Make an empty home from a backup, with its tables and state where the settings say."""
    from twin_cli.commands.backup_command import run_restore

    return run_restore(settings_of(home), place, as_json=as_json, console=console())


@commands.command(rich_help_panel=OPERATE, epilog=example("twin repair"))
def repair(
    agreed: Annotated[bool, typer.Option("--yes", help="Do what it says without asking.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Bring damaged tables back to their newest whole version; says what it will do first."""
    from twin_cli.commands.repair_command import run_repair

    return run_repair(settings_of(home), agreed=agreed, as_json=as_json, console=console())


@commands.command(
    rich_help_panel=OPERATE,
    epilog=example('twin pause mara-lindqvist --reason "she asked for it"'),
)
def pause(
    author: Annotated[str, typer.Argument(help="Name or slug.", autocompletion=completion.authors)],
    reason: Annotated[
        str, typer.Option("--reason", help="Told to readers with the refusal.")
    ] = "paused by the operator",
    again: Annotated[bool, typer.Option("--resume", help="Let the author answer again.")] = False,
    home: Home = None,
) -> int:
    """Stop an author's answers within seconds: the gateway refuses with 503 and the reason."""
    from twin_cli.commands.pausing_command import run_pause

    return run_pause(settings_of(home), author, reason=reason, again=again, console=console())


@commands.command(
    rich_help_panel=OPERATE, epilog=example('twin routing try "How do I carry a clock?"')
)
def routing(
    action: Annotated[
        Literal["show", "try"], typer.Argument(help="try: where one question would go, and why.")
    ] = "show",
    question: Annotated[str, typer.Argument(help="With try.")] = "",
    author: AuthorName = "",
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Which questions go to the paid model and why, what that saved, what is missing for it."""
    from twin_cli.commands.routing_command import run_routing, run_try

    settings = settings_of(home)
    if action == "try":
        return run_try(settings, question, author=author, as_json=as_json, console=console())
    return run_routing(settings, author=author, as_json=as_json, console=console())


@commands.command(rich_help_panel=OPERATE, epilog=example("twin logs gateway --follow"))
def logs(
    program: Annotated[
        str,
        typer.Argument(
            help="As `twin status` names it; without one: which there are.",
            autocompletion=completion.programs,
        ),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Of its end.")] = 50,
    home: Home = None,
) -> int:
    """What a program of the stack has written."""
    from twin_cli.commands.logs import run_logs

    def write(text: str) -> None:
        typer.echo(text, nl=False)

    return run_logs(settings_of(home), program, lines=lines, follow=follow, write=write)


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
    script = Path(__file__).resolve().parents[1] / "checkout" / "check.py"
    if not script.is_file():
        asked_how = "--help" in context.args
        if asked_how:
            typer.echo(context.get_help())
        typer.echo(
            "`twin check` belongs to a checkout: run deploy/check.sh in one", err=not asked_how
        )
        return 0 if asked_how else 1
    return subprocess.run([sys.executable, str(script), *context.args], check=False).returncode
