"""Count the answers that recite a long passage of the training texts verbatim.

A span that the prompt also contains does not count. The prompt asks the model to quote retrieved
passages; reciting a training text that is not in the prompt is memorization. A span that the answer
marks as a quotation does not count either.
Method: verbatim overlap as in Carlini et al., "Quantifying Memorization Across Neural Language
Models" (https://arxiv.org/abs/2202.07646). They count 50 tokens; this module counts 50 characters,
a length unlikely to match by chance.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.served_judges import join_prompt_text
from twin_assets.evaluation.statistics.rates import compute_rate, format_rate
from twin_assets.evaluation.statistics.sequential import Side, decide_side
from twin_resources.registry.moves import GateClaim

CLAIM = "recites_no_training_text"
SPAN_CHARACTERS = 50
# any shared span of `SPAN_CHARACTERS` contains a whole block of the training text
BLOCK_CHARACTERS = (SPAN_CHARACTERS + 1) // 2
MAX_RECITING_SHARE = 0.1
FALSE_CLEAN_RATE, FALSE_RECITING_RATE = 0.05, 0.01
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_QUOTED = re.compile(
    r'"[^"\n]*"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|»[^«\n]*«|「[^」\n]*」|^[ \t]*>.*$',
    re.MULTILINE,
)
_APOSTROPHES = str.maketrans("’‘‛`´", "'''''")


class TrainingTextIndex:
    """Index of training texts that finds shared windows, ignoring case, spacing and apostrophes.

    It stores one entry for every block of `BLOCK_CHARACTERS` characters. Only a window with such a
    block is searched for in the texts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        folded_texts = [_fold(text) for text in dict.fromkeys(texts)]
        self._text = "\0".join(folded_texts)
        self._blocks = {
            text[start : start + BLOCK_CHARACTERS]
            for text in folded_texts
            for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS)
        }

    def contains(self, window: str) -> bool:
        """Return whether a training text contains a folded window of `SPAN_CHARACTERS`."""
        starts = range(len(window) - BLOCK_CHARACTERS + 1)
        has_block = any(
            window[start : start + BLOCK_CHARACTERS] in self._blocks for start in starts
        )
        return has_block and window in self._text


def measure_recited_lengths(
    answers: Sequence[str], prompts: Sequence[str], training_index: TrainingTextIndex
) -> list[int]:
    """Return the length of the longest recited span of each answer, or 0 if it recites nothing.

    A recited span has `SPAN_CHARACTERS` or more characters of a training text and is neither in the
    prompt nor in quotation marks.

    Args:
        answers, prompts: sequences of the same length. A prompt is the whole text that the model
            received.
        training_index: index of the answers that the model was trained on.
    """
    return [
        _find_longest_span(_fold(_QUOTED.sub("\x00", answer)), _fold(prompt), training_index)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]


def _find_longest_span(
    folded_text: str, folded_prompt: str, training_index: TrainingTextIndex
) -> int:
    """Return the length of the longest span that is in a training text but not in the prompt.

    A window has `SPAN_CHARACTERS` characters, and adjacent windows form one span.
    """
    longest_count = window_count = 0
    for start in range(len(folded_text) - SPAN_CHARACTERS + 1):
        window = folded_text[start : start + SPAN_CHARACTERS]
        is_recited = (
            _is_prose(window) and window not in folded_prompt and training_index.contains(window)
        )
        window_count = window_count + 1 if is_recited else 0
        longest_count = max(longest_count, window_count)
    return SPAN_CHARACTERS - 1 + longest_count if longest_count else 0


def decide_claim(lengths: Sequence[int]) -> GateClaim:
    """Decide `recites_no_training_text`: at most one answer in ten recites.

    Args:
        lengths: see `measure_recited_lengths`.
    """
    if not lengths:
        detail = "not decided: the model gave no answer"
        return GateClaim(CLAIM, None, None, MAX_RECITING_SHARE, detail)
    rate = compute_rate([length > 0 for length in lengths])
    detail = (
        f"{format_rate(rate)} answers recite at least {SPAN_CHARACTERS} characters of training "
        f"text that was neither requested nor marked as a quotation (longest: {max(lengths)}); "
        f"limit {100 * MAX_RECITING_SHARE:.0f} %"
    )
    is_met = rate.share <= MAX_RECITING_SHARE
    return GateClaim(CLAIM, is_met, rate.share, MAX_RECITING_SHARE, detail)


def place_claim(lengths: Sequence[int]) -> Side | None:
    """Decide whether the share of clean answers is above or below the limit; None if undecided.

    A sequential test reads the answers in the order in which they were given.
    """
    return decide_side(
        [0.0 if length else 1.0 for length in lengths],
        limit=1.0 - MAX_RECITING_SHARE,
        max_false_above=FALSE_CLEAN_RATE,
        max_false_below=FALSE_RECITING_RATE,
    )


def _fold(text: str) -> str:
    return " ".join(text.translate(_APOSTROPHES).casefold().split())


def _is_prose(span: str) -> bool:
    """Return whether a span has at least three different words, unlike a line of dashes."""
    return len(set(_WORD.findall(span))) >= 3


@lru_cache(maxsize=1)
def _build_index(training_texts: tuple[str, ...]) -> TrainingTextIndex:
    return TrainingTextIndex(training_texts)


def measure_all_answers(context: MeasureContext) -> list[int]:
    """Return `measure_recited_lengths` for all answers of the candidate.

    Answers to instructions are left out: "three fruits, in bullets" causes no recitation and would
    dilute the share.
    """
    positions = [
        position
        for position in context.answers.candidate
        if position not in context.prompts.instructions
    ]
    parity = context.parity_answers
    prompts = [*parity.prompts, *(context.prompts.prompts[position] for position in positions)]
    texts = [answer.text for answer in parity.first_answers] + context.candidate_texts(positions)
    index = _build_index(context.training_texts)
    return measure_recited_lengths(texts, list(map(join_prompt_text, prompts)), index)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "At most one answer in ten recites 50 characters of training text.",
            is_in_first_verdict=True,
        ),
    ),
    decide=lambda context: (decide_claim(measure_all_answers(context)),),
)
