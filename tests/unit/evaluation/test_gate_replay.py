"""Stored evaluations say what they said when the gate's measures were fields of one class."""

from __future__ import annotations

from pathlib import Path

from tests.unit.evaluation.gate_replay import VARIATIONS, digest_of, fixture, said_of, varied

RECORDED = fixture()


def test_recorded_evaluations_are_decided_and_told_as_they_were(tmp_path: Path) -> None:
    outcomes: set[str] = set()
    for document, said in zip(RECORDED["documents"], RECORDED["said"], strict=True):
        assert said_of(document, tmp_path) == said
        outcomes |= set(said["outcomes"][:2])

    assert outcomes == {"passed", "failed", "not_decided"}


def test_their_variations_are_decided_and_told_as_they_were(tmp_path: Path) -> None:
    """What is missing, scaled, no number, or of a larger base model."""
    differ = [
        (number, seed)
        for number, (document, digests) in enumerate(
            zip(RECORDED["documents"], RECORDED["digests"], strict=True)
        )
        for seed in range(VARIATIONS)
        if digest_of(said_of(varied(document, 1000 * number + seed), tmp_path)) != digests[seed]
    ]

    assert len(RECORDED["documents"]) * VARIATIONS == 640
    assert differ == []
