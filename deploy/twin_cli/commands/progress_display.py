"""Show a command's progress: stages and lines with the elapsed time, and a bar with the time left.

Scope: writing to the terminal, plain output for logs and pipes, reports while the command waits,
and verbose output.
Out of scope: the messages, tables of results (`presentation.py`), and estimating the time left
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
from twin_resources.processes.wording import format_duration, format_time_left

WAIT_REPORT_INTERVAL_S = 12.0  # a terminal must not be silent for more than 15 s
LOG_WAIT_REPORT_INTERVAL_S = 30.0  # for logs, which are read afterwards
REFRESH_INTERVAL_S = 1.0


class ProgressBar:
    """A running step and its current phase, with the time taken and the time left.

    In a terminal, the bar is redrawn every second; elsewhere, the display prints its line at
    intervals.
    """

    def __init__(
        self,
        display: ProgressDisplay,
        title: str,
        progress: Progress | None,
        *,
        log_interval_s: float | None = None,
    ) -> None:
        self.log_interval_s = log_interval_s
        self._display = display
        self._progress = progress
        self._task: TaskID | None = (
            progress.add_task(title, total=None, detail="") if progress else None
        )
        self.begin_phase(title)

    def begin_phase(self, title: str) -> None:
        """Begin a new phase, which resets the elapsed time and the progress."""
        self._title, self._started_at = title, time.monotonic()
        self._display.begin_wait()
        self._detail = ""
        self._done: float | None = None
        self._total: float | None = None
        self._estimated_ends: tuple[float, float] | None = None  # earliest and latest
        self.redraw()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self._started_at

    def update(
        self,
        detail: str,
        *,
        done: float | None = None,
        total: float | None = None,
        remaining_s: tuple[float, float] | None = None,
    ) -> None:
        """Show `detail`, the percentage if `done` and `total` are known, and the time left.

        Args:
            remaining_s: shortest and longest remaining time in seconds.
        """
        self._detail, self._done, self._total = detail, done, total
        self._estimated_ends = None
        if remaining_s is not None:
            now = time.monotonic()
            self._estimated_ends = now + remaining_s[0], now + remaining_s[1]
        self.redraw()

    def status_line(self) -> str:
        """Return the bar as text: `train  42 %  step 20/48  2:10, 2 to 5 minutes left`."""
        percentage = f"{100 * self._done / self._total:.0f} %" if self._done and self._total else ""
        timing_text = format_duration(self.elapsed_s)
        if self._estimated_ends is not None:
            earliest, latest = (end - time.monotonic() for end in self._estimated_ends)
            timing_text += f", {format_time_left(earliest, latest)}"
        return "  ".join(filter(None, (self._title, percentage, self._detail, timing_text)))

    def redraw(self) -> None:
        """Redraw the bar in a terminal, where the time left counts down between two updates."""
        if self._progress is None or self._task is None:
            self._display.report_wait()
            return
        status_text = self.status_line().removeprefix(self._title).strip()
        self._progress.update(
            self._task,
            description=self._title,
            completed=self._done,
            total=self._total,
            detail=status_text,
        )


class ProgressDisplay:
    """Print stages and lines with the time since the start.

    Args:
        console: the output console. A terminal gets colors and live bars; a pipe gets plain lines.
        stage_count: the number of stages.
        verbose: whether to print details, and to report waits at the shorter interval.
    """

    def __init__(
        self, console: Console | None = None, *, stage_count: int = 6, verbose: bool = False
    ) -> None:
        self.console = console or make_console()
        self.verbose = verbose
        self._wait_report_count = 0  # during the current wait
        self._stage_count = stage_count
        self._started_at = time.monotonic()
        self._stage_started_at = self._started_at
        self._title = ""
        self._last_output_at = self._started_at
        self._bar: ProgressBar | None = None
        self._wait_title = ""  # title of a wait outside a stage
        self._is_reporting_waits = False
        self._output_lock = threading.RLock()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_at

    def begin_stage(self, number: int, title: str) -> None:
        """Begin a stage, which ends the previous one."""
        self._title, self._stage_started_at = title, time.monotonic()
        self.begin_wait()
        line = f"[{number}/{self._stage_count}] {title}  {format_duration(self.elapsed_s)}"
        with self._output_lock:
            if self.verbose or self.console.is_terminal:
                self.console.print()
            self.show(line, style="bold")

    def finish(self) -> None:
        """End the last stage."""
        with self._output_lock:  # wait until a report in progress is written
            self._title, self._stage_started_at = "", time.monotonic()

    def log(self, text: str, *, style: str = "") -> None:
        """Print the time and the first line of `text`, with further lines indented below."""
        first_line, *further_lines = text.splitlines() or [""]
        lines = [
            f"  {format_duration(self.elapsed_s):>5}  {first_line}",
            *(f"         {line}" for line in further_lines),
        ]
        self.show("\n".join(lines), style=style or None)

    def log_detail(self, text: str) -> None:
        """Print a line only in verbose output."""
        if self.verbose:
            self.log(text)

    def show(self, renderable: RenderableType, *, style: str | None = None) -> None:
        """Print a table or a block of text."""
        with self._output_lock:
            self._last_output_at = time.monotonic()
            self.console.print(renderable, style=style, markup=False)

    @contextmanager
    def report_waits(self, title: str = "") -> Generator[None]:
        """Report progress at intervals while the block waits.

        A terminal and verbose output get a line every `WAIT_REPORT_INTERVAL_S`. A log gets its
        first line after `LOG_WAIT_REPORT_INTERVAL_S`, and this interval doubles with each line, so
        that an hour produces seven lines.

        Args:
            title: title of the wait outside a stage or bar, or empty to print nothing there.
        """
        if self._is_reporting_waits:
            yield
            return
        stop_event = threading.Event()

        def report_periodically() -> None:
            while not stop_event.wait(REFRESH_INTERVAL_S):
                if (bar := self._bar) is not None:
                    bar.redraw()
                self.report_wait()

        reporter = threading.Thread(target=report_periodically, name="wait reports", daemon=True)
        self._is_reporting_waits, self._wait_title = True, title
        reporter.start()
        try:
            yield
        finally:
            stop_event.set()
            reporter.join()
            self._is_reporting_waits, self._wait_title = False, ""

    def report_wait(self) -> None:
        """Print a line after a long time without output, unless a terminal shows a live bar."""
        with self._output_lock:
            if self._bar is not None and self._bar.log_interval_s is not None:
                interval_s = self._bar.log_interval_s
            elif self.verbose or self.console.is_terminal:
                interval_s = WAIT_REPORT_INTERVAL_S
            else:
                interval_s = LOG_WAIT_REPORT_INTERVAL_S * 2**self._wait_report_count
            if time.monotonic() - self._last_output_at < interval_s:
                return
            self._wait_report_count += 1
            if (bar := self._bar) is None:
                if title := self._title or self._wait_title:
                    elapsed = format_duration(time.monotonic() - self._stage_started_at)
                    self.log(f"{title}: still running, {elapsed}")
            elif not self.console.is_terminal:
                self.log(bar.status_line())

    def begin_wait(self) -> None:
        """Begin a new wait and reset its count of reports."""
        self._wait_report_count = 0

    @contextmanager
    def bar(self, title: str, *, log_interval_s: float | None = None) -> Generator[ProgressBar]:
        """Show a live bar for one step; it disappears at the end, so the caller prints a result.

        Args:
            log_interval_s: the seconds between two lines of a log, or None to let them grow as in
                `report_waits`.
        """
        if not self.console.is_terminal:
            yield from self._activate_bar(
                ProgressBar(self, title, None, log_interval_s=log_interval_s)
            )
            return
        columns = (
            TextColumn("         {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield from self._activate_bar(ProgressBar(self, title, progress))

    def _activate_bar(self, bar: ProgressBar) -> Generator[ProgressBar]:
        previous_bar, self._bar = self._bar, bar
        try:
            yield bar
        finally:
            self._bar = previous_bar
