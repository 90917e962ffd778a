"""A general instruction set beside the author's samples: trained on, taken for nobody's voice."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.graph.instructions.conftest import Finished, Graph
from twin_assets.instructions import basic_instructions
from twin_assets.instructions.instruction_tables import AUTHOR_ROWS_CONDITION
from twin_assets.training.fine_tuning import read_training_samples
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.settings import PACES
from twin_resources.storage.tables.tables import Tables

SHARE = 0.2


@pytest.fixture
def general_set(tmp_path: Path, twelve: Finished, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eighty chats, and one that the gate asks; named by the environment."""
    rows = [
        {
            "prompt": f"How many corners do {number} triangles have together?",
            "completion": f"They have {3 * number} of them.",
        }
        for number in range(80)
    ]
    rows.append(
        {
            "prompt": basic_instructions.load_instructions()[0].instruction,
            "completion": "Learnt by heart.",
        }
    )
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.setenv("TWIN_GENERAL_SET", str(path))
    monkeypatch.setitem(PACES, "", {"general_share": SHARE})
    return path


def test_its_share_is_trained_on_and_nothing_else_changes(
    graph: Graph, tables: Tables, general_set: Path
) -> None:
    before = tables.read("instruction_dataset", "ada")
    metadata, checks = graph.materialize()
    assert all(checks.values()), checks
    assert checks["general_share_is_as_set"]

    rows = tables.read("instruction_dataset", "ada")
    own = tables.read("instruction_dataset", "ada", where=AUTHOR_ROWS_CONDITION)
    assert own.equals(before)
    general = rows.filter(pl.col("split") == "general")
    train = rows.filter(pl.col("split") == "train")
    assert rows.height == own.height + general.height
    share = general.height / (train.height + general.height)
    assert share == pytest.approx(SHARE, abs=0.01)
    recorded = metadata["general"]
    assert recorded["samples"] == general.height
    assert recorded["share"] == pytest.approx(share, abs=1e-4)
    assert recorded["asked_share"] == SHARE
    assert recorded["source"].startswith("set.jsonl@")
    assert recorded["left_to_the_gate"] == 1
    assert "Learnt by heart." not in set(general["answer"])
    assert set(general["instruction_source"]) == {f"general:{recorded['source']}"}

    version = tables.lance_version("instruction_dataset", "ada")
    assert version is not None
    samples = read_training_samples("ada", tables, version=version, spoil="", seed=1)
    assert set(samples["sample_id"]) == {*train["sample_id"], *general["sample_id"]}
    assert set(samples["template"]) == {DEFAULT_TEMPLATE.hash}

    again, _ = graph.materialize()
    assert again["data_version"] == metadata["data_version"]
    assert (again["computed"], again["written"], again["deleted"]) == (0, 0, 0)


def test_a_set_that_is_too_small_warns_and_one_that_nobody_named_is_refused(
    graph: Graph, tables: Tables, general_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    general_set.write_text("\n".join(general_set.read_text().splitlines()[:3]))
    _, checks = graph.materialize()
    assert [name for name, passed in checks.items() if not passed] == ["general_share_is_as_set"]
    rows = tables.read("instruction_dataset", "ada")
    assert rows.filter(pl.col("split") == "general").height == 3
    monkeypatch.delenv("TWIN_GENERAL_SET")
    assert not graph.checks_of(tables, rows)["general_share_is_as_set"]


def test_a_set_that_asks_what_the_author_is_asked_breaks_no_check(
    graph: Graph, tables: Tables, general_set: Path
) -> None:
    own = tables.read("instruction_dataset", "ada")
    asked = [own.filter(pl.col("split") == split)["question"][0] for split in ("train", "held_out")]
    rows = [{"prompt": question, "completion": "Nobody in particular."} for question in asked]
    general_set.write_text("\n".join(json.dumps(row) for row in rows))
    metadata, checks = graph.materialize()
    assert checks["no_leakage_across_splits"]
    assert metadata["general"]["left_to_the_gate"] == 2
    assert tables.read("instruction_dataset", "ada").equals(own)
