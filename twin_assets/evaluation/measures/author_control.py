"""Another author's passages as a control: what was gained on them too is format, not voice.

Scope: choosing passages of both authors, comparing the two gains, the claim.
Out of scope: likelihoods (`perplexity.py`), where other people's texts come from
(`judges/texts.py`), held-out perplexity as such (`perplexity.py`).

Any training on posts makes posts likelier: their length, their prose, the prompt's wording. A model
of somebody else's data gained half as much on this author's passages as one of the author's own. So
base and candidate read the author's held-out passages and another author's, cut to the same length
and asked for without context, and the author's must have become the more likely. The questions of
either side are drafted from the passages themselves by one function: those of the instruction
dataset hold phrases of their answers, which made the author's side the easier one.
The two ratios are of different passages, hence independent: either side's documents are drawn for
themselves. A further document tells more than a further passage of one.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.evaluation.likelihood import held_out
from twin_assets.evaluation.likelihood.perplexity import (
    AnswerLikelihood,
    independent_ratio,
    perplexity_ratio,
)
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodsByModel,
    documents_of,
)
from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    Measurements,
    NotTaken,
)
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.back_translation import write_questions
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    from twin_resources.prompt.templates import Template
    from twin_resources.quality.judges.texts import WriterSample

CLAIM = "learns_this_author"
PASSAGES = 48  # of either side, of as many posts: what lies between is known within 5 to 7 %
FEWEST = 10
MAX_WORDS = 60


@dataclass(frozen=True)
class Control:
    """Perplexity of the candidate divided by its base's, on both authors' passages.

    Attributes:
        passages, other_passages: how many; `others` wrote the latter.
        own: ratio on the author's passages; below 1 the candidate is better.
        other: the same on the other authors' passages.
        ratio, low, high: own / other with its 95 % interval; below 1 more was learnt of this author
            than of any.
    """

    passages: int
    other_passages: int
    others: tuple[str, ...]
    own: float
    other: float
    ratio: float
    low: float
    high: float


def own_rows(passages: pl.DataFrame, template: Template) -> list[Mapping[str, Any]]:
    """Held-out passages, asked for without context, as `tokenize_samples` takes them.

    Each post gives one before any gives two.
    """
    if not passages.height:
        return []
    turn = pl.col("document_id").cum_count().over("document_id")
    chosen = passages.sort(turn, maintain_order=True).head(PASSAGES)
    before = _before(passages, template)
    return [
        _row(f"own/{sample_id}", document, answer, before=before, template=template)
        for sample_id, document, answer in chosen.select(
            "sample_id", "document_id", "answer"
        ).iter_rows()
    ]


def other_rows(
    passages: pl.DataFrame, hands: Sequence[WriterSample], template: Template
) -> list[Mapping[str, Any]]:
    """Other people's passages, as many of each, asked for as the author's are.

    Args:
        passages: the author's held-out samples, whose system message is taken.
        hands: other people.
    """
    if not passages.height:
        return []
    before = _before(passages, template)
    counts = _dealt([len(hand.passages) for hand in hands], PASSAGES)
    drawn = [
        (hand.name, *passage)
        for hand, count in zip(hands, counts, strict=True)
        for passage in _spread(hand.passages, count)
    ]
    return [
        _row(f"{name}/{number}", f"{name}/{document}", text, before=before, template=template)
        for number, (name, document, text) in enumerate(drawn)
    ]


def compare(
    own: tuple[AnswerLikelihood, AnswerLikelihood],
    other: tuple[AnswerLikelihood, AnswerLikelihood],
    *,
    documents: tuple[Sequence[str], Sequence[str]],
    others: Sequence[str],
) -> Control:
    """The two gains beside each other.

    Args:
        own, other: (candidate, base) on the author's passages and on the others'.
        documents: what the passages of either side are of.
        others: who wrote the latter.
    """
    apart = independent_ratio(own, other, documents=documents)
    return Control(
        passages=len(own[0].tokens),
        other_passages=len(other[0].tokens),
        others=tuple(others),
        own=perplexity_ratio(*own).value,
        other=perplexity_ratio(*other).value,
        ratio=apart.value,
        low=apart.low,
        high=apart.high,
    )


def claim(control: Control) -> GateClaim:
    """`learns_this_author`: the author's passages became likelier than anybody else's did."""
    detail = (
        f"perplexity against the base model {_percent(control.own)} on {control.passages} "
        f"passages of the author, {_percent(control.other)} on {control.other_passages} of "
        f"{', '.join(control.others)}: {_percent(control.ratio)} (95 %: {_percent(control.low)} to "
        f"{_percent(control.high)}) is the author's alone"
    )
    return GateClaim(CLAIM, control.high < 1.0, control.ratio, 1.0, detail)


def drafted_question(text: str) -> str:
    """What a passage answers, from the passage alone: neither title nor teacher, which one side
    may have and the other not.

    No language is known of other people's texts, so that either side's wordings are English.
    """
    passage = AnswerPassage(0, len(text), heading="", plain=text, words=len(text.split()))
    [drafted] = write_questions([passage], document_id="", title="", text=text, language="und")
    return drafted.question


def _before(passages: pl.DataFrame, template: Template) -> list[Any]:
    """The messages before a question: the first sample's system message."""
    return held_out.questions_alone(passages.head(1), template)[0][:-1]


def _row(
    sample_id: str, document: str, text: str, *, before: list[Any], template: Template
) -> Mapping[str, Any]:
    words = " ".join(text.split()[:MAX_WORDS])
    question = template.bare_question.format(question=drafted_question(words))
    return {
        "sample_id": sample_id,
        "document_id": document,
        "messages": [
            *before,
            {"role": "user", "content": question},
            {"role": "assistant", "content": words},
        ],
    }


def _dealt(sizes: Sequence[int], total: int) -> list[int]:
    """How many each gives: in turn, until there are enough or nobody has more."""
    given = [0] * len(sizes)
    while left := [at for at, size in enumerate(sizes) if given[at] < size]:
        wanted = total - sum(given)
        if not wanted:
            break
        for at in left[:wanted]:
            given[at] += 1
    return given


def _spread(passages: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """As many passages from all over a hand's texts."""
    return [passages[number * len(passages) // count] for number in range(count)]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def control_of(read: LikelihoodsByModel, candidate: str, base: str) -> Control | None:
    """None with too few passages of either side."""
    reading = read.reading
    if min(len(reading.own), len(reading.other)) < FEWEST:
        return None
    own, other = ((read.part(candidate, part), read.part(base, part)) for part in ("own", "other"))
    return compare(
        own,
        other,
        documents=(documents_of(reading.own), documents_of(reading.other)),
        others=reading.others,
    )


def _take(context: MeasureContext) -> Control | NotTaken | None:
    question = context.question
    control_read = control_of(context.read, question.candidate.name, question.base.name)
    if control_read is None and not context.too_few:
        return NotTaken(f"fewer than {FEWEST} passages of either side")
    return control_read


def _alone(measured: Measurements) -> GateClaim | None:
    if measured.others:
        return None
    return GateClaim(CLAIM, True, None, 1.0, "nobody else's posts to compare with")


MEASURE = Measure(
    name="control",
    value=Control,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The author's passages gained more likelihood than another author's.",
            claim,
            without=_alone,
        ),
    ),
)
