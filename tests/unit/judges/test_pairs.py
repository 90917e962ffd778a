"""Test reading stored pairs as evidence: their order, probes and ids."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from twin_resources.quality.judges.pairs import (
    COLUMNS,
    PROBE,
    JudgedComparison,
    probe_keys,
    probe_rows,
    score_differences,
    trial_pairs,
)

TRIAL = JudgedComparison("c" * 8, "i" * 8, ("topic@1", "voice@1"), "sampling")


def make_row(
    sequence: int, source: str, prompt: str, topic: tuple[float, float], **fields: object
) -> dict:
    scores = [
        {"claim": "topic", "judge": "topic@1", "candidate": topic[0], "incumbent": topic[1]},
        {"claim": "voice", "judge": "voice@1", "candidate": 0.5, "incumbent": 0.25},
    ]
    probe_kind = "shuffled" if source == PROBE else ""
    trial = fields.pop("trial", TRIAL)
    assert isinstance(trial, JudgedComparison)
    return trial.build_row(sequence, source, prompt, probe_kind) | {"scores": scores} | fields


def test_pairs_are_in_order_without_probes_and_other_trials() -> None:
    other_trial = replace(TRIAL, judges=("topic@2", "voice@1"))
    rows = pl.DataFrame(
        [
            make_row(5, "recorded", "t2", (0.5, 0.75)),
            make_row(4, PROBE, "s1", (1.0, 0.25)),
            make_row(3, "recorded", "t1", (1.0, 0.5)),
            make_row(1, "recorded", "t1", (0.0, 1.0), trial=other_trial),
        ],
        schema=dict(COLUMNS),
    )

    pairs = trial_pairs(rows, TRIAL.id, ["topic", "voice"])

    assert [pair.sequence for pair in pairs] == [3, 5]
    assert [pair.differences for pair in pairs] == [
        {"topic": 0.5, "voice": 0.25},
        {"topic": -0.25, "voice": 0.25},
    ]
    [probe] = probe_rows(rows, trial=TRIAL.id).to_dicts()
    assert score_differences(probe, ["topic"]) == {"topic": 0.75}
    assert probe_keys(probe_rows(rows, trial=TRIAL.id)) == {("s1", "shuffled")}
    assert probe_rows(rows, trial=other_trial.id).is_empty()


def test_another_judge_or_sampling_is_another_trial() -> None:
    changed_trials = [
        replace(TRIAL, judges=("topic@2", "voice@1")),
        replace(TRIAL, answers="other sampling"),
        replace(TRIAL, incumbent="j"),
    ]

    assert len({TRIAL.id, *(trial.id for trial in changed_trials)}) == 4
    first, repeated = TRIAL.build_row(1, "recorded", "t1"), TRIAL.build_row(9, "recorded", "t1")
    assert first["pair_id"] == repeated["pair_id"]
