"""Declare the commands for model versions.

They are `versions`, `retrain`, `rollback`, `release`, `lower-floor` and `export`.
Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import VERSIONS, AuthorName, Reason, command_decorator

commands = typer.Typer()
command = command_decorator(commands, VERSIONS)


@command("versions.run_versions", "twin versions", json=True)
def versions(author: AuthorName = "") -> None:
    """List the author's model versions with their verdicts and moves."""


@command("retrain_command.run_retrain", 'twin retrain --reason "forty new posts"')
def retrain(
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait for the verdict. Exit code: 0 tuned, 3 refused, 4 failed."
        ),
    ] = False,
    author: AuthorName = "",
) -> None:
    """Train again on the current posts; refused during a training, waits behind a report."""


@command("versions.run_rollback", 'twin rollback --reason "it repeats itself"')
def rollback(
    version: Annotated[
        str,
        typer.Argument(help="A version such as v2; default: the previous stable one."),
    ] = "",
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
) -> None:
    """Restore a retired version."""


@command("versions.run_release", 'twin release v2 --reason "I have read fifty answers"')
def release(
    version: Annotated[
        str,
        typer.Argument(
            help="A refused or parked version such as v2; for the stable version, only "
            "its prose is released."
        ),
    ],
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    share: Annotated[
        str,
        typer.Option(
            "--share",
            help="The share of the readers, such as 10%; it is taken back on errors.",
        ),
    ] = "",
    is_withdrawn: Annotated[
        bool,
        typer.Option("--withdraw", help="Take back the release of the stable version's prose."),
    ] = False,
) -> None:
    """Release a version that the gate refused; it is marked as forced."""


@command(
    "lower_floor_command.run_lower_floor",
    'twin lower-floor --reason "a class of students reads it now"',
    name="lower-floor",
)
def lower_floor(
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
) -> None:
    """Start to watch the quality anew, because the readers or the judge have changed."""


@command("versions.run_export", "twin export v2 --format gguf", json=True)
def export(
    version: Annotated[
        str,
        typer.Argument(help="A version such as v2; default: the stable one."),
    ] = "",
    export_format: Annotated[
        str,
        typer.Option("--format", help="adapter, merged, gguf-adapter or gguf."),
    ] = "adapter",
    output_folder: Annotated[
        Path | None, typer.Option("--to", help="A new folder; default: in the current folder.")
    ] = None,
    dtype: Annotated[
        str,
        typer.Option("--dtype", help="The dtype of merged weights: float16, bfloat16 or float32."),
    ] = "float16",
    skill: Annotated[
        Path | None,
        typer.Option("--skill", help="Write the public posts as an Agent Skill into this folder."),
    ] = None,
    author: AuthorName = "",
) -> None:
    """Export a version for vLLM, transformers or llama.cpp, or the posts as an Agent Skill."""
