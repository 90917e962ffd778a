"""Test that homes written by earlier commits open without a rebuild.

`former_home.tar.xz` was written by commit ad6f105, before the packages were reorganized. Its author
file has a removed setting, which is reported first. It contains the beginnings of twelve posts in
`tests/graph/instructions/generated_posts.py` and one post that is too short, imported into
`/tmp/before-the-house`; the assets `raw_posts` to `instruction_dataset`; two versions in the
registry, one of them stable; three answers and votes of two days in the trace store and the ledger;
a run and a sensor recorded by the daemon. It contains no weights, secrets, logs or reports. In its
runs, the folder of the code is `/the/code`.

`second_former_home.tar.xz` was written by commit c9301f4b (26 November, before most names changed):
`twin up --no-train` imported thirteen such posts into `/tmp/before-the-names`, three answers got
votes, and two versions without weights were registered.
"""

from __future__ import annotations

import importlib
import json
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
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

FIXTURE = Path(__file__).parent / "former_home.tar.xz"
SECOND_FIXTURE = FIXTURE.with_name("second_former_home.tar.xz")
OLD_FOLDER = "/tmp/before-the-house"
POST_COUNT = 13  # one of them is too short


def unpack(home: Settings, fixture: Path, old_folder: str) -> None:
    """Extract a home, and replace the path at which it was written with this test's path."""
    with tarfile.open(fixture) as archive:
        archive.extractall(home.home.parent, filter="data")
    new_folder = str(home.home.parent)
    files = (home.home / "policy.json", home.home / "dagster" / "workspace.yaml")
    for path in (*home.authors_dir.glob("*.toml"), *files):
        text = path.read_text(encoding="utf-8").replace(old_folder, new_folder)
        path.write_text(text, encoding="utf-8")
    for path in [home.home / "state.sqlite", *(home.home / "dagster").rglob("*.db")]:
        replace_in_database(path, old_folder, new_folder)


@pytest.fixture
def former_home(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    unpack(home, FIXTURE, OLD_FOLDER)
    # A person removes the setting that the first command reports.
    author = home.authors_dir / "ada.toml"
    with pytest.raises(TwinError, match="persona, which this release does not have"):
        read_author(home, "ada")
    lines = [line for line in author.read_text().splitlines() if not line.startswith("persona")]
    author.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home.home / "dagster"))
    return load_settings()


def replace_in_database(path: Path, old_folder: str, new_folder: str) -> None:
    """Replace the old path with the new one in every text of a SQLite database."""
    with closing(sqlite3.connect(path)) as database, database:
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in database.execute(names).fetchall():
            for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (old_folder, new_folder, old_folder),
                )


@pytest.fixture
def state(former_home: Settings) -> Iterator[State]:
    state = open_home_state(former_home)
    yield state
    state.close()


@pytest.fixture
def tables(former_home: Settings, state: State) -> Tables:
    return Tables(former_home.tables_base, state=state)


@pytest.fixture
def instance(former_home: Settings) -> Iterator[dg.DagsterInstance]:
    """Yield the home's Dagster instance with the current settings, as when the stack starts."""
    code = code_socket(former_home)
    workspace = write_dagster_home(former_home, DAGSTER_YAML, code_socket=code)
    (location,) = json.loads(workspace.read_text(encoding="utf-8"))["load_from"]
    assert location["grpc_server"]["location_name"] == CODE_LOCATION
    with dg.DagsterInstance.from_config(str(former_home.home / "dagster")) as instance:
        yield instance


def test_author_and_tables_can_be_read(former_home: Settings, tables: Tables) -> None:
    author = read_author(former_home, "ada")
    assert (author.name, author.aliases, author.temperature) == ("Ada Wright", ("A. W.",), 0.2)
    assert [Path(source).is_dir() for source in author.sources] == [True]
    assert tables.read("raw_posts", "ada").height == POST_COUNT
    documents = tables.read("cleaned_documents", "ada")
    assert documents.height == POST_COUNT
    assert documents.filter("kept").height == POST_COUNT - 1
    assert set(column_types(CleanedDocuments)) <= set(documents.columns)
    rows = tables.read("instruction_dataset", "ada")
    assert set(column_types(InstructionDataset)) <= set(rows.columns)
    chunks = set(tables.read("embeddings", "ada")["chunk_id"])
    assert rows.height > 0
    assert set(rows["context_chunk_ids"].explode().drop_nulls()) <= chunks


def test_registry_and_ledger_can_be_read(former_home: Settings, state: State) -> None:
    registry = Registry(state, policy_path=former_home.policy_path)
    assert [(version.version, version.state) for version in registry.versions("ada")] == [
        (1, "stable"),
        (2, "candidate"),
    ]
    stable = registry.stable_version("ada")
    assert stable is not None
    assert Path(stable.folder).is_relative_to(former_home.home)
    verdict = registry.verdict(stable.checkpoint, registry.gate_version())
    assert verdict is not None
    assert verdict.outcome == "passed"
    before = json.loads(former_home.policy_path.read_text(encoding="utf-8"))
    registry.publish()
    after = json.loads(former_home.policy_path.read_text(encoding="utf-8"))
    assert after | {"written_at": ""} == before | {"written_at": ""}

    rows = settled_rows(Ledger.from_settings(former_home), "ada")
    assert [(row.sequence, row.stream, row.value) for row in rows] == [
        (1, "thumbs", 1.0),
        (2, "thumbs", 0.0),
        (3, "thumbs", 1.0),
    ]
    store = TraceTables(former_home.home / "traces.sqlite")
    assert len(store.observations(parse_observation_query({}))[0]) == 3
    assert len(store.scores(parse_score_query({}))[0]) == 3


def test_dagster_knows_former_runs_and_assets(tables: Tables, instance: dg.DagsterInstance) -> None:
    """The module that a run names still exists; all other objects are found by code location."""
    runs = {run.job_name: run for run in instance.get_runs()}
    assert set(runs) == {"__ASSET_JOB", "import_posts"}
    origin = runs["__ASSET_JOB"].job_code_origin
    assert isinstance(origin, JobPythonOrigin)
    module = origin.repository_origin.code_pointer.module  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(importlib.import_module(module).defs, dg.Definitions)
    job_origin = runs["import_posts"].remote_job_origin
    assert isinstance(job_origin, RemoteJobOrigin)
    repository = defs.get_repository_def()
    assert job_origin.location_name == CODE_LOCATION
    assert job_origin.repository_origin.repository_name == repository.name
    assert repository.has_job("import_posts")

    keys = repository.asset_graph.get_all_asset_keys()
    former_keys = set(instance.all_asset_keys())
    assert dg.AssetKey("instruction_dataset") in former_keys
    removed = ("sentence_embeddings", "document_chunks", "passage_embeddings", "quote_calibration")
    assert former_keys - keys <= {dg.AssetKey(name) for name in removed}, "nothing else was removed"
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


@pytest.mark.long
def test_the_next_cleaning_changes_no_document_and_a_second_one_nothing(
    former_home: Settings, tables: Tables, instance: dg.DagsterInstance
) -> None:
    """With newer cleaning rules, each post is cleaned again, but the texts stay the same."""
    before = tables.read("cleaned_documents", "ada")
    post_count = tables.read("raw_posts", "ada").height
    first = clean_posts(instance)
    assert first["deleted"] == 0
    assert first["computed"] == post_count
    after = tables.read("cleaned_documents", "ada")
    assert_frame_equal(after, before, check_row_order=False)

    version = tables.lance_version("cleaned_documents", "ada")
    assert clean_posts(instance) == {"computed": 0, "written": 0, "deleted": 0}
    assert tables.lance_version("cleaned_documents", "ada") == version


def clean_posts(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Clean ada's posts; return the number of computed, written and deleted rows."""
    job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey("cleaned_documents")])
    assert job is not None
    result = job.execute_in_process(
        instance=instance, partition_key="ada", asset_selection=[dg.AssetKey("cleaned_documents")]
    )
    assert result.success
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("cleaned_documents")
    ]
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    return {name: metadata[name] for name in ("computed", "written", "deleted")}


def test_a_home_from_before_the_names_changed_opens(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(home, SECOND_FIXTURE, "/tmp/before-the-names")
    monkeypatch.setenv("DAGSTER_HOME", str(home.home / "dagster"))
    slug = "ada-wright"
    assert read_author(home, slug).name == "Ada Wright"
    policy = read_policy(home.policy_path).authors[slug]
    workspace = write_dagster_home(home, DAGSTER_YAML, code_socket=code_socket(home))
    with (
        closing(open_home_state(home)) as state,
        dg.DagsterInstance.from_config(str(workspace.parent)) as instance,
    ):
        tables = Tables(home.tables_base, state=state)
        assert tables.read("cleaned_documents", slug).filter("kept").height == POST_COUNT - 1
        for key in ("raw_posts", "cleaned_documents", "embeddings"):
            event = instance.get_latest_materialization_event(dg.AssetKey(key))
            assert event is not None
            assert event.asset_materialization is not None
            tags = event.asset_materialization.tags or {}
            assert tags["dagster/data_version"] == tables.data_version(key, slug)

        registry = Registry(state, policy_path=home.policy_path)
        versions = [(version.version, version.state) for version in registry.versions(slug)]
        assert versions == [(1, "stable"), (2, "candidate")]
        registry.publish()
        published = read_policy(home.policy_path).authors[slug]
        assert published.stable is not None
        assert policy.stable is not None
        assert published.stable.checkpoint == policy.stable.checkpoint

        ledger = Ledger.from_settings(home)
        assert [row.stream for row in settled_rows(ledger, slug)] == ["thumbs"]
        votes = ledger.interactions(slug).get_column("vote").drop_nulls()
        assert sorted(votes) == [0.0, 1.0, 1.0]
