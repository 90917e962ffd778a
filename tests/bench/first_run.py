"""Figures of a first run, read from the lines that a user sees.

Scope: parsing the lines of `deploy/up.sh` and `twin up` in their plain form.
Out of scope: running them (`bench_first_run.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SILENCE_S = 15.0
# asset → its name in the forecast
PHASES = {"fine tuned checkpoint": "training_s", "checkpoint evaluation": "gate_s"}
STAGE = re.compile(r"^\[(\d)/6\] ")
QUOTED = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+asked \d+ questions; the best answers:")
SENTENCE = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+from .*:$")
DONE = re.compile(r"^\s+\d+:\d+(?::\d+)?\s+(?P<asset>[a-z ]+?) done in (?P<took>\d+(?::\d+)+)")
LEFT = re.compile(r"^\s+[\d:]+\s+(?P<asset>[a-z ]+?)  .*?(?P<since>\d+(?::\d+)+), about "
                  r"(?P<left>\d+(?::\d+)+) left")  # fmt: skip
EXPECTED = {
    "installed": re.compile(r"installed at (\d+(?::\d+)+)"),
    "first quotation": re.compile(r"first quotation at (\d+(?::\d+)+)"),
    "training_s": re.compile(r"training takes (\d+(?::\d+)+)"),
    "gate_s": re.compile(r"the gate (\d+(?::\d+)+)"),
    "tuned model": re.compile(r"the tuned model answers at (\d+(?::\d+)+)"),
}


def parse_clock(clock: str) -> float:
    """Return `1:02:03` or `4:05` in seconds."""
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total


@dataclass
class FirstRun:
    """Figures of the lines so far; all times are seconds since the command began.

    Attributes:
        first_sentence_at: of the preview.
        first_quotation_at: of the endpoint.
        lines: number of printed lines.
        took: printed seconds of each asset of the training run.
        left: asset → (seconds since it began, seconds left by its progress bar).
        expected: the forecast's seconds, by name.
    """

    installed_at: float | None = None
    first_sentence_at: float | None = None
    first_quotation_at: float | None = None
    lines: int = 0
    released_at: float | None = None
    reported_at: float | None = None
    longest_silence_s: float = 0.0
    took: dict[str, float] = field(default_factory=dict[str, float])
    left: dict[str, list[tuple[float, float]]] = field(
        default_factory=dict[str, list[tuple[float, float]]]
    )
    expected: dict[str, float] = field(default_factory=dict[str, float])
    _last_line_at: float = 0.0

    def add_line(self, line: str, *, at: float) -> None:
        """Read a line that was printed `at` seconds after the beginning."""
        self.longest_silence_s = max(self.longest_silence_s, at - self._last_line_at)
        self._last_line_at = at
        self.lines += 1
        if "expected: " in line and not self.expected:
            for name, pattern in EXPECTED.items():
                if found := pattern.search(line):
                    self.expected[name] = parse_clock(found[1])
        if STAGE.match(line) and self.installed_at is None:
            self.installed_at = at
        if SENTENCE.match(line) and self.first_sentence_at is None:
            self.first_sentence_at = at
        if QUOTED.match(line) and self.first_quotation_at is None:
            self.first_quotation_at = at
        if "released: v" in line and self.released_at is None:
            self.released_at = at
        if found := DONE.match(line):
            self.took[found["asset"]] = parse_clock(found["took"])
        elif found := LEFT.match(line):
            progress = (parse_clock(found["since"]), parse_clock(found["left"]))
            self.left.setdefault(found["asset"], []).append(progress)

    def worst_time_left_ratio(self) -> float:
        """Return the largest ratio between a printed and the actual time left; 1.0 without any.

        The first quarter and the last tenth of each phase are excluded.
        """
        worst = 1.0
        for asset, progress in self.left.items():
            took = self.took.get(asset, 0.0)
            for since, left in progress:
                actual = took - since
                if since >= took / 4 and actual >= took / 10:
                    worst = max(worst, _ratio(left, actual))
        return worst

    def forecast_ratios(self, *, installing: bool) -> dict[str, float]:
        """Return the ratio between forecast and actual time of each part that has both."""
        actual = {name: self.took[asset] for asset, name in PHASES.items() if asset in self.took}
        if self.first_quotation_at is not None:
            actual["first quotation"] = self.first_quotation_at
        if self.released_at is not None:
            actual["tuned model"] = self.released_at
        if installing and self.installed_at is not None:
            actual["installed"] = self.installed_at
        return {
            name.removesuffix("_s"): _ratio(self.expected[name], actual[name])
            for name in actual
            if name in self.expected
        }


def _ratio(first: float, second: float) -> float:
    """Return the larger time over the smaller; times below half a second count as half a second."""
    low, high = sorted((max(first, 0.5), max(second, 0.5)))
    return high / low
