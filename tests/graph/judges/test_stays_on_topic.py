"""Test the gate's topic claim with recorded answers of real models and the real embedder.

`served_answers.json` was recorded from SmolLM2-135M on the shared posts of one author, served by
llama.cpp as in the gate: the base model, a model trained on 100,000 tokens, and a model trained on
shuffled question–answer pairs. `tests/live/evaluation/test_broken_candidates.py` trains such
models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from twin_assets.evaluation.measures.on_topic import decide_claim
from twin_assets.evaluation.statistics.permutation_auc import permutation_shares
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.quality.judges.topic import TopicCalibration, TopicJudge

RECORDED_ANSWERS = Path(__file__).with_name("served_answers.json")
TOPIC_SCALE = (0.0955, 0.4575)  # mean cosines of other and own passages in the training pairs


@pytest.mark.parametrize(
    ("model", "met", "value"), [("good", True, 0.998), ("shuffled", False, 0.7)]
)
def test_a_model_trained_on_shuffled_pairs_fails_and_a_good_model_passes(
    model: str, met: bool, value: float, embedder: Embedder
) -> None:
    recorded = json.loads(RECORDED_ANSWERS.read_text(encoding="utf-8"))
    judge = TopicJudge(TopicCalibration(*TOPIC_SCALE, 400, embedder.revision), embedder.embed)
    questions = [row["question"] for row in recorded]
    documents = [str(number) for number in range(len(questions))]

    def measure_shares(name: str) -> list[float]:
        similarities = judge.cosine_similarities(questions, [row[name] for row in recorded])
        return permutation_shares(similarities, range(len(questions)), groups=documents)

    claim = decide_claim(measure_shares(model), measure_shares("base"), documents=documents)

    assert claim.passed is met
    assert claim.value == pytest.approx(value, abs=0.02)
    limits = re.search(r"95 %: ([\d.]+) to ([\d.]+)", claim.detail)
    assert limits is not None
    assert float(limits[1]) > 0.9 if met else float(limits[2]) < 0.9
