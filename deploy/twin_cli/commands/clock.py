"""Show the progress of a command: stages with a clock, lines, and a bar with the time left.

Scope: writing to the terminal, the plain form for logs and pipes, how often each reports a wait,
and the lines that only the long form has.
Out of scope: the messages; tables of results (`presentation.py`); the estimate of the time left
(`time_left.py`).
"""
# pyright: strict

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from twin_cli.commands.console import make_console

STAGES = 6
QUIET_S = 12.0  # before a wait is reported; people wait 15 s without worry
LOG_QUIET_S = 30.0  # the same in a log, which is read afterwards
BEAT_S = 1.0


def duration(seconds: float) -> str:
    """Return seconds as `0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class StageBar:
    """A running step: its phases in turn, each with the time taken and the time left.

    In a terminal it is redrawn every second; elsewhere the clock's beat prints its line.
    """

    def __init__(self, clock: StageClock, title: str, progress: Progress | None) -> None:
        self._clock = clock
        self._progress = progress
        self._task: TaskID | None = (
            progress.add_task(title, total=None, detail="") if progress else None
        )
        self.phase(title)

    def phase(self, title: str) -> None:
        """Begin another phase: restart its clock and forget the earlier steps."""
        self._title, self._began = title, time.monotonic()
        self._clock.begin_wait()
        self._detail = ""
        self._done: float | None = None
        self._total: float | None = None
        self._ends: float | None = None
        self.redraw()

    @property
    def elapsed_s(self) -> float:
        """The seconds since the phase began."""
        return time.monotonic() - self._began

    def update(
        self,
        detail: str,
        *,
        done: float | None = None,
        total: float | None = None,
        left_s: float | None = None,
    ) -> None:
        """Show `detail`, the share done if `done` and `total` are known, and the seconds left."""
        self._detail, self._done, self._total = detail, done, total
        self._ends = None if left_s is None else time.monotonic() + left_s
        self.redraw()

    def line(self) -> str:
        """Return the bar as text: `train  42 %  step 20/48  loss 2.31  2:10, about 3:05 left`."""
        share = f"{100 * self._done / self._total:.0f} %" if self._done and self._total else ""
        times = duration(self.elapsed_s)
        if self._ends is not None:
            times += f", about {duration(max(0.0, self._ends - time.monotonic()))} left"
        return "  ".join(filter(None, (self._title, share, self._detail, times)))

    def redraw(self) -> None:
        """Redraw the bar in a terminal: the time left counts down between two reports."""
        if self._progress is None or self._task is None:
            self._clock.beat()
            return
        remaining = self.line().removeprefix(self._title).strip()
        self._progress.update(
            self._task,
            description=self._title,
            completed=self._done,
            total=self._total,
            detail=remaining,
        )


class StageClock:
    """A clock that prints stages and lines with the time since the start.

    Args:
        console: the output console; a terminal gets colours and live bars, a pipe plain lines.
        stages: the number of stages.
        verbose: whether to print the details, and every wait at the shorter interval.
    """

    def __init__(
        self, console: Console | None = None, *, stages: int = STAGES, verbose: bool = False
    ) -> None:
        self.console = console or make_console()
        self.verbose = verbose
        self._waits_said = 0  # of the current wait
        self._stages = stages
        self._began = time.monotonic()
        self._stage_began = self._began
        self.times: dict[str, float] = {}
        self._title = ""
        self._spoken = self._began
        self._bar: StageBar | None = None
        self._idle = ""  # the title of a wait before any stage has begun
        self._beats = False
        self._writing = threading.RLock()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def stage(self, number: int, title: str) -> None:
        """Begin a stage; the previous stage's time is stored in `times` (seconds)."""
        self._close_stage()
        self._title = title
        self.begin_wait()
        line = f"[{number}/{self._stages}] {title}  {duration(self.elapsed_s)}"
        with self._writing:
            if self.verbose or self.console.is_terminal:
                self.console.print()
            self._print(line, style="bold")

    def finish(self) -> None:
        """Close the last stage."""
        with self._writing:  # waits until a beat in progress is written
            self._close_stage()
            self._title = ""

    def say(self, text: str, *, style: str = "") -> None:
        """Print a line after the clock; further lines of `text` are indented under it."""
        head, *rest = text.splitlines() or [""]
        lines = [f"  {duration(self.elapsed_s):>5}  {head}", *(f"         {line}" for line in rest)]
        self._print("\n".join(lines), style=style or None)

    def detail(self, text: str, *, style: str = "") -> None:
        """Print a line in the long form only."""
        if self.verbose:
            self.say(text, style=style)

    def show(self, renderable: RenderableType) -> None:
        """Print a table or a block of text."""
        with self._writing:
            self._spoken = time.monotonic()
            self.console.print(renderable)

    @contextmanager
    def never_silent(self, title: str = "") -> Generator[None]:
        """Report progress at intervals while the block waits.

        A terminal and the long form get a line every `QUIET_S`. A log gets one after `LOG_QUIET_S`,
        then after twice as long each time: an hour of one wait makes seven lines.

        Args:
            title: the title of the wait where no stage and no bar names it, or empty to print
                nothing there.
        """
        if self._beats:
            yield
            return
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                if (bar := self._bar) is not None:
                    bar.redraw()
                self.beat()

        heart = threading.Thread(target=beat, name="never silent", daemon=True)
        self._beats, self._idle = True, title
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            self._beats, self._idle = False, ""

    def beat(self) -> None:
        """Print a line after a long silence; a live bar in a terminal makes it unnecessary."""
        with self._writing:
            often = self.verbose or self.console.is_terminal
            quiet_s = QUIET_S if often else LOG_QUIET_S * 2**self._waits_said
            if time.monotonic() - self._spoken < quiet_s:
                return
            self._waits_said += 1
            if (bar := self._bar) is None:
                if title := self._title or self._idle:
                    since = duration(time.monotonic() - self._stage_began)
                    self.say(f"{title}: goes on, {since}")
            elif not self.console.is_terminal:
                self.say(bar.line())

    def begin_wait(self) -> None:
        """Begin a new wait, whose reports are counted from 0."""
        self._waits_said = 0

    @contextmanager
    def bar(self, title: str) -> Generator[StageBar]:
        """Show a live bar for one step; it leaves no output, so the caller prints the result."""
        if not self.console.is_terminal:
            yield from self._shown(StageBar(self, title, None))
            return
        columns = (
            TextColumn("         {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield from self._shown(StageBar(self, title, progress))

    def _shown(self, bar: StageBar) -> Generator[StageBar]:
        before, self._bar = self._bar, bar
        try:
            yield bar
        finally:
            self._bar = before

    def _print(self, text: str, *, style: str | None) -> None:
        with self._writing:
            self._spoken = time.monotonic()
            self.console.print(text, style=style, markup=False)

    def _close_stage(self) -> None:
        now = time.monotonic()
        if self._title:
            self.times[self._title] = now - self._stage_began
        self._stage_began = now
