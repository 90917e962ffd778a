"""Create the console that every command uses, and format commands that the user can type.

Scope: width and style, and the name by which the shell finds `twin`.
Out of scope: output.
"""
# pyright: strict

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

PIPED_WIDTH = 110  # columns; rich's default of 80 is too narrow for three columns of text


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text literally, without rich's markup and emoji codes.

    It is as wide as the terminal, or 110 columns for a pipe or file.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_piped = not stream.isatty() and "COLUMNS" not in os.environ
    width = PIPED_WIDTH if is_piped else None
    return Console(
        stderr=stderr, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True
    )


def format_command(arguments: str, *, home: Path) -> str:
    """Return `twin <arguments>` as the user must type it in this shell and folder for this home.

    `deploy/up.sh` installs `twin` into `.venv`, which is not on the search path.
    """
    program = Path(sys.executable).with_name("twin")
    installed_script = shutil.which("twin")
    if installed_script is not None and Path(installed_script).resolve() == program.resolve():
        name = "twin"
    elif program.is_relative_to(Path.cwd()):
        name = str(program.relative_to(Path.cwd()))
    else:
        name = str(program)
    default_home = Path(os.environ.get("TWIN_HOME") or ".twin").expanduser().resolve()
    suffix = "" if home == default_home else f" --home {shlex.quote(str(home))}"
    return f"{shlex.quote(name)} {arguments}{suffix}"
