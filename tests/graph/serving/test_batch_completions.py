"""Test the asset `batch_completions`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.live.gateway.test_gateway_batch import provider
from tests.materialized import instance_of, materialize_assets
from twin_assets.serving.batch_completions import batch_completions
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.settings import Settings


def materialize(home: Settings, **config: object) -> dg.ExecuteInProcessResult:
    write_author(home, Author("ada", "Ada"))
    instance = instance_of("ada")
    return materialize_assets(
        [batch_completions],
        "ada",
        instance,
        run_config={"ops": {"batch_completions": {"config": config}}},
    )


def written(folder: Path) -> Path:
    path = folder / "questions.jsonl"
    path.write_text('{"id": "q", "question": "oil?"}\nno question\n')
    return path


def test_without_a_file_nothing_is_materialized(home: Settings) -> None:
    result = materialize(home)
    assert result.success
    assert result.asset_materializations_for_node("batch_completions") == []


def test_a_missing_stack_is_an_error(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="twin up"):
        materialize(home, questions=str(written(tmp_path)))


def test_a_file_is_answered_with_routes_and_costs(home: Settings, tmp_path: Path) -> None:
    path = written(tmp_path)
    with provider() as (url, _sent):
        write_endpoints(
            Endpoints(
                home=str(home.home), dagster="", gateway=url, gateway_key="k", models=(),
                traces="", traces_public_key="", traces_secret_key="", logs="", pids={},
            )
        )  # fmt: skip
        result = materialize(home, questions=str(path))
    [event] = result.asset_materializations_for_node("batch_completions")
    told: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    out = tmp_path / "questions.answers.parquet"
    assert told["answers"] == str(out)
    assert (told["dagster/row_count"], told["answered"], told["refused"]) == (1, 1, 0)
    assert (told["routes"], told["cost, US dollars"]) == ({"paid": 1}, 0.5)
    assert told["broken rows"].startswith("- line 2: invalid JSON")
    assert pl.read_parquet(out).select("id", "answer", "model").rows() == [
        ("q", "OIL?", "twin/ada")
    ]
    assert json.loads(json.dumps(told, default=str))
