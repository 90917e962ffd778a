"""Test the adapter of other authors and the claim about it.

The real trainer trains a tiny base model on the bundled authors' posts; Dagster judges candidates
with the author's own data and with another author's data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.live.evaluation.conftest import GOOD_STEPS, Workplace
from tests.live.evaluation.gate_run import GateRun
from tests.live.evaluation.test_broken_candidates import passages_as_samples
from tests.materialization import materialize_assets, metadata_of
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.measures.other_authors import CLAIM
from twin_assets.evaluation.other_authors_adapter import other_authors_adapter
from twin_resources.authors import read_author, write_author
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.moves import GateClaim
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model

pytestmark = pytest.mark.live

# Larger steps than for the candidate with another author's data, so the adapter is not weaker.
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


def materialize_adapter(instance: dg.DagsterInstance, author: str) -> dict[str, Any]:
    """Materialize the asset and return its metadata."""
    result = materialize_assets([other_authors_adapter], author, instance)
    return metadata_of(result, "other_authors_adapter")


@pytest.mark.drawn(2, of="long flows")
def test_the_adapter_is_trained_once_and_a_candidate_must_exceed_it(
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
        workplace.write_dataset(author)
        author_record = read_author(workplace.settings, author)
        changed_author = replace(author_record, recipe=str(recipe))
        write_author(workplace.settings, changed_author)

    def read_claim(checkpoint: str) -> GateClaim:
        verdict = workplace.registry.verdict(checkpoint, GATE_VERSION)
        assert verdict is not None
        return next(claim for claim in verdict.claims if claim.name == CLAIM)

    workplace.train_candidate("ada", steps=8, revision=revision)
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

    first = materialize_adapter(instance, "ada")
    second = materialize_adapter(instance, "bob")
    assert (first["trained"], second["trained"]) == (True, False)
    assert first["authors"] == "mara-lindqvist, oona-petrie, tomas-okafor"
    assert first["checkpoint"] == second["checkpoint"]
    assert first["last_loss"] < first["first_loss"]
    folder = workplace.settings.reference_adapters_dir / first["checkpoint"]
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2_000_000

    better_checkpoint = workplace.train_candidate(
        "ada", steps=GOOD_STEPS, seed=2, revision=revision
    )
    gate_run = GateRun(instance, "ada")
    assert CLAIM not in gate_run.failed_checks()
    assert read_claim(better_checkpoint).passed
    assert first["checkpoint"][:12] in read_claim(better_checkpoint).detail
    metadata = gate_run.metadata("checkpoint_evaluation")
    assert metadata["other_authors_adapter"] == first["checkpoint"]
    assert metadata[CLAIM] < 0.9
    first_reading_s = metadata["seconds"]["likelihoods of other authors' adapter"]

    [writer] = [sample for sample in bundled_writers(exclude=[]) if sample.name == "oona-petrie"]
    rows = passages_as_samples(writer.passages[:40], name="Ada").to_dicts()
    foreign_checkpoint = workplace.train_candidate(
        "ada", steps=12, seed=3, samples=rows, revision=revision
    )
    gate_run = GateRun(instance, "ada")
    assert read_claim(foreign_checkpoint).passed is False, read_claim(foreign_checkpoint).detail
    assert CLAIM in gate_run.failed_checks()
    assert workplace.registry.get("ada", 3).state == "refused"
    # the adapter's likelihoods were stored for the previous candidate
    seconds = gate_run.metadata("checkpoint_evaluation")["seconds"]
    assert seconds["likelihoods of other authors' adapter"] < 0.7 * first_reading_s
