"""Whose answers are asked for, and about which samples."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from twin_assets.instructions.model_answers import (
    TrainedCheckpoint,
    choose_answer_checkpoint,
    choose_samples,
)

NOW = TrainedCheckpoint("posts of today", "recipe")


def test_the_stable_version_is_asked_while_there_is_something_to_learn() -> None:
    for trained in (
        TrainedCheckpoint("older posts", "recipe"),
        TrainedCheckpoint("posts of today", "older recipe"),
    ):
        assert choose_answer_checkpoint("stable", previous=trained, current=NOW) == "stable"


def test_a_release_alone_changes_no_pairs() -> None:
    """The first model was trained without pairs, the second on answers of the first."""
    assert (
        choose_answer_checkpoint(
            "v1", previous=TrainedCheckpoint("posts of today", "recipe"), current=NOW
        )
        == ""
    )
    second = TrainedCheckpoint("posts of today", "recipe", answers_of="v1")
    assert choose_answer_checkpoint("v2", previous=second, current=NOW) == "v1"


def samples_of(documents: list[int]) -> list[tuple[str, str]]:
    return [
        (f"sample-{document}-{place}", f"document-{document}")
        for document, count in enumerate(documents)
        for place in range(count)
    ]


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 60))
def test_documents_take_turns(documents: list[int], count: int) -> None:
    samples = samples_of(documents)
    chosen = choose_samples(samples, count=count)
    assert len(chosen) == len(set(chosen)) == min(count, len(samples))
    assert chosen == choose_samples(samples[::-1], count=count)
    document_of = dict(samples)
    turns = Counter(document_of[sample] for sample in chosen)
    most = max(turns.values(), default=0)
    size = Counter(document_of.values())
    assert all(turns[name] >= min(most - 1, size[name]) for name in size)


def test_a_few_new_samples_move_few_of_the_chosen() -> None:
    before = samples_of([5] * 100)
    after = [*before, ("sample-new", "document-new")]
    chosen = set(choose_samples(before, count=40))
    assert len(chosen & set(choose_samples(after, count=40))) >= 39
