"""Record the demo's results by step, as a file and as a table.

Scope: the values, the file, the table, and the missing steps.
Out of scope: the steps themselves (`loop.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from twin_resources.atomic_writes import replace_file
from twin_resources.processes.wording import format_duration

SCHEMA_VERSION = 1


@dataclass
class PhaseQuality:
    """The scores of one phase: their count, their mean in [0, 1], and the rated version."""

    scores: int = 0
    mean: float = 0.0
    version: str = ""


@dataclass
class Receipt:
    """The demo's results; an empty field means that the step did not happen.

    Attributes:
        settings: the settings that make the demo faster than a real loop.
        before, broken, after: the scores of each phase.
        refused: the gate's claims that refused the broken model, in words.
        forced: the move that released it anyway.
        alarms: the number of alarms.
        e_value, threshold: values at the first alarm.
        runs: the number of retrainings.
        run_id: id of the retraining's run.
        trial: finding of the trial that promoted the retrained model, such as `promote`.
        trial_reason: the reason for the finding, in words.
        recovered_s: seconds from the last bad score until the new version answered.
        seconds: duration of each step.
    """

    settings: Mapping[str, str]
    before: PhaseQuality = field(default_factory=PhaseQuality)
    broken: PhaseQuality = field(default_factory=PhaseQuality)
    after: PhaseQuality = field(default_factory=PhaseQuality)
    refused: tuple[str, ...] = ()
    forced: str = ""
    posts_arrived: tuple[str, ...] = ()
    alarms: int = 0
    e_value: float = 0.0
    threshold: float = 0.0
    values_to_alarm: int = 0
    runs: int = 0
    run_id: str = ""
    trial: str = ""
    trial_reason: str = ""
    promoted: str = ""
    recovered_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def missing_steps(self) -> list[str]:
        """Return the steps that did not happen, in words, or an empty list if all happened."""
        happened_by_step = {
            "the first model was scored": self.before.scores > 0,
            "the gate refused the broken model for its topic": any(
                claim.startswith("stays_on_topic") for claim in self.refused
            ),
            "the broken model was forced past the gate": bool(self.forced),
            "quality fell": self.broken.scores > 0 and self.broken.mean < self.before.mean - 0.1,
            "the sensor fired once": self.alarms == 1,
            "one run trained": self.runs == 1 and bool(self.run_id),
            "the gate passed the new model": bool(self.promoted),
            "pairs promoted it": self.trial == "promote",
            "quality recovered": self.after.scores > 0
            and self.after.mean > self.broken.mean + 0.1
            and self.after.version == self.promoted,
        }
        return [step for step, happened in happened_by_step.items() if not happened]


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write the receipt as JSON, readable only by its owner."""
    document = {"schema": SCHEMA_VERSION, **asdict(receipt), "missing": receipt.missing_steps()}
    replace_file(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def build_receipt_table(receipt: Receipt) -> Table:
    """Return the receipt as a table for a terminal."""
    table = Table(title="One run of the loop", show_header=False, title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    for name, phase in (
        ("quality before", receipt.before),
        ("quality broken", receipt.broken),
        ("quality after", receipt.after),
    ):
        cell = f"{phase.mean:.2f}  ({phase.scores} scores, {phase.version})"
        table.add_row(name, cell if phase.scores else "not measured")
    table.add_row("gate on the broken model", "\n".join(receipt.refused) or "did not refuse it")
    table.add_row("forced", receipt.forced or "no")
    table.add_row(
        "alarm",
        f"e-value {receipt.e_value:,.0f} of {receipt.threshold:,.0f} after "
        f"{receipt.values_to_alarm} scores; alarms: {receipt.alarms}",
    )
    table.add_row("retraining", f"run {receipt.run_id or 'none'}; runs: {receipt.runs}")
    table.add_row("promotion", receipt.trial_reason or "none")
    if receipt.recovered_s:
        table.add_row(
            "answering again", f"{format_duration(receipt.recovered_s)} after the last bad score"
        )
    return table
