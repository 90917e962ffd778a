"""Another author's passages as control: what counts is what was gained beyond them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measures import author_control
from twin_assets.evaluation.measures.author_control import build_other_rows, compare, own_rows
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import WriterSample


def likelihoods(gain: float, *, seed: int) -> tuple[AnswerLikelihood, AnswerLikelihood]:
    """(candidate, base) of 24 passages: the candidate gains so many nats a token, give or take."""
    chance = np.random.default_rng(seed)
    tokens = tuple(int(count) for count in chance.integers(60, 90, 24))
    base = [3.5 * count for count in tokens]
    mine = [
        nats - (gain + chance.normal(0, 0.05)) * count
        for nats, count in zip(base, tokens, strict=True)
    ]
    return AnswerLikelihood(tuple(mine), tokens), AnswerLikelihood(tuple(base), tokens)


@pytest.mark.parametrize(
    ("own", "other", "passed"),
    [
        (0.32, 0.15, True),  # the author's gained more
        (0.25, 0.25, False),  # format: everybody's gained the same
        (0.15, 0.32, False),  # somebody else's data
        (0.0, 0.0, False),  # nothing was learnt
        (-0.1, -0.4, True),  # it lost on both, less on the author's: `beats_base_model` refuses
    ],
)
def test_only_what_is_gained_beyond_the_control_counts(
    own: float, other: float, passed: bool
) -> None:
    documents = [f"d{number // 2}" for number in range(24)]
    found = compare(
        likelihoods(own, seed=1),
        likelihoods(other, seed=2),
        documents=(documents, documents),
        others=("tomas",),
    )

    assert author_control.claim(found).passed is passed
    assert found.ratio == pytest.approx(np.exp(other - own), rel=0.03)
    assert found.low < found.ratio < found.high
    assert "tomas" in author_control.claim(found).detail


def test_both_sides_are_asked_alike_without_context_and_cut_alike() -> None:
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
    hands = [
        WriterSample(
            "tomas", tuple((f"2016-03-27-post-{n}", f"Text {n}. {answer}") for n in range(50))
        ),
        WriterSample("few", (("a", "One passage alone."),)),
    ]

    own, other = (
        own_rows(passages, DEFAULT_TEMPLATE),
        build_other_rows(passages, hands, DEFAULT_TEMPLATE),
    )

    assert len(own) == len(other) == author_control.MAX_PASSAGES_PER_SIDE
    assert (
        len({row["messages"][-1]["content"] for row in other})
        == author_control.MAX_PASSAGES_PER_SIDE
    )
    assert "few/a" in [row["document_id"] for row in other], "each hand has its turn"
    documents = {row["document_id"] for row in own}
    assert len(documents) == 30, "each post gives one passage before any gives two"
    numbers = [
        int(row["document_id"].rpartition("-")[2]) for row in other if row["document_id"] != "few/a"
    ]
    gaps = [right - left for left, right in pairwise([0, *sorted(numbers), 50])]
    assert max(gaps) <= 2, "from all over a hand's posts"
    for row in (*own, *other):
        system, asked, said = row["messages"]
        assert "much text" not in asked["content"]
        assert len(said["content"].split()) <= author_control.MAX_WORDS
        assert system == context[0]
    assert build_other_rows(passages.head(0), hands, DEFAULT_TEMPLATE) == []
    assert own_rows(passages.head(0), DEFAULT_TEMPLATE) == []
    assert len(build_other_rows(passages, hands[1:], DEFAULT_TEMPLATE)) == 1


def test_a_passage_is_asked_for_alike_whoever_wrote_it() -> None:
    """Neither its dataset's question nor the name of its file, which one side alone has."""
    text = "The brass bearing of a tower clock wears out because nobody cleans the old oil away."
    context = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why brass?")
    samples = pl.DataFrame(
        {
            "sample_id": ["s"], "document_id": ["2016-03-27-oil"], "question": ["Why brass?"],
            "answer": [text], "messages": [[*context, {"role": "assistant", "content": text}]],
        }
    )  # fmt: skip
    hands = [WriterSample("tomas", (("2019-01-01-another-name", text),))]

    [own] = own_rows(samples, DEFAULT_TEMPLATE)
    [other] = build_other_rows(samples, hands, DEFAULT_TEMPLATE)

    assert own["messages"] == other["messages"]
    assert "Why brass?" not in own["messages"][1]["content"]
    assert "another name" not in other["messages"][1]["content"]
    assert author_control.draft_question(text) in own["messages"][1]["content"]
