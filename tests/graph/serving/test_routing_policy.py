"""Test the asset `routing_policy`."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.materialization import create_instance, materialize_assets, metadata_of
from tests.model_versions import register_version
from tests.unit.gateway.routing.labeled_questions import sample_questions
from twin_assets.serving.routing_policy import routing_policy
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.quality.judges import label_rows
from twin_resources.quality.judges.label_rows import LabelPurchase
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.router.policy_file import policy_path, read_routing_policy
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

PAID = "gpt-4o-mini"


@pytest.fixture
def instance(home: Settings) -> dg.DagsterInstance:
    write_author(home, Author("ada", "Ada"))
    write_author(home, Author("bob", "Bob"))
    return create_instance("ada", "bob")


def materialize(instance: dg.DagsterInstance, author: str) -> dict[str, Any]:
    """Materialize for one author; return the metadata as plain values and the data version."""
    result = materialize_assets([routing_policy], author, instance)
    return metadata_of(result, "routing_policy")


def test_before_a_release_the_base_answers(home: Settings, instance: dg.DagsterInstance) -> None:
    metadata = materialize(instance, "ada")
    assert (metadata["answers"], metadata["weights"]) == ("base", {"base": 1.0})
    policy = read_policy(home.policy_path)
    assert policy.authors["ada"].routing == {
        "schema": 1, "default": "self_hosted", "paid": None,
    }  # fmt: skip
    assert "bob" not in policy.authors


def test_a_released_version_answers(home: Settings, instance: dg.DagsterInstance) -> None:
    registry = Registry(open_home_state(home), policy_path=home.policy_path)
    version = register_version(registry, "ada", "c1", folder="/c1")
    before = materialize(instance, "ada")
    registry.move("ada", version.version, "refused", actor="test", reason="to force it")
    registry.move("ada", version.version, "stable", actor="test", reason="by hand", force=True)
    after = materialize(instance, "ada")
    assert (after["answers"], after["weights"]) == ("ada/v1", {"stable": 1.0})
    assert after["data_version"] != before["data_version"]


@pytest.fixture
def stable_checkpoint(
    home: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Configure a paid model, make a version of Ada stable, and return its checkpoint."""
    monkeypatch.setenv("TWIN_PAID_MODEL", PAID)
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "1")
    registry = Registry(open_home_state(home), policy_path=home.policy_path)
    register_version(registry, "ada", "c1")
    registry.move("ada", 1, "refused", actor="test", reason="to force it")
    registry.move("ada", 1, "stable", actor="test", reason="by hand", force=True)
    return "c1"


def store_labels(home: Settings, own: str, *, count: int, failed_probe_count: int = 0) -> None:
    """Store `count` labels of generated questions, and probes that the judges fail."""
    questions, purchase = (
        sample_questions(count, seed=0),
        LabelPurchase(own, PAID, "made", ("topic@1", "voice@1"), ""),
    )
    rows: list[dict[str, Any]] = []
    row: dict[str, Any] = {}
    for number in range(count):
        scores = [
            {"claim": claim, "own": 0.2, "paid": min(1.0, 0.2 + float(questions.gains[number, 0]))}
            for claim in ("topic", "voice")
        ]
        row = {
            "reader": f"r{number}", "prompt_class": "fact", "length": questions.lengths[number],
            "closeness": questions.closeness[number], "vector": questions.vectors[number].tolist(),
            "scores": scores, "prompt_tokens": 400, "answer_tokens": 100, "usd": 0.001,
        }  # fmt: skip
        rows.append(purchase.build_row(number + 1, "recorded", f"{number:032x}") | row)
    for number in range(failed_probe_count):
        probe = purchase.build_row(count + number + 1, "plant", f"s{number}", "off_topic")
        scores = [{"claim": name, "own": 0.9, "paid": 0.1} for name in ("topic", "voice")]
        rows.append(probe | {**row, "reader": "", "scores": scores})
    frame = pl.DataFrame(rows, schema=dict(label_rows.COLUMNS))
    Tables(home.tables_base, state=open_home_state(home)).sync(
        frame.select(list(label_rows.IDENTITY_COLUMNS)),
        label_rows.TABLE,
        author="ada",
        key="label_id",
        function=lambda rows: frame.filter(pl.col("label_id").is_in(rows["label_id"].to_list())),
        version="1",
        schema=label_rows.COLUMNS,
        row_key="label_id",
    )


def test_without_a_paid_model_there_is_no_routing_metadata(instance: dg.DagsterInstance) -> None:
    assert not {"routed", "why", "labels_missing"} & set(materialize(instance, "ada"))


def test_enough_labels_give_a_policy_for_the_gateway(
    home: Settings, instance: dg.DagsterInstance, stable_checkpoint: str
) -> None:
    metadata = materialize(instance, "ada")
    assert (metadata["routed"], metadata["labels"]) == (False, 0)
    assert "no labels" in metadata["why"]
    store_labels(home, stable_checkpoint, count=60)
    metadata = materialize(instance, "ada")
    assert (metadata["routed"], metadata["labels"]) == (False, 60)
    assert metadata["labels_missing"] > 50
    assert not policy_path(home.home, "ada").exists()
    store_labels(home, stable_checkpoint, count=350)
    before = metadata["data_version"]
    metadata = materialize(instance, "ada")
    assert metadata["routed"] is True, metadata["why"]
    assert metadata["data_version"] != before
    policy = read_routing_policy(policy_path(home.home, "ada"))
    assert [model.model for model in policy.models] == ["c1", PAID]
    assert policy.models[1].usd == pytest.approx(0.001)
    assert policy.step.certified
    assert materialize(instance, "ada")["data_version"] == metadata["data_version"]


def test_a_missing_consent_or_a_failing_judge_prevents_routing(
    home: Settings, instance: dg.DagsterInstance, stable_checkpoint: str
) -> None:
    store_labels(home, stable_checkpoint, count=350)
    assert materialize(instance, "ada")["routed"] is True
    write_author(home, Author("ada", "Ada", paid=False))
    metadata = materialize(instance, "ada")
    assert (metadata["routed"], policy_path(home.home, "ada").exists()) == (False, False)
    assert "paid = false" in metadata["why"]
    write_author(home, Author("ada", "Ada"))
    store_labels(home, stable_checkpoint, count=350, failed_probe_count=20)
    metadata = materialize(instance, "ada")
    assert metadata["routed"] is False
    assert "no longer detects negative probes" in metadata["why"]


def test_a_damaged_policy_is_replaced(
    home: Settings, instance: dg.DagsterInstance, stable_checkpoint: str
) -> None:
    store_labels(home, stable_checkpoint, count=350)
    materialize(instance, "ada")
    path = policy_path(home.home, "ada")
    path.write_bytes(path.read_bytes()[:5000])
    metadata = materialize(instance, "ada")
    assert metadata["routed"] is True
    assert "unreadable" in metadata["why"]
    assert read_routing_policy(path).step.certified


def test_a_paid_model_without_a_price_is_an_error(
    instance: dg.DagsterInstance, stable_checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_PAID_MODEL", "seller/unpriced")
    with pytest.raises(TwinError, match="price of seller/unpriced"):
        materialize(instance, "ada")
