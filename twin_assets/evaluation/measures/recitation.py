"""Count the answers that recite a long passage of the training texts verbatim.

Scope: detecting recited spans, choosing the answers to search, deciding when enough were given, the
claim.
Out of scope: asking the model (`served_model.py`).

A span that the prompt also contains does not count. The prompt asks the model to quote retrieved
passages; reciting a training text that is not in the prompt is memorisation. A span that the answer
marks as a quotation does not count either.
Method: verbatim overlap as in Carlini et al., "Quantifying Memorization Across Neural Language
Models" (https://arxiv.org/abs/2202.07646). They count 50 tokens; this module counts 50 characters,
a length unlikely to match by chance.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import join_prompt_text
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.statistics.rates import Rate, format_rate, rate
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
    """Index of training texts that finds shared spans, ignoring case, spacing and apostrophe style.

    It stores one entry for every block of `BLOCK_CHARACTERS` characters.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [_fold(text) for text in dict.fromkeys(texts)]
        self._blocks: Mapping[str, list[tuple[int, int]]] = _blocks(self._texts)

    def find_shared_spans(self, folded: str) -> list[tuple[int, int]]:
        """Return the longest spans (start, end) that a folded text shares with a training text.

        They are in order, and no span is inside another.
        """
        spans: set[tuple[int, int]] = set()
        for at in range(len(folded) - BLOCK_CHARACTERS + 1):
            for number, place in self._blocks.get(folded[at : at + BLOCK_CHARACTERS], ()):
                start, end = _extend_span(folded, at, self._texts[number], place)
                if end - start >= SPAN_CHARACTERS and _is_prose(folded[start:end]):
                    spans.add((start, end))
        return [
            span
            for span in sorted(spans)
            if not any(o != span and o[0] <= span[0] and span[1] <= o[1] for o in spans)
        ]


def measure_recitation(
    answers: Sequence[str], prompts: Sequence[str], training: TrainingTextIndex
) -> Recitation:
    """Count the answers that recite a training text.

    Args:
        answers, prompts: sequences of the same length. A prompt is everything that the model was
            shown.
        training: index of the answers that the model was trained on.
    """
    flags: list[bool] = []
    longest = 0
    for answer, prompt in zip(answers, prompts, strict=True):
        unquoted = _fold(_QUOTED.sub("\x00", answer))
        spans = find_recited_spans(unquoted, _fold(prompt), training)
        longest = max([longest, *(end - start for start, end in spans)])
        flags.append(bool(spans))
    return Recitation(rate(flags), longest)


def flag_recitations(
    answers: Sequence[str], prompts: Sequence[str], training: TrainingTextIndex
) -> list[bool]:
    """Return whether each answer recites; the arguments are those of `measure_recitation`."""
    return [
        bool(measure_recitation([answer], [prompt], training).reciting.found)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]


def find_recited_spans(
    folded: str, prompt: str, training: TrainingTextIndex
) -> list[tuple[int, int]]:
    """Return the parts of shared spans of which the folded prompt has no `SPAN_CHARACTERS` run."""
    spans: list[tuple[int, int]] = []
    for start, end in training.find_shared_spans(folded):
        begin = -1
        for at in range(start, end - SPAN_CHARACTERS + 2):
            is_recited = (
                at <= end - SPAN_CHARACTERS and folded[at : at + SPAN_CHARACTERS] not in prompt
            )
            if is_recited and begin < 0:
                begin = at
            elif not is_recited and begin >= 0:
                spans.append((begin, at - 1 + SPAN_CHARACTERS))
                begin = -1
    return spans


def claim(recitation: Recitation) -> GateClaim:
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


def _extend_span(text: str, at: int, other_text: str, other_start: int) -> tuple[int, int]:
    """Extend the block at `at` and `other_start` to the longest span that both texts share."""
    back = 0
    while back < min(at, other_start) and text[at - back - 1] == other_text[other_start - back - 1]:
        back += 1
    forth = BLOCK_CHARACTERS
    limit = min(len(text) - at, len(other_text) - other_start)
    while forth < limit and text[at + forth] == other_text[other_start + forth]:
        forth += 1
    return at - back, at + forth


def _is_prose(span: str) -> bool:
    """Return whether a span has at least three different words, unlike a line of dashes."""
    return len(set(_WORD.findall(span))) >= 3


def _blocks(texts: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    blocks: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, text in enumerate(texts):
        for place in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
            blocks[text[place : place + BLOCK_CHARACTERS]].append((number, place))
    return dict(blocks)


def measure_all_answers(
    prompts: PromptSet,
    answers: PromptAnswers,
    parity: CandidateAnswers,
    training: TrainingTextIndex,
) -> Recitation:
    """Count the reciting answers among all answers of the candidate."""
    return measure_recitation(*_answers_and_prompts(prompts, answers, parity), training)


def decide_early(
    prompts: PromptSet,
    answers: PromptAnswers,
    parity: CandidateAnswers,
    training: TrainingTextIndex,
) -> Side | None:
    """Return the side of the limit on which a bet places the share of clean answers.

    The answers count in the order in which they were given. None means that no bet was won yet.
    """
    recites = flag_recitations(*_answers_and_prompts(prompts, answers, parity), training)
    return decide_side(
        [0.0 if recited else 1.0 for recited in recites],
        limit=1.0 - MAX_RECITING_SHARE,
        above=FALSE_CLEAN_RATE,
        below=FALSE_RECITING_RATE,
    )


def _answers_and_prompts(
    prompt_set: PromptSet, answers: PromptAnswers, parity: CandidateAnswers
) -> tuple[list[str], list[str]]:
    # instructions like "three fruits, in bullets" invite no recitation and would dilute the share
    positions = [at for at in answers.candidate if at not in prompt_set.instructions]
    prompts = [*parity.prompts, *(prompt_set.prompts[at] for at in positions)]
    texts = [
        answer.text for answer in (*parity.first, *map(answers.candidate.__getitem__, positions))
    ]
    return texts, [join_prompt_text(prompt) for prompt in prompts]


def _compute(context: MeasureContext) -> Recitation:
    training = TrainingTextIndex(context.training_texts)
    return measure_all_answers(context.prompts, context.answers, context.parity_answers, training)


MEASURE = Measure(
    name="recitation",
    value=Recitation,
    compute=_compute,
    claims=(
        ClaimRule(
            CLAIM,
            "At most one answer in ten recites 50 characters of training text.",
            claim,
            in_first_verdict=True,
        ),
    ),
)
