"""Run the instruction stage in Dagster, and provide a home in which it has run once.

Scope: running the assets, and the tests' initial home. Out of scope: posts (`generated_posts.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.graph.instructions.generated_posts import build_documents, store_documents
from tests.materialization import create_instance, materialize_assets
from tests.prepared_embedder import link_weights
from tests.stored_rows import store_rows
from twin_assets.instructions import instruction_dataset
from twin_assets.knowledge import chunks, embeddings
from twin_assets.partitions import authors
from twin_resources.authors import Author, write_author
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

ADA = Author(slug="ada", name="Ada Wright")
TWELVE_POSTS = range(12)


class Graph:
    """Chunks, embeddings and dataset of one author in a real Dagster instance."""

    def __init__(self) -> None:
        modules = [chunks, embeddings, instruction_dataset]
        self.definitions = [
            *dg.load_assets_from_modules(modules),
            *dg.load_asset_checks_from_modules(modules),
        ]
        self.instance = create_instance("ada")

    def execute(self, selection: dg.AssetSelection) -> dg.ExecuteInProcessResult:
        return materialize_assets(
            self.definitions, "ada", self.instance, selection=selection, raise_on_error=False
        )

    def materialize(self) -> tuple[dict[str, Any], dict[str, bool]]:
        """Run three assets; return the dataset's metadata, with `evaluations`, and its checks."""
        names = ("document_chunks", "embeddings", "instruction_dataset")
        result = self.execute(dg.AssetSelection.assets(*names))
        assert result.success
        event = result.get_asset_materialization_events()[-1]
        assert event.asset_key == dg.AssetKey("instruction_dataset")
        metadata = {key: value.value for key, value in event.materialization.metadata.items()}
        metadata["data_version"] = (event.materialization.tags or {})["dagster/data_version"]
        metadata["evaluations"] = result.get_asset_check_evaluations()
        return metadata, read_checks(result)

    def check_rows(self, tables: Tables, rows: pl.DataFrame) -> dict[str, bool]:
        """Run the dataset's checks on these rows instead of the asset's own."""

        @dg.asset(name="instruction_dataset", partitions_def=authors)
        def replacement() -> None:
            store_rows(tables, "instruction_dataset", "ada", rows, key="sample_id")

        result = materialize_assets(
            [replacement, *dg.load_asset_checks_from_modules([instruction_dataset])],
            "ada",
            self.instance,
            raise_on_error=False,
        )
        return read_checks(result)


def read_checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


@dataclass(frozen=True)
class FinishedRun:
    """A home with the dataset of twelve posts, and the metadata of its run.

    The home stays at its path, because the state store refers to tables by path. A test's changes
    are undone by restoring the copy.
    """

    home: Path
    saved_copy: Path
    metadata: dict[str, Any]

    def restore(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self.saved_copy, self.home, symlinks=True)


def open_tables(settings: Settings) -> Tables:
    return Tables(settings.tables_base, state=open_home_state(settings))


@pytest.fixture(scope="session")
def finished_run(embedder_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    folder = tmp_path_factory.mktemp("twelve-posts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIN_HOME", str(folder / "home"))
        settings = load_settings()
        link_weights(embedder_weights, settings)
        write_author(settings, ADA)
        tables = open_tables(settings)
        store_documents(tables, build_documents(TWELVE_POSTS))
        metadata, checks = Graph().materialize()
        tables.state.close()
    assert all(checks.values())
    shutil.copytree(folder / "home", folder / "saved", symlinks=True)
    return FinishedRun(folder / "home", folder / "saved", metadata)


@pytest.fixture
def twelve_posts(
    home: Settings, finished_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> FinishedRun:
    """Restore the home with ada's twelve posts, their chunks, embeddings and samples."""
    finished_run.restore()
    monkeypatch.setenv("TWIN_HOME", str(finished_run.home))
    return finished_run


@pytest.fixture
def graph(twelve_posts: FinishedRun) -> Graph:
    return Graph()


@pytest.fixture
def retriever(twelve_posts: FinishedRun, embedder: Embedder) -> Retriever:
    return Retriever(load_settings().tables_base, embedder)


@pytest.fixture
def tables(twelve_posts: FinishedRun) -> Iterator[Tables]:
    tables = open_tables(load_settings())
    yield tables
    tables.state.close()
