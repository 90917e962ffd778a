"""Run one command, from its arguments to its exit code.

Scope: the list of command groups, and converting every error to a message and an exit code.
Out of scope: the commands (one module per group).
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from importlib import metadata
from typing import Annotated

import typer

from twin_cli import (
    answers_group,
    keys_group,
    operating_group,
    posts_group,
    stack_group,
    versions_group,
)
from twin_resources.errors import TwinError

PACKAGE_NAME = "llm-twin"

app = typer.Typer(
    name="twin",
    help="A language model that answers in one author's voice, from that author's own posts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (
    stack_group,
    answers_group,
    posts_group,
    versions_group,
    operating_group,
    keys_group,
):
    app.add_typer(group.commands)  # without a name, so the commands are top-level


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(format_version_line())
        raise typer.Exit


@app.callback()
def twin(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the versions of the program, Python and the platform.",
        ),
    ] = False,
) -> None:
    """Define the options that precede a command's name."""


def format_version_line() -> str:
    """Return `llm-twin 0.1.0, Python 3.11.7, Linux 6.1.0 x86_64`, the first line of a bug report.

    Raises:
        TwinError: the project is not installed.
    """
    try:
        version = metadata.version(PACKAGE_NAME)
    except metadata.PackageNotFoundError as error:
        raise TwinError(
            "print the version",
            found=f"no package {PACKAGE_NAME} is installed in {sys.prefix}",
            next_step="install it: `pip install -e .` in the checkout, or `bash deploy/up.sh`",
        ) from error
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{PACKAGE_NAME} {version}, Python {platform.python_version()}, {system}"


def run(arguments: list[str]) -> int:
    """Run one command, print any error as a message, and return the exit code."""
    try:
        exit_code = app(args=arguments, prog_name="twin", standalone_mode=False)
    except TwinError as error:
        _print_error(error.tried, found=error.found, next_step=error.next_step)
        return 1
    except KeyboardInterrupt:
        typer.echo("interrupted")
        return 130
    except BrokenPipeError:
        # In `twin … | head`, `head` has exited, so nothing more can be written to the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        location = f": {error.filename}" if error.filename else ""
        _print_error(
            "finish the command",
            found=f"{error.strerror or error}{location}",
            next_step=_suggest_next_step(error),
        )
        typer.echo(f"details: {_save_traceback()}", err=True)
        return 1
    except typer.Abort:
        return 130
    except Exception as error:  # noqa: BLE001 - no later code can turn it into a message
        show_usage = getattr(error, "show", None)
        if callable(show_usage):  # the argument parser's usage error has its own message
            show_usage()
            return int(getattr(error, "exit_code", 2))
        _print_error(
            "finish the command",
            found=f"{type(error).__name__}: {error}",
            next_step=f"report this with {_save_traceback()}",
        )
        return 1
    return exit_code if isinstance(exit_code, int) else 0


def main() -> None:
    """Run the `twin` script."""
    sys.exit(run(sys.argv[1:]))


def _print_error(action: str, *, found: str, next_step: str) -> None:
    from twin_cli.commands.console import echo, printable

    typer.secho(printable(f"Could not {action}."), err=True, fg="red", bold=True)
    echo(f"  found: {found}", err=True)
    echo(f"  next:  {next_step}", err=True)


def _suggest_next_step(error: OSError) -> str:
    """Return what the user can do about an error of the operating system."""
    from twin_resources.storage.storage_faults import classify_error

    fault = classify_error(error, str(error.filename or ""))
    return fault.remedy if fault else "see the details"


def _save_traceback() -> str:
    """Save the traceback to a temporary file, because the home may be unusable; return its path."""
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} twin {' '.join(sys.argv[1:])}\n"
    text += traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twin-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as stream:
            stream.write(text)
    except OSError as error:
        return f"(the traceback could not be saved: {error})\n{text}"
    return stream.name
