"""What `twin up` shows while it works: stages with a clock, lines, and a bar with the time left.

Belongs here: writing to the terminal, and the plain form for logs and pipes. Does not belong here:
what is said; tables of results (`presentation.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from twin_resources.command.console import make_console

STAGES = 6
QUIET_S = 15.0  # without a terminal: a line at most this often


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Bar:
    """A running step. Without a terminal it prints a line every 15 seconds."""

    def __init__(self, clock: StageClock, title: str, progress: Progress | None) -> None:
        self._clock = clock
        self._title = title
        self._progress = progress
        self._task: TaskID | None = (
            progress.add_task(title, total=None, detail="") if progress else None
        )
        self._spoken = time.monotonic()

    def update(self, detail: str, *, done: float | None = None, total: float | None = None) -> None:
        """Show `detail`, and `done` of `total` where both are known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, detail=detail)
            return
        now = time.monotonic()
        if now - self._spoken >= QUIET_S:
            self._spoken = now
            share = f"{100 * done / total:.0f} %  " if done is not None and total else ""
            self._clock.say(f"{self._title}  {share}{detail}")


class StageClock:
    """Prints stages and lines with the time since the start.

    Args:
        console: where to; a terminal gets colours and live bars, a pipe gets plain lines.
        stages: how many there are.
    """

    def __init__(self, console: Console | None = None, *, stages: int = STAGES) -> None:
        self.console = console or make_console()
        self._stages = stages
        self._began = time.monotonic()
        self._stage_began = self._began
        self.times: dict[str, float] = {}
        self._title = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def stage(self, number: int, title: str) -> None:
        """Begin a stage; the former one's time goes into `times` (seconds)."""
        self._close_stage()
        self._title = title
        self.console.print()
        line = f"[{number}/{self._stages}] {title}  {duration(self.elapsed_s)}"
        self.console.print(line, style="bold", markup=False)

    def finish(self) -> None:
        """Close the last stage."""
        self._close_stage()
        self._title = ""

    def say(self, text: str, *, style: str = "") -> None:
        """One line with the clock in front; further lines of `text` are indented under it."""
        head, *rest = text.splitlines() or [""]
        lines = [f"  {duration(self.elapsed_s):>5}  {head}", *(f"         {line}" for line in rest)]
        self.console.print("\n".join(lines), style=style or None, markup=False)

    def show(self, renderable: RenderableType) -> None:
        """A table or a block of text."""
        self.console.print(renderable)

    @contextmanager
    def bar(self, title: str) -> Generator[Bar]:
        """A live bar for one step; it leaves no trace behind, so say how it ended."""
        if not self.console.is_terminal:
            yield Bar(self, title, None)
            return
        columns = (
            TextColumn("         {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield Bar(self, title, progress)

    def _close_stage(self) -> None:
        now = time.monotonic()
        if self._title:
            self.times[self._title] = now - self._stage_began
        self._stage_began = now
