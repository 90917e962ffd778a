"""What a person sees of a first run, line by line, as figures.

Scope: reading the lines of `deploy/up.sh` and `twin up` in their plain form.
Out of scope: running them (`bench_first_run.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SILENCE_S = 15.0
# asset → what the forecast calls it
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


def seconds(clock: str) -> float:
    """`1:02:03` or `4:05` as seconds."""
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total


@dataclass
class FirstRun:
    """What was seen so far; all times are seconds since the command began.

    Attributes:
        first_sentence_at: of the preview; `first_quotation_at`: by the endpoint.
        lines: all that were printed.
        took: seconds of each asset of the training's run, as it was told.
        left: asset → (seconds since it began, seconds left by its bar).
        expected: what was foretold.
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
    _heard: float = 0.0

    def take(self, line: str, *, at: float) -> None:
        """One line that came `at` seconds after the beginning."""
        self.longest_silence_s = max(self.longest_silence_s, at - self._heard)
        self._heard = at
        self.lines += 1
        if "expected: " in line and not self.expected:
            for name, pattern in EXPECTED.items():
                if found := pattern.search(line):
                    self.expected[name] = seconds(found[1])
        if STAGE.match(line) and self.installed_at is None:
            self.installed_at = at
        if SENTENCE.match(line) and self.first_sentence_at is None:
            self.first_sentence_at = at
        if QUOTED.match(line) and self.first_quotation_at is None:
            self.first_quotation_at = at
        if "released: v" in line and self.released_at is None:
            self.released_at = at
        if found := DONE.match(line):
            self.took[found["asset"]] = seconds(found["took"])
        elif found := LEFT.match(line):
            told = (seconds(found["since"]), seconds(found["left"]))
            self.left.setdefault(found["asset"], []).append(told)

    def worst_left(self) -> float:
        """How many times too long or too short a time left was at worst, after the first quarter
        of its phase and before its last tenth; 1.0: none was told."""
        worst = 1.0
        for asset, told in self.left.items():
            took = self.took.get(asset, 0.0)
            for since, left in told:
                truth = took - since
                if since >= took / 4 and truth >= took / 10:
                    worst = max(worst, _times(left, truth))
        return worst

    def forecast_off(self, *, installing: bool) -> dict[str, float]:
        """How many times too long or too short each part was foretold, where it was and came."""
        truth = {name: self.took[asset] for asset, name in PHASES.items() if asset in self.took}
        if self.first_quotation_at is not None:
            truth["first quotation"] = self.first_quotation_at
        if self.released_at is not None:
            truth["tuned model"] = self.released_at
        if installing and self.installed_at is not None:
            truth["installed"] = self.installed_at
        return {
            name.removesuffix("_s"): _times(self.expected[name], truth[name])
            for name in truth
            if name in self.expected
        }


def _times(one: float, other: float) -> float:
    low, high = sorted((max(one, 0.5), max(other, 0.5)))
    return high / low
