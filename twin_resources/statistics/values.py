"""One settled score, the unit that every statistic here is about.

Belongs here: the value and its limits.
Does not belong here: how scores become settled (`twin_resources/quality/ledger`), what is inferred
from them.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.errors import TwinError


class ImpossibleValue(TwinError):
    """A number outside the range on which the guarantees rest."""


@dataclass(frozen=True)
class SettledValue:
    """One closed reader-day mean (stream `thumbs`) or one judged trace.

    Several scores of one reader in a row are not one value each: bursts of 5 from readers whose
    levels differ by sd .12 gave 22 % false alarms. Their mean, one value a reader and day, does
    not.

    Attributes:
        sequence: increasing per author over all streams, in the order of settling.
        stream: `thumbs` or `judge:<name>@<prompt version>`; another judge prompt is another stream.
        version: the model version that answered.
        prompt_class: of the question (`gateway/request/prompt_classes.py`).
        value: in [0, 1].
        day: days since the epoch, UTC, on which readers or the judge said it; all values of a
            stream and day are settled together. None: it stands for itself (at once, a home where
            each reader scores once).
        reader: hashed key, or the id of a judge's score; empty: not known.

    Raises:
        ImpossibleValue: value outside [0, 1], or not a number.
    """

    sequence: int
    author: str
    stream: str
    version: str
    prompt_class: str
    value: float
    day: int | None = None
    reader: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:  # false for NaN, too
            raise ImpossibleValue(
                f"use score {self.sequence} of {self.author} ({self.stream})",
                found=f"the value {self.value}",
                next_step="settle only values in [0, 1]; the ledger counts the others as bad",
            )
