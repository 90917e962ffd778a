"""The console of every command. Belongs here: its width and style. Does not belong here: output."""
# pyright: strict

from __future__ import annotations

import os
import sys

from rich.console import Console

PIPED_WIDTH = 110  # columns; rich's 80 squeeze three columns of text into ribbons


def make_console() -> Console:
    """A console as wide as the terminal, or 110 columns into a pipe or file."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, soft_wrap=True, width=PIPED_WIDTH if piped else None)
