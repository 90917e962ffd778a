"""The console of every command, which prints no control characters, and commands as users type."""
# pyright: strict

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import JSONHighlighter
from rich.json import JSON
from rich.segment import Segment
from rich.text import Text

PIPED_WIDTH = 110  # columns; rich's default of 80 is too narrow for three columns of text

# What a terminal obeys instead of showing: C0 and C1 controls except tab and line feed (ESC, CSI,
# OSC clear the screen, set titles, write to the clipboard), marks that reverse or hide text (bidi
# controls, tags), other line ends, and halves of surrogate pairs, which no stream can encode.
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Return a text that readers, models or posts may have written, as a terminal may show it."""
    return _UNPRINTABLE.sub("", text)


def echo(text: object = "", *, err: bool = False) -> None:
    """Print one text outside a console, without control characters."""
    typer.echo(printable(str(text)), err=err)


class SafeConsole(Console):
    """A console whose only control sequences are rich's own: styles and the cursor of a bar."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Build the text without control characters, so that tables measure what is printed."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable; their text has no control characters."""
        for segment in super().render(renderable, options):
            is_text = not segment.control and _UNPRINTABLE.search(segment.text)
            yield Segment(printable(segment.text), segment.style) if is_text else segment

    def print_json(self, json: str | None = None, *, data: Any = None, **options: Any) -> None:
        """Print JSON with every such character as an escape, so that no value changes."""
        document = JSON(json, **options) if json is not None else JSON.from_data(data, **options)
        text = document.text
        if _UNPRINTABLE.search(text.plain):
            text = JSONHighlighter()(_UNPRINTABLE.sub(_escape, text.plain))
        self.print(text, soft_wrap=True)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text literally, without rich's markup and emoji codes.

    It is as wide as the terminal, or 110 columns for a pipe or file.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_piped = not stream.isatty() and "COLUMNS" not in os.environ
    width = PIPED_WIDTH if is_piped else None
    return SafeConsole(
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
