"""Which version is the anchor, from the history alone."""

from __future__ import annotations

import pytest

from tests.registered import model_version
from twin_resources.quality.release.anchor import CertifiedBaseline, anchor_of
from twin_resources.registry.moves import ModelVersion, Move, VersionState


def version(number: int, state: VersionState = "retired", **values: bool) -> ModelVersion:
    return model_version(
        author="mara", version=number, checkpoint=f"hash{number}", state=state, **values
    )


def released(*numbers: int) -> list[Move]:
    return [
        Move(position, "mara", number, "shadow", "stable", "test", "", False, "")
        for position, number in enumerate(numbers, start=1)
    ]


def certified(**means: float) -> dict[int, dict[str, CertifiedBaseline]]:
    """`v2=.7`: what the thumbs of version 2 certify, for one class of questions."""
    return {
        int(name[1:]): {"thumbs": CertifiedBaseline({"how": mean}, {"how": 500})}
        for name, mean in means.items()
    }


def test_before_the_first_release_there_is_none() -> None:
    assert anchor_of([version(1, "candidate")], [], {}) is None


@pytest.mark.parametrize(
    ("means", "anchor"),
    [
        ({}, 1),
        ({"v2": 0.9}, 1),  # nothing of the first to compare it with
        ({"v1": 0.7, "v2": 0.71, "v3": 0.6}, 2),
        ({"v1": 0.7, "v2": 0.62, "v3": 0.69}, 1),
        ({"v1": 0.5, "v2": 0.6, "v3": 0.7}, 3),
    ],
)
def test_it_is_the_best_that_was_certified(means: dict[str, float], anchor: int) -> None:
    versions = [version(1), version(2), version(3, "stable")]
    assert anchor_of(versions, released(1, 2, 3), certified(**means)) == anchor


def test_an_easier_mix_of_questions_makes_no_version_better() -> None:
    bounds = {"how": 0.5, "thanks": 0.9}
    found = {
        1: {"thumbs": CertifiedBaseline(bounds, {"how": 450, "thanks": 50})},
        2: {"thumbs": CertifiedBaseline({"how": 0.49, "thanks": 0.9}, {"how": 50, "thanks": 450})},
    }
    assert anchor_of([version(1), version(2, "stable")], released(1, 2), found) == 1


def test_it_must_be_better_on_every_stream_that_both_have() -> None:
    found = certified(v1=0.5, v2=0.6)
    found[1]["judge:topic@1"] = CertifiedBaseline({"how": 0.8}, {"how": 500})
    found[2]["judge:topic@1"] = CertifiedBaseline({"how": 0.7}, {"how": 500})
    assert anchor_of([version(1), version(2, "stable")], released(1, 2), found) == 1


@pytest.mark.parametrize(
    "first",
    [
        version(1, forced=True),
        version(1, tainted=True),
        version(1, "rolled_back"),
        version(1, "parked"),
    ],
)
def test_forced_tainted_and_rolled_back_versions_are_none(first: ModelVersion) -> None:
    means = certified(v1=0.9, v2=0.5)
    assert anchor_of([first, version(2, "stable")], released(1, 2), means) == 2


def test_a_rollback_does_not_make_the_version_that_came_back_newer() -> None:
    moves = [
        *released(1, 2),
        Move(3, "mara", 1, "retired", "stable", "me", "", forced=False, moved_at=""),
    ]
    versions = [version(1, "stable"), version(2, "rolled_back")]
    assert anchor_of(versions, moves, certified(v1=0.5, v2=0.9)) == 1
