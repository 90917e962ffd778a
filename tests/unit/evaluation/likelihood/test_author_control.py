"""Test the comparison of the gain on the author's passages with the gain on other authors'."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from tests.unit.evaluation.contexts import NO_JUDGES, make_context, make_prompts
from twin_assets.evaluation.evaluation_spec import JudgingContext
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measures import author_control
from twin_assets.evaluation.measures.author_control import build_other_rows, build_own_rows
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import WriterSample


def draw_likelihoods(gain: float, *, seed: int) -> tuple[AnswerLikelihood, AnswerLikelihood]:
    """Return (candidate, base) of 24 passages; the candidate gains about `gain` nats per token."""
    rng = np.random.default_rng(seed)
    token_counts = tuple(int(count) for count in rng.integers(60, 90, 24))
    base = [3.5 * count for count in token_counts]
    candidate = [
        nats - (gain + rng.normal(0, 0.05)) * count
        for nats, count in zip(base, token_counts, strict=True)
    ]
    return AnswerLikelihood(tuple(candidate), token_counts), AnswerLikelihood(
        tuple(base), token_counts
    )


@pytest.mark.parametrize(
    ("own", "other", "passed"),
    [
        (0.32, 0.15, True),  # the author's passages gained more
        (0.25, 0.25, False),  # only the format was learned, so all passages gained the same
        (0.15, 0.32, False),  # another author's data
        (0.0, 0.0, False),  # nothing was learned
        (-0.1, -0.4, True),  # both lost, the author's less; `beats_base_model` refuses this
    ],
)
def test_only_the_gain_beyond_the_control_counts(own: float, other: float, passed: bool) -> None:
    documents = [f"d{number // 2}" for number in range(24)]
    claim = author_control.decide_claim(
        draw_likelihoods(own, seed=1),
        draw_likelihoods(other, seed=2),
        documents=(documents, documents),
        other_authors=("tomas",),
    )

    assert claim.passed is passed
    assert claim.value == pytest.approx(np.exp(other - own), rel=0.03)
    assert "24 passages of tomas" in claim.detail


def test_without_passages_of_others_the_claim_is_met_or_undecided() -> None:
    """Without other authors there is nothing to compare with; their passages may be too few."""
    nobody = JudgingContext(NO_JUDGES, (), chunk_texts={}, base_answers=())
    alone = make_context(judging_context=nobody)
    few_others = make_context(make_prompts(1))
    few_passages = make_context(likelihoods=LikelihoodsByModel(LikelihoodSamples(held_out_count=9)))

    [claim] = author_control.MEASURE.decide_claims(alone)
    assert claim.passed
    assert "no other people's posts" in claim.detail
    [few_claim] = author_control.MEASURE.decide_claims(few_others)
    assert (few_claim.passed, few_claim.value) == (None, None)
    assert few_claim.detail.startswith("not decided: fewer than 10 passages")
    [undecided] = author_control.MEASURE.decide_claims(few_passages)
    assert undecided.detail.startswith("not decided: 9 held-out passages, but 30 are needed")


def test_both_sides_have_the_same_prompts_and_lengths() -> None:
    context = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why brass?")
    context[-1] = {"role": "user", "content": "From my posts: much text. Question: Why brass?"}
    answer = "It wears well. " * 60
    passages = pl.DataFrame(
        {
            "sample_id": [f"s{index}" for index in range(90)],
            "document_id": [f"d{index // 3}" for index in range(90)],
            "question": ["Why brass?"] * 90,
            "answer": [answer] * 90,
            "messages": [[*context, {"role": "assistant", "content": answer}]] * 90,
        }
    )
    writers = [
        WriterSample(
            "tomas", tuple((f"2016-03-27-post-{n}", f"Text {n}. {answer}") for n in range(50))
        ),
        WriterSample("few", (("a", "One passage alone."),)),
    ]

    own, other = (
        build_own_rows(passages, DEFAULT_TEMPLATE),
        build_other_rows(passages, writers, DEFAULT_TEMPLATE),
    )

    assert len(own) == len(other) == author_control.MAX_PASSAGES_PER_SIDE
    assert (
        len({row["messages"][-1]["content"] for row in other})
        == author_control.MAX_PASSAGES_PER_SIDE
    )
    assert "few/a" in [row["document_id"] for row in other], (
        "a writer with few passages was left out"
    )
    documents = {row["document_id"] for row in own}
    assert len(documents) == 30, "a post gave two passages before another gave one"
    numbers = [
        int(row["document_id"].rpartition("-")[2]) for row in other if row["document_id"] != "few/a"
    ]
    gaps = [right - left for left, right in pairwise([0, *sorted(numbers), 50])]
    assert max(gaps) <= 2, "passages do not cover all posts of the writer"
    for row in (*own, *other):
        system, user, assistant = row["messages"]
        assert "much text" not in user["content"]
        assert len(assistant["content"].split()) <= author_control.MAX_WORDS
        assert system == context[0]
    assert build_other_rows(passages.head(0), writers, DEFAULT_TEMPLATE) == []
    assert build_own_rows(passages.head(0), DEFAULT_TEMPLATE) == []
    assert len(build_other_rows(passages, writers[1:], DEFAULT_TEMPLATE)) == 1


def test_questions_do_not_depend_on_the_writer() -> None:
    """The dataset's question and the file's name are not used, because one side may lack them."""
    text = "The brass bearing of a tower clock wears out because nobody cleans the old oil away."
    context = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why brass?")
    samples = pl.DataFrame(
        {
            "sample_id": ["s"], "document_id": ["2016-03-27-oil"], "question": ["Why brass?"],
            "answer": [text], "messages": [[*context, {"role": "assistant", "content": text}]],
        }
    )  # fmt: skip
    writers = [WriterSample("tomas", (("2019-01-01-another-name", text),))]

    [own] = build_own_rows(samples, DEFAULT_TEMPLATE)
    [other] = build_other_rows(samples, writers, DEFAULT_TEMPLATE)

    assert own["messages"] == other["messages"]
    assert "Why brass?" not in own["messages"][1]["content"]
    assert "another name" not in other["messages"][1]["content"]
    assert author_control.draft_question(text) in own["messages"][1]["content"]
