"""The plan fills the budget evenly, is the same every time, and loses no sample between ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.checkpoints.batches import (
    GENERAL_DOCUMENT_ID,
    micro_batches,
    padded_length,
    plan_stages,
    plan_training,
)
from twin_assets.checkpoints.samples import TokenizedSample


def sample(index: int, length: int = 100, documents: int = 10) -> TokenizedSample:
    return TokenizedSample(
        sample_id=f"sample-{index}",
        document_id=f"document-{index % documents}",
        tokens=tuple(range(length)),
        answer_start=length // 2,
        answer_end=length,
    )


def plan(samples: list[TokenizedSample], **changes: int):
    values = {"token_budget": 2000, "max_epochs": 2, "samples_per_step": 4, "seed": 1} | changes
    return plan_training(samples, **values)


def test_the_budget_is_met_within_half_a_step() -> None:
    samples = [sample(index, length=50 + index % 97) for index in range(200)]
    made = plan(samples, token_budget=5000)
    largest = max(sum(len(samples[index].tokens) for index in step) for step in made.steps)
    assert abs(made.tokens - 5000) <= largest
    assert made.epochs == pytest.approx(made.tokens / sum(len(each.tokens) for each in samples))


def test_documents_are_covered_evenly() -> None:
    # one document has nine tenths of all samples
    samples = [sample(index, documents=1) for index in range(90)]
    samples += [
        TokenizedSample(f"rare-{index}", f"rare-{index}", tuple(range(100)), 50, 100)
        for index in range(11)
    ]
    made = plan(samples, token_budget=1200)
    documents = Counter(samples[index].document_id for step in made.steps for index in step)
    assert documents == Counter({"document-0": 1} | {f"rare-{index}": 1 for index in range(11)})


@pytest.mark.parametrize("budget", [10_000, 40_000, 1_000_000])
def test_a_general_set_has_its_share_of_whatever_the_budget_pays_for(budget: int) -> None:
    samples = [sample(index, documents=80) for index in range(400)]
    samples += [
        TokenizedSample(f"general-{index}", GENERAL_DOCUMENT_ID, tuple(range(100)), 50, 100)
        for index in range(100)
    ]
    made = plan(samples, token_budget=budget, max_epochs=1)
    order = [samples[index].document_id for step in made.steps for index in step]
    assert order.count(GENERAL_DOCUMENT_ID) / len(order) == pytest.approx(0.2, abs=0.03)
    assert order[-len(order) // 4 :].count(GENERAL_DOCUMENT_ID) / len(order) == pytest.approx(
        0.05, abs=0.03
    )
    documents = Counter(name for name in order if name != GENERAL_DOCUMENT_ID)
    assert max(documents.values()) - min(documents.values()) <= 1


def test_a_small_corpus_is_seen_at_most_max_epochs_times() -> None:
    samples = [sample(index) for index in range(40)]
    made = plan(samples, token_budget=1_000_000, max_epochs=2)
    seen = Counter(index for step in made.steps for index in step)
    assert set(seen.values()) == {2}
    assert made.epochs == pytest.approx(2)


def test_the_order_follows_from_ids_and_seed() -> None:
    samples = [sample(index) for index in range(60)]
    assert plan(samples).steps == plan(samples).steps
    assert plan(samples).steps != plan(samples, seed=2).steps


def test_fewer_samples_than_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="3 samples"):
        plan([sample(index) for index in range(3)])


@given(st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1)]), st.integers(1, 4))
def test_ranks_share_a_step_without_loss_and_with_neighbours_in_length(
    shape: tuple[int, int], rounds: int
) -> None:
    ranks, micro_batch_size = shape
    step = tuple(range(ranks * micro_batch_size * rounds))
    dealt = [
        micro_batches(step, rank=rank, ranks=ranks, micro_batch_size=micro_batch_size)
        for rank in range(ranks)
    ]
    assert sorted(index for batches in dealt for batch in batches for index in batch) == list(step)
    assert {len(batches) for batches in dealt} == {rounds}
    for position in range(rounds):
        together = [index for batches in dealt for index in batches[position]]
        assert max(together) - min(together) < ranks * micro_batch_size


@pytest.mark.parametrize(("length", "expected"), [(1, 64), (64, 64), (65, 128), (200, 256)])
def test_padding_reaches_the_next_bucket(length: int, expected: int) -> None:
    assert padded_length(length, 64) == expected


def test_samples_of_like_length_meet_and_none_is_lost() -> None:
    samples = [sample(index, length=50 + (index * 37) % 400) for index in range(240)]
    made = plan(samples, token_budget=1_000_000, max_epochs=1)
    assert sorted(index for step in made.steps for index in step) == list(range(240))
    lengths = [[samples[index].length for index in step] for step in made.steps]
    assert all(step == sorted(step, reverse=True) for step in lengths)
    waited = sum(abs(step[0] - step[1]) + abs(step[2] - step[3]) for step in lengths)
    assert waited / made.tokens < 0.05
    firsts = [step[0] for step in lengths]
    assert firsts != sorted(firsts, reverse=True)  # short and long steps still alternate


def test_raw_posts_have_their_share_and_no_post_is_in_both_stages() -> None:
    samples = [sample(index, length=200, documents=40) for index in range(200)]
    general = [sample(index, length=200) for index in range(200, 220)]
    samples += [replace(one, document_id=GENERAL_DOCUMENT_ID) for one in general]
    blocks = [sample(index, length=512, documents=40) for index in range(160)]
    terms: dict[str, Any] = {"max_epochs": 2, "samples_per_step": 4, "seed": 1}
    made = plan_stages(samples, blocks, raw_share=0.4, token_budget=60_000, **terms)
    on_posts = [step[0] >= len(samples) for step in made.steps]
    raw = [step for step, posts in zip(made.steps, on_posts, strict=True) if posts]
    rest = [step for step, posts in zip(made.steps, on_posts, strict=True) if not posts]
    assert len(raw) == made.raw_steps
    assert {index >= len(samples) for step in raw for index in step} == {True}
    assert {index >= len(samples) for step in rest for index in step} == {False}
    # evenly among each other
    half = on_posts[: len(on_posts) // 2]
    assert abs(2 * sum(half) - sum(on_posts)) <= 2
    assert {len(step) for step in made.steps} == {4}, "the ranks share both alike"
    assert made.raw_tokens == 512 * 4 * len(raw)
    assert made.raw_tokens == pytest.approx(0.4 * 60_000, abs=512 * 4)
    assert made.tokens == pytest.approx(60_000, abs=512 * 4)
    read = Counter(blocks[index - len(samples)].document_id for step in raw for index in step)
    asked = {samples[index].document_id for step in rest for index in step}
    assert not read.keys() & asked
    assert (len(read), len(asked - {GENERAL_DOCUMENT_ID})) == (16, 24), "two fifths of forty posts"
    assert GENERAL_DOCUMENT_ID in asked
    assert max(read.values()) - min(read.values()) <= 1
    own = [one for one in samples if one.document_id not in read]
    alone = plan_training(own, token_budget=60_000 - made.raw_tokens, **terms)
    names = [{samples[index].sample_id for index in step} for step in rest]
    assert names == [{own[index].sample_id for index in step} for step in alone.steps]
    assert made.epochs == alone.epochs
    terms["seed"] = 2
    other = plan_stages(samples, blocks, raw_share=0.4, token_budget=60_000, **terms)
    assert other.steps[0] != made.steps[0]


def test_two_posts_are_dealt_one_to_each_stage_and_what_fills_no_stage_is_asked_about() -> None:
    terms: dict[str, Any] = {"max_epochs": 1, "samples_per_step": 2, "seed": 1}
    terms |= {"raw_share": 0.9, "token_budget": 100_000}
    samples = [sample(index, documents=2) for index in range(8)]
    made = plan_stages(samples, samples, **terms)
    of_step = [{(samples * 2)[index].document_id for index in step} for step in made.steps]
    assert sorted(map(sorted, of_step)) == [["document-0"]] * 2 + [["document-1"]] * 2
    few = [sample(index, documents=2) for index in range(2)]
    alone = [sample(index, documents=1) for index in range(8)]
    wide: dict[str, Any] = terms | {"samples_per_step": 8}
    del terms["raw_share"]
    for posts, each in ((few, terms), (alone, terms)):
        made = plan_stages(posts, posts, raw_share=0.9, **each)
        assert (made.raw_steps, made) == (0, plan_training(posts, **each))
    made = plan_stages(samples, samples, **wide)
    assert (made.raw_steps, len(made.steps)) == (0, 1), (
        "four of eight samples fill no step of eight"
    )


def test_a_post_that_cannot_be_read_is_asked_about() -> None:
    samples = [sample(index, documents=40) for index in range(80)]
    blocks = [sample(index, documents=40) for index in range(8)]
    terms: dict[str, Any] = {"max_epochs": 1, "samples_per_step": 2, "seed": 1}
    made = plan_stages(samples, blocks, raw_share=0.5, token_budget=100_000, **terms)
    seen = {index for step in made.steps for index in step}
    assert seen == {*range(8, 40), *range(48, 80), *range(80, 88)}


def test_without_raw_posts_a_plan_is_the_one_of_the_samples() -> None:
    samples = [sample(index) for index in range(60)]
    terms: dict[str, Any] = {
        "token_budget": 2000,
        "max_epochs": 2,
        "samples_per_step": 4,
        "seed": 1,
    }
    assert plan_stages(samples, [], raw_share=0.0, **terms) == plan_training(samples, **terms)


def test_what_few_posts_leave_of_their_share_the_samples_have() -> None:
    samples = [sample(index) for index in range(400)]
    blocks = [sample(index) for index in range(20)]
    made = plan_stages(
        samples,
        blocks,
        raw_share=0.5,
        token_budget=20_000,
        max_epochs=2,
        samples_per_step=4,
        seed=1,
    )
    assert made.raw_steps == 5, "the ten blocks of half the posts, in two epochs"
    assert made.tokens == pytest.approx(20_000, abs=400)
