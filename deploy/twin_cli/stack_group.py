"""Declare the stack commands `up`, `status` and `stop`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import (
    START,
    AuthorName,
    Exclude,
    Home,
    Include,
    Port,
    command_decorator,
    format_example,
    load_home_settings,
)

commands = typer.Typer()
command = command_decorator(commands, START)

Posts = Annotated[
    Path | None, typer.Argument(help="Folder of posts; default: the bundled sample author.")
]
NewAuthor = Annotated[str, typer.Option("--author", help='The author of the posts: "First Last".')]
AnswerModel = Annotated[
    str,
    typer.Option(
        "--answer-model",
        help="A larger model that answers until a tuned one wins: folder, GGUF file, "
        "Hugging Face id or https://…/v1; saved; none removes it.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="Training recipe: a name or a .yaml path; saved; auto chooses by base model and "
        "device.",
    ),
]
AutoRetrain = Annotated[
    bool | None,
    typer.Option(
        "--auto-retrain/--no-auto-retrain",
        help="Let falling scores or new posts start a training run; saved.",
    ),
]
BaseModel = Annotated[
    str, typer.Option("--base-model", help="Hugging Face id, folder or GGUF file.")
]
Embedder = Annotated[
    str,
    typer.Option(
        "--embedder", help="all-minilm-l6-v2, multilingual-e5-small, a folder or a hub id."
    ),
]
Consent = Annotated[
    bool, typer.Option("--consent", help="The author has agreed; today's date is recorded.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Stop after the preview, or ask whether to go on.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Exit after the first answers.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print every step and measurement.")]
Train = Annotated[
    bool | None,
    typer.Option(
        "--train/--no-train", help="Train if no version exists and the author has agreed; saved."
    ),
]
Retrain = Annotated[bool, typer.Option("--retrain", help="Train even if a version exists.")]
Gateways = Annotated[
    int | None,
    typer.Option(
        "--gateways",
        min=1,
        max=64,
        help="Number of gateway processes behind the endpoint, 350 MB each; saved.",
    ),
]


@command("up_command.run_up_command", 'twin up path/to/posts --author "First Last"')
def up(  # noqa: PLR0913, PLR0917 - one parameter per option
    path: Posts = None,
    author: NewAuthor = "",
    include: Include = None,
    exclude: Exclude = None,
    base_model: BaseModel = "",
    embedder: Embedder = "",
    answer_model: AnswerModel = "",
    recipe: RecipeName = "",
    consent: Consent = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    verbose: Verbose = False,
    train: Train = None,
    retrain: Retrain = False,
    auto_retrain: AutoRetrain = None,
    gateways: Gateways = None,
    gateway_port: Port = None,
    dagster_port: Port = None,
    traces_port: Port = None,
    chat_port: Port = None,
) -> None:
    """Import posts, train a twin and serve it behind one endpoint."""


@command("status.run_status", "twin status --wait", json=True)
def status(
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait for the verdict. Exit code: 0 tuned, 3 refused, 4 failed."
        ),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds to wait for training to begin.")
    ] = None,
    author: AuthorName = "",
) -> None:
    """Show the running programs and the versions that answer."""


@commands.command(rich_help_panel=START, epilog=format_example("twin stop"))
def stop(home: Home = None) -> int:
    """End all processes of the stack."""
    from twin_cli.commands.console import echo
    from twin_cli.commands.stopping import run_stop

    return run_stop(load_home_settings(home), log=echo)
