"""Test `shadow_pairs` and `judged_interactions` in Dagster with tiny models and real judges.

The tiny models write gibberish, so the tests check only the records: who answered, one pair per
prompt, probes among the pairs, no text in the tables, and scores with fixed ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.conftest import fresh_home
from tests.live.evaluation.conftest import GateHome, open_gate_home, save_home
from tests.live.evaluation.gate_run import create_instance_of_two_authors
from tests.materialization import materialize_assets, metadata_of
from tests.model_versions import register_version
from tests.prepared_embedder import link_weights
from tests.stored_rows import store_rows
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.feedback.judged_interactions import judged_interactions
from twin_assets.serving.shadow_pairs import ShadowConfig, shadow_pairs
from twin_resources.authors import Author, read_author, write_author
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges.pairs import PROBE
from twin_resources.quality.ledger.interactions_frame import interaction_columns
from twin_resources.registry.moves import Verdict
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model

pytestmark = pytest.mark.live

ANSWER = "The clock keeps its spring when a wheel drives every time."


def set_up_trial(gate_home: GateHome) -> None:
    """Register Ada's stable v1 and candidate v2, with a prepared base model."""
    gate_home.write_dataset("ada")
    gate_home.write_chunks("ada")
    prepare_base_model(gate_home.settings, str(gate_home.base), report=lambda _line: None)
    author = read_author(gate_home.settings, "ada")
    write_author(gate_home.settings, replace(author, release_mode="shadow"))
    stable = gate_home.train_candidate("ada", steps=4)
    verdict = Verdict("ada", stable, GATE_VERSION, "passed", (), "2026-01-01T00:00:00+00:00")
    gate_home.registry.record_verdict(verdict)
    gate_home.registry.move(
        "ada", 1, "stable", actor="test", reason="first", gate_version=GATE_VERSION
    )
    gate_home.train_candidate("ada", steps=6, seed=5)


@dataclass(frozen=True)
class SavedTrial:
    """A home with a trial of four pairs and calibrated judges, made once.

    Attributes:
        path: path of every copy, as in `conftest.SavedHomes`.
        saved: the stored home.
        first: metadata of the trial's first run.
    """

    path: Path
    saved: Path
    first: dict[str, Any]


@pytest.fixture(scope="module")
def trial(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, embedder_weights: Path
) -> SavedTrial:
    folder = tmp_path_factory.mktemp("trial")
    path, saved = folder / "home", folder / "saved"
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = link_weights(embedder_weights, fresh_home(path, monkeypatch))
        monkeypatch.setenv("TWIN_BASE_MODEL", str(tiny_base))
        gate_home = open_gate_home(settings, tiny_base)
        set_up_trial(gate_home)
        with create_instance_of_two_authors() as instance:
            first = materialize(shadow_pairs, instance, ShadowConfig(most_pairs=4).model_dump())
        save_home(gate_home, saved)
    return SavedTrial(path, saved, first)


@pytest.fixture
def trial_home(
    restore_home: Callable[[Path, Path], GateHome],
    trial: SavedTrial,
    monkeypatch: pytest.MonkeyPatch,
) -> GateHome:
    gate_home = restore_home(trial.saved, trial.path)
    monkeypatch.setenv("TWIN_BASE_MODEL", str(gate_home.base))
    return gate_home


def materialize(
    asset: dg.AssetsDefinition, instance: dg.DagsterInstance, config: dict[str, Any] | None = None
) -> dict[str, Any]:
    name = asset.key.path[-1]
    result = materialize_assets(
        [asset], "ada", instance, run_config={"ops": {name: {"config": config}}} if config else None
    )
    return metadata_of(result, name)


def test_pairs_are_made_once_and_contain_no_text(
    trial_home: GateHome, trial: SavedTrial, instance: dg.DagsterInstance
) -> None:
    first = trial.first
    second = materialize(shadow_pairs, instance, ShadowConfig(most_pairs=3).model_dump())

    assert (first["candidate"], first["incumbent"]) == ("v2", "v1")
    assert (first["pairs"], first["new_pairs"], first["new_plants"]) == (4, 4, 1)
    assert first["claims"] == ["topic", "voice"]
    assert second["trial"] == first["trial"]
    if first["verdict"] == "undecided":
        assert (second["pairs"], second["new_pairs"]) == (7, 3)

    rows = trial_home.tables.read("shadow_pairs", "ada")
    assert rows["pair_id"].n_unique() == rows["sequence"].n_unique() == rows.height
    real = rows.filter(pl.col("source") != PROBE)
    assert real["prompt_id"].n_unique() == real.height == second["pairs"]
    assert set(real["candidate"]) == {trial_home.registry.get("ada", 2).checkpoint}
    [probe] = rows.filter(pl.col("source") == PROBE).head(1).to_dicts()
    assert probe["plant"] in {"off_topic", "shuffled", "another_author", "unsupported"}
    for row in rows.iter_rows(named=True):
        for score in row["scores"]:
            assert 0.0 <= score["candidate"] <= 1.0
            assert 0.0 <= score["incumbent"] <= 1.0
    answers = trial_home.tables.read("instruction_dataset", "ada")["answer"].to_list()
    stored_text = json.dumps(rows.to_dicts())
    assert not [answer for answer in answers if answer[5:40] in stored_text]


def test_an_answer_model_at_an_address_is_compared_without_a_margin(
    trial_home: GateHome, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = read_author(trial_home.settings, "ada")
    write_author(trial_home.settings, replace(author, release_mode="gate"))
    base = load_base_model(trial_home.settings, str(trial_home.base))
    assert base.gguf is not None
    external_server = ServerProcess(trial_home.settings, base.gguf, alias="large")
    monkeypatch.setenv("TWIN_ANSWER_MODEL_KEY", external_server.key)
    try:
        url = external_server.wait_until_ready().url
        answer_model = register_version(
            trial_home.registry,
            "ada",
            "named",
            base=f"{url}#large",
            base_gguf="",
            template=DEFAULT_TEMPLATE.hash,
            kind="answer_model",
        )
        trial_home.registry.move(
            "ada", answer_model.version, "stable", actor="test", reason="named", force=True
        )
        metadata = materialize(shadow_pairs, instance, ShadowConfig(most_pairs=2).model_dump())
        assert (metadata["candidate"], metadata["incumbent"]) == ("v2", f"v{answer_model.version}")
        assert (metadata["pairs"], metadata["margin"]) == (2, 0.0)
        unchanged = materialize(shadow_pairs, instance, ShadowConfig(longest_s=0.0).model_dump())
        assert (unchanged["trial"], unchanged["new_pairs"]) == (metadata["trial"], 0), (
            "pairs were made after the time limit"
        )
    finally:
        external_server.stop()
    without_server = materialize(shadow_pairs, instance)
    why = without_server["nothing_to_do"]
    assert why.startswith("the answer model does not answer: ConnectError")

    write_author(trial_home.settings, replace(author, paid=False))
    remote_version = register_version(
        trial_home.registry,
        "ada",
        "far",
        base="https://models.example/v1#large",
        base_gguf="",
        template=DEFAULT_TEMPLATE.hash,
        kind="answer_model",
    )
    trial_home.registry.move(
        "ada", remote_version.version, "stable", actor="test", reason="named", force=True
    )
    metadata = materialize(shadow_pairs, instance)
    assert metadata["nothing_to_do"].startswith("the answer model belongs to another provider")


def test_the_reason_for_missing_pairs_is_reported(
    gate_home: GateHome, instance: dg.DagsterInstance
) -> None:
    gate_home.write_dataset("ada")

    metadata = materialize(shadow_pairs, instance)["nothing_to_do"]
    assert metadata == "the release mode is auto: 0 of 300 prompts for a trial are recorded"
    write_author(
        gate_home.settings,
        Author("ada", "Ada", release_mode="gate", consent="2026-01-01: the test's own author"),
    )
    metadata = materialize(shadow_pairs, instance)["nothing_to_do"]
    assert metadata.startswith("the release mode is gate")


def test_answers_are_judged_once_under_fixed_ids(
    trial_home: GateHome, instance: dg.DagsterInstance
) -> None:
    record_answers(trial_home, [datetime(2026, 5, 1, tzinfo=UTC)] * 3)

    first = materialize(judged_interactions, instance)
    second = materialize(judged_interactions, instance)

    judges = first["judges"]
    assert [name.split("@")[0] for name in judges][:1] == ["judge:topic"]
    assert (first["judged_now"], first["scores_queued"]) == (3, 3 * len(judges))
    assert second["judged_now"] == second["scores_queued"] == 0
    queued = _read_queue(outbox_path(trial_home.settings))
    assert set(queued) == {f"{name}:t{n}" for name in judges for n in range(3)}
    assert all(0.0 <= score["value"] <= 1.0 for score in queued.values())


def record_answers(gate_home: GateHome, times: list[datetime]) -> None:
    """Record earlier answers of v1."""
    row = dict.fromkeys(interaction_columns()) | {
        "author": "ada", "version": "v1", "prompt_class": "short",
        "question": "What about the clock and the spring?", "chunk_ids": ["chunk-1"],
        "answer": ANSWER, "degraded": "", "simulated": False,
    }  # fmt: skip
    rows = [row | {"trace_id": f"t{n}", "started_at": time} for n, time in enumerate(times)]
    store_rows(
        gate_home.tables, "interactions", "ada", rows, key="trace_id", schema=interaction_columns()
    )


def _read_queue(path: Path) -> dict[str, dict[str, Any]]:
    outbox = Outbox(path)
    scores: dict[str, dict[str, Any]] = {}
    while (item := outbox.get_next_item()) is not None:
        scores[item.id] = json.loads(item.body)
        outbox.mark_sent(item)
    outbox.close()
    return scores
