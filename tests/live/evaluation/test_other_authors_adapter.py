"""Test the adapter of other authors, and the claim about it.

A tiny base model by the real trainer on the bundled authors' posts; candidates of the author's own
data and of other people's, judged in Dagster.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.live.evaluation.conftest import GOOD, Workplace
from tests.live.evaluation.judged_in_dagster import GateRun
from tests.live.evaluation.test_broken_candidates import passages_as_samples
from tests.materialized import materialize_assets, metadata_of
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.measures.other_authors import CLAIM
from twin_assets.evaluation.other_authors_adapter import other_authors_adapter
from twin_resources.authors import read_author, write_author
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.moves import GateClaim
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model

pytestmark = pytest.mark.live

# Larger steps than the candidate of other people's data has, so that it is no weaker than that.
RECIPE = """
launch: cpu-single
seed: 1
token_budget: 16000
max_epochs: 1
samples_per_step: 1
micro_batch_size: 1
max_length: 512
bucket: 64
learning_rate: 0.01
warmup_share: 0.1
final_learning_rate_share: 0.1
weight_decay: 0.0
max_grad_norm: 1.0
checkpoint_every_steps: 500
lora:
  rank: 4
  alpha: 8
  dropout: 0.0
  target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
"""


def train_adapter_of_others(instance: dg.DagsterInstance, author: str) -> dict[str, Any]:
    """Materialize the asset and return its metadata."""
    result = materialize_assets([other_authors_adapter], author, instance)
    return metadata_of(result, "other_authors_adapter")


@pytest.mark.drawn(2, of="long flows")
def test_the_adapter_is_trained_once_and_must_be_beaten(
    workplace: Workplace,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWIN_TRAIN_RANKS", "1")
    monkeypatch.setenv("TWIN_BASE_MODEL", str(workplace.base))
    recipe = tmp_path / "few-steps.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    prepare_base_model(workplace.settings, str(workplace.base))
    revision = load_base_model(workplace.settings, str(workplace.base)).revision
    for author in ("ada", "bob"):
        workplace.dataset(author)
        described = read_author(workplace.settings, author)
        written = replace(described, recipe=str(recipe))
        write_author(workplace.settings, written)

    def claim_of(checkpoint: str) -> GateClaim:
        verdict = workplace.registry.verdict(checkpoint, GATE_VERSION)
        assert verdict is not None
        return next(claim for claim in verdict.claims if claim.name == CLAIM)

    workplace.candidate("ada", steps=8, revision=revision)
    move = workplace.registry.move
    move("ada", 1, "refused", actor="ann", reason="not looked at")
    move(
        "ada",
        1,
        "stable",
        actor="ann",
        reason="the gate of a first model is another test's",
        force=True,
    )

    made = train_adapter_of_others(instance, "ada")
    again = train_adapter_of_others(instance, "bob")
    assert (made["trained"], again["trained"]) == (True, False)
    assert made["authors"] == "mara-lindqvist, oona-petrie, tomas-okafor"
    assert made["checkpoint"] == again["checkpoint"]
    assert made["last_loss"] < made["first_loss"]
    folder = workplace.settings.reference_adapters_dir / made["checkpoint"]
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2_000_000

    better = workplace.candidate("ada", steps=GOOD, seed=2, revision=revision)
    ran = GateRun(instance, "ada")
    assert CLAIM not in ran.failed_checks()
    assert claim_of(better).passed
    assert made["checkpoint"][:12] in claim_of(better).detail
    told = ran.metadata("checkpoint_evaluation")
    assert told["other_authors_adapter"] == made["checkpoint"]
    assert told[CLAIM] < 0.9
    reading = told["seconds"]["likelihoods of other authors' adapter"]

    [hand] = [one for one in bundled_writers(exclude=[]) if one.name == "oona-petrie"]
    rows = passages_as_samples(hand.passages[:40], name="Ada").to_dicts()
    foreign = workplace.candidate("ada", steps=12, seed=3, samples=rows, revision=revision)
    ran = GateRun(instance, "ada")
    assert claim_of(foreign).passed is False, claim_of(foreign).detail
    assert CLAIM in ran.failed_checks()
    assert workplace.registry.get("ada", 3).state == "refused"
    # what it reads was read for the candidate before
    seconds = ran.metadata("checkpoint_evaluation")["seconds"]
    assert seconds["likelihoods of other authors' adapter"] < 0.7 * reading
