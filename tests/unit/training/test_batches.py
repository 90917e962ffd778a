"""Test the plan of a training run and its distribution over ranks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.checkpoints.batches import (
    micro_batches,
    padded_length,
    plan_stages,
    plan_training,
)
from twin_assets.checkpoints.samples import TokenizedSample


def make_sample(index: int, length: int = 100, documents: int = 10) -> TokenizedSample:
    return TokenizedSample(
        sample_id=f"sample-{index}",
        document_id=f"document-{index % documents}",
        tokens=tuple(range(length)),
        answer_start=length // 2,
        answer_end=length,
    )


def make_plan(samples: list[TokenizedSample], **changes: int):
    values = {"token_budget": 2000, "max_epochs": 2, "samples_per_step": 4, "seed": 1} | changes
    return plan_training(samples, **values)


def test_the_plan_meets_the_budget_within_half_a_step() -> None:
    samples = [make_sample(index, length=50 + index % 97) for index in range(200)]
    plan = make_plan(samples, token_budget=5000)
    largest = max(sum(len(samples[index].tokens) for index in step) for step in plan.steps)
    assert abs(plan.tokens - 5000) <= largest
    assert plan.epochs == pytest.approx(plan.tokens / sum(len(sample.tokens) for sample in samples))


def test_documents_are_covered_evenly() -> None:
    # one document has nine tenths of all samples
    samples = [make_sample(index, documents=1) for index in range(90)]
    samples += [
        TokenizedSample(f"rare-{index}", f"rare-{index}", tuple(range(100)), 50, 100)
        for index in range(11)
    ]
    plan = make_plan(samples, token_budget=1200)
    documents = Counter(samples[index].document_id for step in plan.steps for index in step)
    assert documents == Counter({"document-0": 1} | {f"rare-{index}": 1 for index in range(11)})


def test_a_small_corpus_is_used_at_most_max_epochs_times() -> None:
    samples = [make_sample(index) for index in range(40)]
    plan = make_plan(samples, token_budget=1_000_000, max_epochs=2)
    uses = Counter(index for step in plan.steps for index in step)
    assert set(uses.values()) == {2}
    assert plan.epochs == pytest.approx(2)


def test_ids_and_seed_determine_the_order() -> None:
    samples = [make_sample(index) for index in range(60)]
    assert make_plan(samples).steps == make_plan(samples).steps
    assert make_plan(samples).steps != make_plan(samples, seed=2).steps


def test_fewer_samples_than_a_step_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 samples"):
        make_plan([make_sample(index) for index in range(3)])


@given(st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1)]), st.integers(1, 4))
def test_ranks_share_all_samples_of_a_step_by_length(
    shape: tuple[int, int], batch_count: int
) -> None:
    ranks, micro_batch_size = shape
    step = tuple(range(ranks * micro_batch_size * batch_count))
    batches_by_rank = [
        micro_batches(step, rank=rank, ranks=ranks, micro_batch_size=micro_batch_size)
        for rank in range(ranks)
    ]
    assert sorted(
        index for batches in batches_by_rank for batch in batches for index in batch
    ) == list(step)
    assert {len(batches) for batches in batches_by_rank} == {batch_count}
    for position in range(batch_count):
        indices = [index for batches in batches_by_rank for index in batches[position]]
        assert max(indices) - min(indices) < ranks * micro_batch_size


@pytest.mark.parametrize(("length", "expected"), [(1, 64), (64, 64), (65, 128), (200, 256)])
def test_lengths_are_padded_to_the_next_bucket(length: int, expected: int) -> None:
    assert padded_length(length, 64) == expected


def test_samples_of_similar_length_share_a_step() -> None:
    samples = [make_sample(index, length=50 + (index * 37) % 400) for index in range(240)]
    plan = make_plan(samples, token_budget=1_000_000, max_epochs=1)
    assert sorted(index for step in plan.steps for index in step) == list(range(240))
    lengths = [[samples[index].length for index in step] for step in plan.steps]
    assert all(step == sorted(step, reverse=True) for step in lengths)
    padding = sum(abs(step[0] - step[1]) + abs(step[2] - step[3]) for step in lengths)
    assert padding / plan.tokens < 0.05
    first_lengths = [step[0] for step in lengths]
    assert first_lengths != sorted(
        first_lengths, reverse=True
    )  # short and long steps are still mixed


def test_raw_posts_take_their_share_and_no_post_is_in_both_stages() -> None:
    samples = [make_sample(index, length=200, documents=40) for index in range(200)]
    blocks = [make_sample(index, length=512, documents=40) for index in range(160)]
    options: dict[str, Any] = {"max_epochs": 2, "samples_per_step": 4, "seed": 1}
    plan = plan_stages(samples, blocks, raw_share=0.4, token_budget=60_000, **options)
    is_raw_step = [step[0] >= len(samples) for step in plan.steps]
    raw_steps = [step for step, is_raw in zip(plan.steps, is_raw_step, strict=True) if is_raw]
    question_steps = [
        step for step, is_raw in zip(plan.steps, is_raw_step, strict=True) if not is_raw
    ]
    assert len(raw_steps) == plan.raw_steps
    assert {index >= len(samples) for step in raw_steps for index in step} == {True}
    assert {index >= len(samples) for step in question_steps for index in step} == {False}
    # raw steps are spread evenly
    first_half = is_raw_step[: len(is_raw_step) // 2]
    assert abs(2 * sum(first_half) - sum(is_raw_step)) <= 2
    assert {len(step) for step in plan.steps} == {4}, "a step has another size than the ranks share"
    assert plan.raw_tokens == 512 * 4 * len(raw_steps)
    assert plan.raw_tokens == pytest.approx(0.4 * 60_000, abs=512 * 4)
    assert plan.tokens == pytest.approx(60_000, abs=512 * 4)
    raw_documents = Counter(
        blocks[index - len(samples)].document_id for step in raw_steps for index in step
    )
    question_documents = {samples[index].document_id for step in question_steps for index in step}
    assert not raw_documents.keys() & question_documents
    assert (len(raw_documents), len(question_documents)) == (16, 24), (
        "the raw stage needs two fifths of forty posts"
    )
    assert max(raw_documents.values()) - min(raw_documents.values()) <= 1
    remaining_samples = [sample for sample in samples if sample.document_id not in raw_documents]
    supervised_plan = plan_training(
        remaining_samples, token_budget=60_000 - plan.raw_tokens, **options
    )
    names = [{samples[index].sample_id for index in step} for step in question_steps]
    assert names == [
        {remaining_samples[index].sample_id for index in step} for step in supervised_plan.steps
    ]
    assert plan.epochs == supervised_plan.epochs
    options["seed"] = 2
    other_plan = plan_stages(samples, blocks, raw_share=0.4, token_budget=60_000, **options)
    assert other_plan.steps[0] != plan.steps[0]


def test_each_stage_gets_one_of_two_posts() -> None:
    options: dict[str, Any] = {"max_epochs": 1, "samples_per_step": 2, "seed": 1}
    options |= {"raw_share": 0.9, "token_budget": 100_000}
    samples = [make_sample(index, documents=2) for index in range(8)]
    plan = plan_stages(samples, samples, **options)
    documents_by_step = [
        {(samples * 2)[index].document_id for index in step} for step in plan.steps
    ]
    assert sorted(map(sorted, documents_by_step)) == [["document-0"]] * 2 + [["document-1"]] * 2
    two_samples = [make_sample(index, documents=2) for index in range(2)]
    one_document = [make_sample(index, documents=1) for index in range(8)]
    wide_options: dict[str, Any] = options | {"samples_per_step": 8}
    del options["raw_share"]
    for posts, blocks in ((two_samples,) * 2, (one_document,) * 2, (samples, [])):
        plan = plan_stages(posts, blocks, raw_share=0.9, **options)
        assert (plan.raw_steps, plan) == (0, plan_training(posts, **options))
    plan = plan_stages(samples, samples, **wide_options)
    assert (plan.raw_steps, len(plan.steps)) == (0, 1), (
        "four samples of one stage cannot fill a step of eight"
    )


def test_a_post_without_blocks_is_used_for_questions() -> None:
    samples = [make_sample(index, documents=40) for index in range(80)]
    blocks = [make_sample(index, documents=40) for index in range(8)]
    options: dict[str, Any] = {"max_epochs": 1, "samples_per_step": 2, "seed": 1}
    plan = plan_stages(samples, blocks, raw_share=0.5, token_budget=100_000, **options)
    used_indices = {index for step in plan.steps for index in step}
    assert used_indices == {*range(8, 40), *range(48, 80), *range(80, 88)}


def test_samples_take_the_budget_that_posts_do_not_use() -> None:
    samples = [make_sample(index) for index in range(400)]
    blocks = [make_sample(index) for index in range(20)]
    plan = plan_stages(
        samples,
        blocks,
        raw_share=0.5,
        token_budget=20_000,
        max_epochs=2,
        samples_per_step=4,
        seed=1,
    )
    assert plan.raw_steps == 5, "ten blocks of half of the posts in two epochs give five steps"
    assert plan.tokens == pytest.approx(20_000, abs=400)
