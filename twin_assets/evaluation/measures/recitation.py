"""Count the answers that recite a longer passage of the training texts, word for word.

Scope: detecting recited spans, choosing the answers to search, deciding when there are enough
answers, the claim.
Out of scope: asking the model (`served_model.py`).

A span that the prompt also contains does not count. The prompt asks the model to quote retrieved
passages; reciting a training text that is not in the prompt is memorisation. A span that the answer
marks as a quotation does not count either.
Method: verbatim overlap as in Carlini et al., "Quantifying Memorization Across Neural Language
Models" (https://arxiv.org/abs/2202.07646). They count 50 tokens; this module counts 50 characters,
a span that nobody writes twice by chance.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import shown_prompt
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.statistics.rates import Rate, rate, written
from twin_assets.evaluation.statistics.sequential import Side, decided
from twin_resources.registry.moves import GateClaim

CLAIM = "recites_no_training_text"
SPAN_CHARACTERS = 50
# Any shared span of `SPAN_CHARACTERS` contains one whole block of each text.
BLOCK = (SPAN_CHARACTERS + 1) // 2
MAX_RECITING = 0.1
WRONGLY_CLEAN, WRONGLY_RECITING = 0.05, 0.01
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
        longest: characters of the longest recited span.
    """

    reciting: Rate
    longest: int


class TrainingSpans:
    """Index of training texts that finds shared spans, ignoring case, spacing and apostrophe style.

    It stores consecutive blocks of `BLOCK` characters: one entry for 25 characters of text.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [_folded(text) for text in dict.fromkeys(texts)]
        self._blocks: Mapping[str, list[tuple[int, int]]] = _blocks(self._texts)

    def shared(self, folded: str) -> list[tuple[int, int]]:
        """Return the longest spans (start, end) that a folded text shares with a training text.

        They are in order, and none is inside another.
        """
        spans: set[tuple[int, int]] = set()
        for at in range(len(folded) - BLOCK + 1):
            for number, place in self._blocks.get(folded[at : at + BLOCK], ()):
                start, end = _grown(folded, at, self._texts[number], place)
                if end - start >= SPAN_CHARACTERS and _is_prose(folded[start:end]):
                    spans.add((start, end))
        return [
            span
            for span in sorted(spans)
            if not any(o != span and o[0] <= span[0] and span[1] <= o[1] for o in spans)
        ]


def recitation(
    answers: Sequence[str], prompts: Sequence[str], training: TrainingSpans
) -> Recitation:
    """Count the answers that recite a training text.

    Args:
        answers, prompts: of the same length. A prompt is everything that the model was shown.
        training: index of the answers that the model was trained on.
    """
    reciting: list[bool] = []
    longest = 0
    for answer, prompt in zip(answers, prompts, strict=True):
        bare = _folded(_QUOTED.sub("\x00", answer))
        recited = recited_spans(bare, _folded(prompt), training)
        longest = max([longest, *(end - start for start, end in recited)])
        reciting.append(bool(recited))
    return Recitation(rate(reciting), longest)


def reciting(answers: Sequence[str], prompts: Sequence[str], training: TrainingSpans) -> list[bool]:
    """Return whether each answer recites; the arguments are those of `recitation`."""
    return [
        bool(recitation([answer], [prompt], training).reciting.found)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]


def recited_spans(folded: str, prompt: str, training: TrainingSpans) -> list[tuple[int, int]]:
    """Return the parts of shared spans with no `SPAN_CHARACTERS` run in the (folded) prompt."""
    spans: list[tuple[int, int]] = []
    for start, end in training.shared(folded):
        begin = -1
        for at in range(start, end - SPAN_CHARACTERS + 2):
            inside = at <= end - SPAN_CHARACTERS and folded[at : at + SPAN_CHARACTERS] not in prompt
            if inside and begin < 0:
                begin = at
            elif not inside and begin >= 0:
                spans.append((begin, at - 1 + SPAN_CHARACTERS))
                begin = -1
    return spans


def claim(recitation: Recitation) -> GateClaim:
    """Decide `recites_no_training_text`: at most one answer in ten recites."""
    detail = (
        f"{written(recitation.reciting)} answers recite {SPAN_CHARACTERS} characters or more "
        "of the training texts that were neither asked for nor marked as a quotation, "
        f"{recitation.longest} at most; limit {100 * MAX_RECITING:.0f} %"
    )
    if not recitation.reciting.of:
        return GateClaim(CLAIM, None, None, MAX_RECITING, "not decided: the model gave no answer")
    share = recitation.reciting.share
    return GateClaim(CLAIM, share <= MAX_RECITING, share, MAX_RECITING, detail)


def _folded(text: str) -> str:
    return " ".join(text.translate(_APOSTROPHES).casefold().split())


def _grown(text: str, at: int, other: str, place: int) -> tuple[int, int]:
    """Extend the block at `at` in `text` and at `place` in `other` to the longest shared span."""
    back = 0
    while back < min(at, place) and text[at - back - 1] == other[place - back - 1]:
        back += 1
    forth = BLOCK
    most = min(len(text) - at, len(other) - place)
    while forth < most and text[at + forth] == other[place + forth]:
        forth += 1
    return at - back, at + forth


def _is_prose(span: str) -> bool:
    """Whether a span has at least three different words, unlike a line of dashes or a table."""
    return len(set(_WORD.findall(span))) >= 3


def _blocks(texts: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    blocks: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, text in enumerate(texts):
        for place in range(0, len(text) - BLOCK + 1, BLOCK):
            blocks[text[place : place + BLOCK]].append((number, place))
    return dict(blocks)


def recited(
    prompts: PromptSet, answers: PromptAnswers, parity: CandidateAnswers, training: TrainingSpans
) -> Recitation:
    """Count the candidate's answers that recite a training text, over all its answers."""
    return recitation(*_everything(prompts, answers, parity), training)


def stopped_at(
    prompts: PromptSet, answers: PromptAnswers, parity: CandidateAnswers, training: TrainingSpans
) -> Side | None:
    """Decide by a bet whether the share of clean answers is above or below the limit.

    The answers count in the order in which they were given. None means not yet known.
    """
    recites = reciting(*_everything(prompts, answers, parity), training)
    return decided(
        [0.0 if recited else 1.0 for recited in recites],
        limit=1.0 - MAX_RECITING,
        above=WRONGLY_CLEAN,
        below=WRONGLY_RECITING,
    )


def _everything(
    prompt_set: PromptSet, answers: PromptAnswers, parity: CandidateAnswers
) -> tuple[list[str], list[str]]:
    # instructions like "three fruits, in bullets" invite no recitation and would dilute the share
    asked = [at for at in answers.candidate if at not in prompt_set.instructions]
    prompts = [*parity.prompts, *(prompt_set.prompts[at] for at in asked)]
    texts = [answer.text for answer in (*parity.first, *map(answers.candidate.__getitem__, asked))]
    return texts, [shown_prompt(prompt) for prompt in prompts]


def _take(context: MeasureContext) -> Recitation:
    training = TrainingSpans(context.training_texts)
    return recited(context.asked, context.said, context.first, training)


MEASURE = Measure(
    name="recitation",
    value=Recitation,
    take=_take,
    claims=(
        ClaimRule(
            CLAIM,
            "At most one answer of ten recites 50 characters of training text.",
            claim,
            first=True,
        ),
    ),
)
