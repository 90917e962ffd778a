"""A home of the commit before the packages moved into wings (ad6f105) opens, and nothing in it is
rebuilt. Its author file has a setting that is gone, and says so first.

`former_home.tar.xz` was made by that commit's code: the beginnings of twelve posts of
`tests/graph/instructions/made_up_posts.py` and one that is too short, imported into
`/tmp/before-the-house`; `dagster asset materialize` of `raw_posts` to `instruction_dataset`; two
versions in the registry, one of them stable; three answers and votes of two days in trace store
and ledger; a run and a sensor as the daemon leaves them. Not in it: weights, secrets, logs and
reports. The folder of its code reads `/the/code` where a run names it.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.selector import InstigatorSelector
from dagster._core.origin import JobPythonOrigin
from dagster._core.remote_origin import RemoteJobOrigin
from polars.testing import assert_frame_equal

from tests.settled_rows import settled_rows
from twin_assets.corpus.corpus_tables import CleanedDocuments, column_types
from twin_assets.definitions import defs
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_resources.authors import read_author
from twin_resources.dagster_runs import CODE_LOCATION
from twin_resources.errors import TwinError
from twin_resources.observability.trace_store.queries import (
    parse_observation_query,
    parse_score_query,
)
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.processes.dagster_home import write_dagster_home
from twin_resources.processes.programs import DAGSTER_YAML, code_socket
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

FIXTURE = Path(__file__).parent / "former_home.tar.xz"
LAY_AT = "/tmp/before-the-house"
POSTS = 13  # one of them too short


@pytest.fixture
def former(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with tarfile.open(FIXTURE) as packed:
        packed.extractall(home.home.parent, filter="data")
    here = str(home.home.parent)
    for name in ("authors/ada.toml", "policy.json", "dagster/workspace.yaml"):
        path = home.home / name
        path.write_text(path.read_text(encoding="utf-8").replace(LAY_AT, here), encoding="utf-8")
    # what a person does whom the next command tells that a setting is gone
    author = home.authors_dir / "ada.toml"
    with pytest.raises(TwinError, match="persona, which this release does not have"):
        read_author(home, "ada")
    kept = [line for line in author.read_text().splitlines() if not line.startswith("persona")]
    author.write_text("\n".join(kept), encoding="utf-8")
    for path in [home.home / "state.sqlite", *(home.home / "dagster").rglob("*.db")]:
        move_in_database(path, here)
    monkeypatch.setenv("DAGSTER_HOME", str(home.home / "dagster"))
    return load_settings()


def move_in_database(path: Path, here: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in database.execute(names).fetchall():
            for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (LAY_AT, here, LAY_AT),
                )


@pytest.fixture
def state(former: Settings) -> Iterator[State]:
    opened = State.open(former.state_address)
    yield opened
    opened.close()


@pytest.fixture
def tables(former: Settings, state: State) -> Tables:
    return Tables(former.tables_base, state=state)


@pytest.fixture
def instance(former: Settings) -> Iterator[dg.DagsterInstance]:
    """As a start of the stack leaves it: today's settings over what the home holds."""
    code = code_socket(former)
    workspace = write_dagster_home(former, DAGSTER_YAML, code_socket=code, environ=os.environ)
    (location,) = json.loads(workspace.read_text(encoding="utf-8"))["load_from"]
    assert location["grpc_server"]["location_name"] == CODE_LOCATION
    with dg.DagsterInstance.from_config(str(former.home / "dagster")) as opened:
        yield opened


def test_author_and_tables_are_read(former: Settings, tables: Tables) -> None:
    author = read_author(former, "ada")
    assert (author.name, author.aliases, author.temperature) == ("Ada Wright", ("A. W.",), 0.2)
    assert [Path(source).is_dir() for source in author.sources] == [True]
    assert tables.read("raw_posts", "ada").height == POSTS
    documents = tables.read("cleaned_documents", "ada")
    assert documents.height == POSTS
    assert documents.filter("kept").height == POSTS - 1
    assert set(column_types(CleanedDocuments)) <= set(documents.columns)
    rows = tables.read("instruction_dataset", "ada")
    assert set(column_types(InstructionDataset)) <= set(rows.columns)
    chunks = set(tables.read("document_chunks", "ada")["chunk_id"])
    assert chunks == set(tables.read("embeddings", "ada")["chunk_id"])
    assert rows.height > 0
    assert set(rows["context_chunk_ids"].explode().drop_nulls()) <= chunks


def test_registry_and_ledger_are_read(former: Settings, state: State) -> None:
    registry = Registry(state, policy_path=former.policy_path)
    assert [(version.version, version.state) for version in registry.versions("ada")] == [
        (1, "stable"),
        (2, "candidate"),
    ]
    stable = registry.stable_version("ada")
    assert stable is not None
    assert Path(stable.folder).is_relative_to(former.home)
    verdict = registry.verdict(stable.checkpoint, registry.gate_version())
    assert verdict is not None
    assert verdict.outcome == "passed"
    before = json.loads(former.policy_path.read_text(encoding="utf-8"))
    registry.publish()
    after = json.loads(former.policy_path.read_text(encoding="utf-8"))
    assert after | {"written_at": ""} == before | {"written_at": ""}

    settled = settled_rows(Ledger.from_settings(former), "ada")
    assert [(one.sequence, one.stream, one.value) for one in settled] == [
        (1, "thumbs", 1.0),
        (2, "thumbs", 0.0),
        (3, "thumbs", 1.0),
    ]
    store = TraceTables(former.home / "traces.sqlite")
    assert len(store.observations(parse_observation_query({}))[0]) == 3
    assert len(store.scores(parse_score_query({}))[0]) == 3


def test_dagster_shows_what_ran(tables: Tables, instance: dg.DagsterInstance) -> None:
    """The one module that a run names is there under its name; all else is known by location."""
    ended = {run.job_name: run for run in instance.get_runs()}
    assert set(ended) == {"__ASSET_JOB", "import_posts"}
    origin = ended["__ASSET_JOB"].job_code_origin
    assert isinstance(origin, JobPythonOrigin)
    module = origin.repository_origin.code_pointer.module  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(importlib.import_module(module).defs, dg.Definitions)
    launched = ended["import_posts"].remote_job_origin
    assert isinstance(launched, RemoteJobOrigin)
    repository = defs.get_repository_def()
    assert launched.location_name == CODE_LOCATION
    assert launched.repository_origin.repository_name == repository.name
    assert repository.has_job("import_posts")

    known = repository.asset_graph.get_all_asset_keys()
    stored = set(instance.all_asset_keys())
    assert dg.AssetKey("instruction_dataset") in stored
    assert stored - known <= {dg.AssetKey("sentence_embeddings")}, "in the changelog: removed"
    for key in ("raw_posts", "cleaned_documents", "instruction_dataset"):
        event = instance.get_latest_materialization_event(dg.AssetKey(key))
        assert event is not None
        assert event.asset_materialization is not None
        tags = event.asset_materialization.tags or {}
        assert tags["dagster/data_version"] == tables.data_version(key, "ada")
    assert instance.get_dynamic_partitions("authors") == ["ada"]
    selector = InstigatorSelector(
        location_name=CODE_LOCATION, repository_name=repository.name, name="quality_dropped"
    )
    assert repository.has_sensor_def(selector.name)
    (sensor,) = instance.all_instigator_state()
    assert sensor.selector_id == selector.get_id()


def test_the_next_cleaning_changes_no_document_and_the_one_after_it_nothing(
    former: Settings, tables: Tables, instance: dg.DagsterInstance
) -> None:
    """Rules of cleaning newer than the home clean each post once more; the texts stay."""
    before = tables.read("cleaned_documents", "ada")
    posts = tables.read("raw_posts", "ada").height
    once = cleaning_of_ada(instance)
    assert once["deleted"] == 0
    assert once["computed"] == posts
    after = tables.read("cleaned_documents", "ada")
    assert_frame_equal(after, before, check_row_order=False)

    version = tables.lance_version("cleaned_documents", "ada")
    assert cleaning_of_ada(instance) == {"computed": 0, "written": 0, "deleted": 0}
    assert tables.lance_version("cleaned_documents", "ada") == version


def cleaning_of_ada(instance: dg.DagsterInstance) -> dict[str, Any]:
    """How many rows a cleaning of ada's posts computed, wrote and deleted."""
    job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey("cleaned_documents")])
    assert job is not None
    done = job.execute_in_process(
        instance=instance,
        partition_key="ada",
        asset_selection=[dg.AssetKey("cleaned_documents")],
    )
    assert done.success
    (event,) = [
        asset_materialization_event
        for asset_materialization_event in done.get_asset_materialization_events()
        if asset_materialization_event.asset_key == dg.AssetKey("cleaned_documents")
    ]
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    return {name: metadata[name] for name in ("computed", "written", "deleted")}
