"""Read the figures of a first run from the lines that a user sees.

Scope: parsing the lines of `deploy/up.sh` and `twin up` in their plain form.
Out of scope: running them (`bench_first_run.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_SILENCE_S = 15.0
PHASES = ("fine tuned checkpoint", "checkpoint evaluation")  # assets whose duration is reported
STAGE_LINE = re.compile(r"^\[(\d)/6\] ")
QUOTATION_LINE = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+asked \d+ questions; the best answers:")
SENTENCE_LINE = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+from .*:$")
DONE_LINE = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+(?P<asset>[a-z ]+?) done in (?P<time>\d+(?::\d+)+)")
TIME_LEFT_LINE = re.compile(
    r"^\s+[\d:]+\s+(?P<asset>[a-z ]+?)  .*?(?P<elapsed>\d+(?::\d+)+), "
    r"(?:(?P<low>[\d.]+) to|up to|under) (?P<high>[\d.]+) (?P<unit>minute|hour)s? left"
)


def parse_clock(clock: str) -> float:
    """Return the seconds of a time such as `1:02:03` or `4:05`."""
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total


@dataclass
class FirstRun:
    """Figures from the lines so far; all times are seconds since the command started.

    Attributes:
        first_sentence_at: when the preview showed its first sentence.
        first_quotation_at: when the endpoint first quoted a post.
        line_count: number of printed lines.
        durations_s: printed duration of each asset in the training run.
        forecasts_s: asset → (seconds since its start, shortest and longest seconds left according
            to its progress bar).
    """

    installed_at: float | None = None
    first_sentence_at: float | None = None
    first_quotation_at: float | None = None
    line_count: int = 0
    released_at: float | None = None
    reported_at: float | None = None
    longest_silence_s: float = 0.0
    durations_s: dict[str, float] = field(default_factory=dict[str, float])
    forecasts_s: dict[str, list[tuple[float, float, float]]] = field(
        default_factory=dict[str, list[tuple[float, float, float]]]
    )
    _last_line_at: float = 0.0

    def add_line(self, line: str, *, elapsed_s: float) -> None:
        """Read a line that was printed `elapsed_s` seconds after the start."""
        self.longest_silence_s = max(self.longest_silence_s, elapsed_s - self._last_line_at)
        self._last_line_at = elapsed_s
        self.line_count += 1
        if STAGE_LINE.match(line) and self.installed_at is None:
            self.installed_at = elapsed_s
        if SENTENCE_LINE.match(line) and self.first_sentence_at is None:
            self.first_sentence_at = elapsed_s
        if QUOTATION_LINE.match(line) and self.first_quotation_at is None:
            self.first_quotation_at = elapsed_s
        if "released: v" in line and self.released_at is None:
            self.released_at = elapsed_s
        if match := DONE_LINE.match(line):
            self.durations_s[match["asset"]] = parse_clock(match["time"])
        elif match := TIME_LEFT_LINE.match(line):
            unit_s = 3600 if match["unit"] == "hour" else 60
            self.forecasts_s.setdefault(match["asset"], []).append(
                (
                    parse_clock(match["elapsed"]),
                    unit_s * float(match["low"] or 0),
                    unit_s * float(match["high"]),
                )
            )

    def forecast_hits(self) -> tuple[int, int]:
        """Return how many forecasts held the time that was left, and how many there were."""
        hits = [
            low <= self.durations_s[asset] - elapsed_s <= high
            for asset, forecasts in self.forecasts_s.items()
            if asset in self.durations_s
            for elapsed_s, low, high in forecasts
        ]
        return sum(hits), len(hits)
