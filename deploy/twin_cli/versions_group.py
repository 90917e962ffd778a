"""The commands of model versions: `versions`, `retrain`, `rollback`, `release`, `lower-floor`,
`export`.

Belongs here: their names, arguments and help. Does not belong here: what they do
(`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli import completion
from twin_cli.arguments import (
    VERSIONS,
    AuthorName,
    Home,
    Json,
    Reason,
    console,
    example,
    settings_of,
)

commands = typer.Typer()


@commands.command(rich_help_panel=VERSIONS, epilog=example("twin versions"))
def versions(author: AuthorName = "", as_json: Json = False, home: Home = None) -> int:
    """The author's model versions, with verdicts and moves."""
    from twin_cli.commands.releases import run_versions

    return run_versions(settings_of(home), author=author, as_json=as_json, console=console())


@commands.command(
    rich_help_panel=VERSIONS, epilog=example('twin retrain --reason "forty new posts"')
)
def retrain(
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the verdict: 0 tuned, 3 refused, 4 failed.")
    ] = False,
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Train anew from the posts as they are now; refuses while a training is in flight."""
    from twin_cli.commands.clock import StageClock
    from twin_cli.commands.retrain_command import run_retrain

    return run_retrain(
        settings_of(home), author=author, reason=reason, wait=wait, clock=StageClock()
    )


@commands.command(
    rich_help_panel=VERSIONS, epilog=example('twin rollback --reason "it repeats itself"')
)
def rollback(
    version: Annotated[
        str,
        typer.Argument(
            help="v2; default: the one stable before.", autocompletion=completion.versions
        ),
    ] = "",
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Bring a retired version back."""
    from twin_cli.commands.releases import run_rollback

    return run_rollback(settings_of(home), version, author=author, reason=reason, console=console())


@commands.command(
    rich_help_panel=VERSIONS, epilog=example('twin release v2 --reason "I have read fifty answers"')
)
def release(
    version: Annotated[
        str,
        typer.Argument(
            help="A refused or parked version: v2; of the stable one its prose alone.",
            autocompletion=completion.versions,
        ),
    ],
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Release a version by hand that the gate refused; it is marked as forced."""
    from twin_cli.commands.releases import run_release

    return run_release(settings_of(home), version, author=author, reason=reason, console=console())


@commands.command(
    "lower-floor",
    rich_help_panel=VERSIONS,
    epilog=example('twin lower-floor --reason "a class of students reads it now"'),
)
def lower_floor(
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Judge quality anew from here on: readers or judge have changed, and the model has not."""
    from twin_cli.commands.lower_floor_command import run_lower_floor

    return run_lower_floor(settings_of(home), author=author, reason=reason, console=console())


@commands.command(rich_help_panel=VERSIONS, epilog=example("twin export v2 --format gguf"))
def export(
    version: Annotated[
        str,
        typer.Argument(help="v2; default: the stable one.", autocompletion=completion.versions),
    ] = "",
    wanted: Annotated[
        str,
        typer.Option(
            "--format",
            help="adapter, merged, gguf-adapter or gguf.",
            autocompletion=completion.formats,
        ),
    ] = "adapter",
    into: Annotated[Path | None, typer.Option("--to", help="A new folder; default: here.")] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="Of merged: float16, bfloat16 or float32.")
    ] = "float16",
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare it with the checkpoint.")
    ] = True,
    as_json: Json = False,
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """A version's weights for vLLM, transformers or llama.cpp, proved equal to what was trained."""
    from twin_cli.commands.export_command import run_export

    return run_export(
        settings_of(home),
        version,
        author=author,
        wanted=wanted,
        into=into,
        dtype=dtype,
        verify=verify,
        as_json=as_json,
        console=console(),
    )
