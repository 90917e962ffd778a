"""Style habits: which marks, how long sentences and answers, how many emoji.

Belongs here: the distributions and their Jensen–Shannon divergence from the author's.
Does not belong here: the classifier of voice (`twin_resources/quality/judges/voice.py`), function
words (`delta.py`).

A divergence is 0 for two equal distributions and 1 (bit) for two without anything in common. Few
texts diverge from their own source by chance, so each figure stands beside what as many texts of
the author's own diverge from the author (`by_chance`). Stated, it blocks nothing.
Method: Lin, 1991, "Divergence measures based on the Shannon entropy",
https://doi.org/10.1109/18.61115; intervals by drawing texts (`bootstrap.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from twin_resources.statistics import bootstrap
from twin_resources.statistics.bootstrap import Interval

HABITS = ("punctuation", "sentence length", "answer length", "emoji")
FEWEST_TEXTS = 20  # of a model and of the author, below which nothing is stated
MARKS = ".,;:!?()\"'-…/"
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
_SENTENCES = (4, 8, 12, 16, 20, 25, 30, 40)  # words; a bin ends below each
_ANSWERS = (10, 20, 30, 40, 60, 80, 120, 200)
_EMOJI_COUNTS = (1, 2, 4)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n{2,}")
_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\p{Emoji}\uFE0F")


@dataclass(frozen=True)
class Habit:
    """Divergence from the author's texts in one habit, bits.

    Attributes:
        name: one of `HABITS`.
        by_chance: of as many texts of the author's as the candidate has.
        candidate, base: None: too few texts (of an answer's length: too few that were not cut).
        less_than_base: base − candidate on the same prompts; above 0 the candidate is nearer.
    """

    name: str
    by_chance: Interval
    candidate: Interval | None
    base: Interval | None
    less_than_base: Interval | None


@dataclass(frozen=True)
class StyleHabits:
    """All habits; none when there were too few texts, for the reason `why_not`."""

    habits: tuple[Habit, ...]
    answers: int
    own_texts: int
    why_not: str = ""


def measure_style_habits(
    own: Sequence[str],
    *,
    candidate: Sequence[str],
    base: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    complete: Sequence[bool] | None = None,
) -> StyleHabits:
    """Compare the habits of answers with the author's.

    Args:
        own: the author's texts of the kind that was asked for (answers of the dataset), prose.
        candidate, base: answers to the same prompts in the same order; no base: it is left out.
        groups: the document each prompt is about.
        complete: whether the candidate ended each answer by itself; a length that a limit cut says
            nothing. None: all did.
    """
    if min(len(own), len(candidate)) < FEWEST_TEXTS:
        why = f"{len(candidate)} answers and {len(own)} texts of the author, "
        return StyleHabits((), len(candidate), len(own), f"{why}{FEWEST_TEXTS} are needed")
    whole = list(complete) if complete is not None else [True] * len(candidate)
    names = list(groups) if groups is not None else [str(n) for n in range(len(candidate))]
    habits: list[Habit] = []
    for name in HABITS:
        used = [n for n, ended in enumerate(whole) if ended or name != "answer length"]
        habits.append(
            _habit(
                name,
                own if name == "answer length" else cut_as(own, candidate),
                [candidate[n] for n in used],
                [base[n] for n in used] if base else [],
                [names[n] for n in used],
            )
        )
    return StyleHabits(tuple(habits), len(candidate), len(own))


def lines(habits: StyleHabits) -> list[str]:
    """For the report."""
    if habits.why_not:
        return [f"Style habits: not measured, {habits.why_not}."]
    table = [
        "| Jensen–Shannon divergence from the author, bits | candidate | base | base − candidate "
        "| the author by chance |",
        "|---|---|---|---|---|",
    ]
    for habit in habits.habits:
        cells = [habit.candidate, habit.base, habit.less_than_base, habit.by_chance]
        table.append(
            f"| {habit.name} | "
            + " | ".join("not measured" if cell is None else cell.told(3) for cell in cells)
            + " |"
        )
    return [*table, "", f"{habits.answers} answers, {habits.own_texts} texts of the author."]


def cut_as(own: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The author's texts as long as answers are, in turn: a limit cuts long sentences off more
    often than short ones, and both sides must have lost them."""
    lengths = [len(answer.split()) for answer in answers if answer.strip()] or [0]
    return [
        " ".join(text.split()[: lengths[n % len(lengths)] or None]) for n, text in enumerate(own)
    ]


def _habit(
    name: str,
    own: Sequence[str],
    candidate: Sequence[str],
    base: Sequence[str],
    groups: Sequence[str],
) -> Habit:
    import numpy as np

    count = _COUNTS[name]
    mine = np.array([count(text) for text in own], dtype=np.float64)
    whole = mine.sum(axis=0)
    intervals: list[Interval] = []
    resampled: list[Any] = []
    drawn = 0
    if len(candidate) >= FEWEST_TEXTS:
        weights, drawn = bootstrap.resampled(len(candidate), groups=groups)
        for texts in (candidate, base) if base else (candidate,):
            counts = np.array([count(text) for text in texts], dtype=np.float64)
            resampled.append(_divergence(weights @ counts, whole))
            value = float(_divergence(counts.sum(axis=0)[None, :], whole)[0])
            intervals.append(bootstrap.around(value, resampled[-1], observations=drawn))
    nearer = None
    if len(intervals) == 2:
        value = intervals[1].value - intervals[0].value
        nearer = bootstrap.around(value, resampled[1] - resampled[0], observations=drawn)
    return Habit(
        name=name,
        by_chance=_by_chance(mine, many=max(len(candidate), FEWEST_TEXTS)),
        candidate=intervals[0] if intervals else None,
        base=intervals[1] if len(intervals) == 2 else None,
        less_than_base=nearer,
    )


def _by_chance(mine: Any, *, many: int) -> Interval:
    """Divergence of `many` texts of the author's from all the others: mean, 2.5 and 97.5 %."""
    import numpy as np

    chance = np.random.default_rng(bootstrap.SEED)
    size = min(many, len(mine) // 2)
    divergences: list[float] = []
    for _ in range(400):
        drawn = chance.permutation(len(mine))[:size]
        part = mine[drawn].sum(axis=0)
        divergences.append(float(_divergence(part[None, :], mine.sum(axis=0) - part)[0]))
    low, high = np.quantile(divergences, [0.025, 0.975])
    return Interval(float(np.mean(divergences)), float(low), float(high))


def _divergence(counts: Any, other: Any) -> Any:
    """Jensen–Shannon divergence in bits of each row of counts from one row of counts."""
    import numpy as np

    def shares(values: Any) -> Any:
        total = values.sum(axis=-1, keepdims=True)
        return values / np.where(total > 0, total, 1.0)

    one, two = shares(counts), shares(other)[None, :]
    middle = (one + two) / 2

    def bits(part: Any) -> Any:
        safe = np.where(part > 0, part, 1.0)
        return (part * np.log2(safe / np.where(middle > 0, middle, 1.0))).sum(axis=-1)

    return (bits(one) + bits(np.broadcast_to(two, one.shape))) / 2


def marks(text: str) -> list[int]:
    """How often each mark stands, and last how many words stand without one."""
    plain = text.translate(_TYPOGRAPHY).replace("...", "…")
    counts = [plain.count(mark) for mark in MARKS]
    return [*counts, max(0, len(words(plain)) - sum(counts))]


def sentence_words(text: str) -> list[int]:
    """Words of each sentence; what a limit cut off after the last one does not count."""
    parts = [part for part in _END.split(text.strip()) if part.strip()]
    if len(parts) > 1 and not re.search(r"[.!?…][\"')\]]*$", parts[-1].strip()):
        parts.pop()
    return [len(words(part)) for part in parts]


def words(text: str) -> list[str]:
    """The words of a text as they stand, without marks."""
    return _WORD.findall(text)


def _sentence_lengths(text: str) -> list[int]:
    return _binned(sentence_words(text), _SENTENCES)


def _answer_length(text: str) -> list[int]:
    return _binned([len(words(text))], _ANSWERS)


def _emoji(text: str) -> list[int]:
    """Texts by emoji; a flag, a hand with its colour, is one."""
    seen = regex.findall(r"\X", text) if _EMOJI.search(text) else []
    return _binned([sum(bool(_EMOJI.search(sign)) for sign in seen)], _EMOJI_COUNTS)


def _binned(values: Any, ends: Sequence[int]) -> list[int]:
    counts = [0] * (len(ends) + 1)
    for value in values:
        counts[sum(value >= end for end in ends)] += 1
    return counts


_COUNTS: dict[str, Callable[[str], list[int]]] = {
    "punctuation": marks,
    "sentence length": _sentence_lengths,
    "answer length": _answer_length,
    "emoji": _emoji,
}
