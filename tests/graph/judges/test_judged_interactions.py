"""Test that `judged_interactions` reports why it judges nothing, without loading a judge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from tests.materialization import create_instance, materialize_assets, metadata_of
from tests.model_versions import register_version
from tests.stored_rows import store_rows
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.feedback import judging_traces
from twin_assets.feedback.judged_interactions import COLUMNS, JudgingConfig, judged_interactions
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.quality.ledger.interactions_frame import interaction_columns
from twin_resources.registry.moves import Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


@pytest.fixture
def answered_tables(home: Settings, tables: Tables) -> Tables:
    """Return Ann's tables with one answer. Without an embedder, no judge can be certified."""
    write_author(home, Author("ann", "Ann"))
    write_answers(tables, "t1")
    return tables


def write_answers(tables: Tables, *trace_ids: str) -> None:
    row = dict.fromkeys(interaction_columns()) | {
        "author": "ann",
        "version": "v1",
        "started_at": datetime(2026, 5, 1, tzinfo=UTC),
        "question": "What about the spring?",
        "answer": "It drives the wheel.",
        "chunk_ids": ["c1"],
        "degraded": "",
        "simulated": False,
    }
    rows = [row | {"trace_id": trace_id} for trace_id in trace_ids]
    store(tables, "interactions", rows, interaction_columns())


def store(tables: Tables, name: str, rows: list[dict[str, Any]], schema: Any) -> None:
    store_rows(tables, name, "ann", rows, key="trace_id", schema=schema)


def release_version(home: Settings) -> None:
    registry = Registry(open_home_state(home), policy_path=home.policy_path)
    version = register_version(registry, "ann", "c1", folder="/c", dataset_version="d" * 64).version
    verdict = Verdict("ann", "c1", GATE_VERSION, "passed", (), "2026-05-01T00:00:00+00:00")
    registry.record_verdict(verdict)
    registry.move(
        "ann", version, "stable", actor="test", reason="passed", gate_version=GATE_VERSION
    )


def materialize(home: Settings, **options: Any) -> dg.ExecuteInProcessResult:
    with create_instance("ann") as instance:
        return materialize_assets([judged_interactions], "ann", instance, **options)


def judged_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    return metadata_of(result, "judged_interactions")


def test_without_a_stable_version_nothing_is_judged(
    home: Settings, answered_tables: Tables
) -> None:
    metadata = judged_metadata(materialize(home))
    assert metadata["nothing_to_do"].startswith("no stable version")
    assert (metadata["judged_now"], metadata["scores_queued"]) == (0, 0)
    assert not answered_tables.exists("judged_interactions", "ann")


def test_before_the_first_collection_of_answers_nothing_is_judged(home: Settings) -> None:
    """The hourly schedules may start `judge_answers` first after a twin's first answer."""
    write_author(home, Author("ann", "Ann"))
    release_version(home)
    assert judged_metadata(materialize(home))["nothing_to_do"] == "no new answer in the sample"


def test_without_a_new_answer_nothing_is_judged(home: Settings, answered_tables: Tables) -> None:
    release_version(home)
    judged_rows = [{"trace_id": "t1", "version": "v1", "judges": "judge:topic@1"}]
    store(answered_tables, "judged_interactions", judged_rows, COLUMNS)
    version_before = answered_tables.lance_version("judged_interactions", "ann")
    assert judged_metadata(materialize(home))["nothing_to_do"] == "no new answer in the sample"
    assert answered_tables.lance_version("judged_interactions", "ann") == version_before


def test_judged_answers_count_towards_the_limit_after_their_deletion(
    home: Settings, answered_tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first 500 answers of an old version were judged and have since been deleted."""
    release_version(home)
    row = {"version": "v1", "judges": "judge:topic@1"}
    old_rows = [row | {"trace_id": f"deleted{n}"} for n in range(500)]
    store(answered_tables, "judged_interactions", [*old_rows, row | {"trace_id": "t1"}], COLUMNS)
    # Above the share of judged answers.
    monkeypatch.setattr(judging_traces, "_compute_sample_position", lambda _trace_id: 0.5)
    write_answers(answered_tables, "t1", "t2")
    assert judged_metadata(materialize(home))["nothing_to_do"] == "no new answer in the sample"


def test_a_new_answer_of_a_stable_version_requires_judges(
    home: Settings, answered_tables: Tables
) -> None:
    """Without this, the tests above would pass if nothing were ever judged."""
    release_version(home)
    judged_rows = [{"trace_id": "t1", "version": "v1", "judges": "judge:topic@1"}]
    store(answered_tables, "judged_interactions", judged_rows, COLUMNS)
    write_answers(answered_tables, "t1", "t2")
    # Judges first load the embedder, which this home does not have.
    with pytest.raises(TwinError, match="load the embedder"):
        materialize(home, raise_on_error=True)


def test_judging_uses_the_training_pool_and_the_margin_in_the_settings() -> None:
    assert judged_interactions.op.pool == "training"
    assert JudgingConfig().margin is None
