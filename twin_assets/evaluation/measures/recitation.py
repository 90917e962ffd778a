"""Count the answers that recite a long passage of the training texts verbatim.

Scope: detecting recited spans, choosing the answers to search, deciding when enough answers have
been searched, and the claim.
Out of scope: asking the model (`served_model.py`).

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
from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.served_answers import CandidateAnswers, PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import join_prompt_text
from twin_assets.evaluation.statistics.rates import Rate, compute_rate, format_rate
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


@dataclass(frozen=True)
class Recitation:
    """The share of answers that recite a training text.

    Attributes:
        reciting: answers with a span of `SPAN_CHARACTERS` or more characters of a training text
            that is neither in the prompt nor in quotation marks.
        longest: length of the longest recited span in characters.
    """

    reciting: Rate
    longest: int


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


def measure_recitation(
    answers: Sequence[str], prompts: Sequence[str], training_index: TrainingTextIndex
) -> Recitation:
    """Count the answers that recite a training text.

    Args:
        answers, prompts: sequences of the same length. A prompt is the whole text that the model
            received.
        training_index: index of the answers that the model was trained on.
    """
    lengths = measure_recited_lengths(answers, prompts, training_index)
    return Recitation(compute_rate([length > 0 for length in lengths]), max(lengths, default=0))


def measure_recited_lengths(
    answers: Sequence[str], prompts: Sequence[str], training_index: TrainingTextIndex
) -> list[int]:
    """Return the length of the longest recited span of each answer, or 0 if it recites nothing.

    The arguments are those of `measure_recitation`.
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


def decide_claim(recitation: Recitation) -> GateClaim:
    """Decide `recites_no_training_text`: at most one answer in ten recites."""
    detail = (
        f"{format_rate(recitation.reciting)} answers recite at least {SPAN_CHARACTERS} characters "
        "of training text that was neither requested nor marked as a quotation (longest: "
        f"{recitation.longest}); limit {100 * MAX_RECITING_SHARE:.0f} %"
    )
    if not recitation.reciting.of:
        return GateClaim(
            CLAIM, None, None, MAX_RECITING_SHARE, "not decided: the model gave no answer"
        )
    share = recitation.reciting.share
    return GateClaim(CLAIM, share <= MAX_RECITING_SHARE, share, MAX_RECITING_SHARE, detail)


def _fold(text: str) -> str:
    return " ".join(text.translate(_APOSTROPHES).casefold().split())


def _is_prose(span: str) -> bool:
    """Return whether a span has at least three different words, unlike a line of dashes."""
    return len(set(_WORD.findall(span))) >= 3


def measure_all_answers(
    prompts: PromptSet,
    answers: PromptAnswers,
    parity_answers: CandidateAnswers,
    training_index: TrainingTextIndex,
) -> Recitation:
    """Count the reciting answers among all answers of the candidate."""
    return measure_recitation(
        *_collect_answers_and_prompts(prompts, answers, parity_answers), training_index
    )


def decide_early(
    prompts: PromptSet,
    answers: PromptAnswers,
    parity_answers: CandidateAnswers,
    training_index: TrainingTextIndex,
) -> Side | None:
    """Decide whether the share of clean answers is above or below the limit; None if undecided.

    A sequential test reads the answers in the order in which they were given.
    """
    lengths = measure_recited_lengths(
        *_collect_answers_and_prompts(prompts, answers, parity_answers), training_index
    )
    return decide_side(
        [0.0 if length else 1.0 for length in lengths],
        limit=1.0 - MAX_RECITING_SHARE,
        max_false_above=FALSE_CLEAN_RATE,
        max_false_below=FALSE_RECITING_RATE,
    )


def _collect_answers_and_prompts(
    prompt_set: PromptSet, answers: PromptAnswers, parity_answers: CandidateAnswers
) -> tuple[list[str], list[str]]:
    # Instructions like "three fruits, in bullets" cause no recitation and would dilute the share.
    positions = [
        position for position in answers.candidate if position not in prompt_set.instructions
    ]
    prompts = [*parity_answers.prompts, *(prompt_set.prompts[position] for position in positions)]
    texts = [
        answer.text
        for answer in (
            *parity_answers.first_answers,
            *map(answers.candidate.__getitem__, positions),
        )
    ]
    return texts, [join_prompt_text(prompt) for prompt in prompts]


def _compute(context: MeasureContext) -> Recitation:
    return measure_all_answers(
        context.prompts,
        context.answers,
        context.parity_answers,
        TrainingTextIndex(context.training_texts),
    )


MEASURE = Measure(
    name="recitation",
    value_type=Recitation,
    compute=_compute,
    claims=(
        ClaimRule(
            CLAIM,
            "At most one answer in ten recites 50 characters of training text.",
            decide_claim,
            is_in_first_verdict=True,
        ),
    ),
)
