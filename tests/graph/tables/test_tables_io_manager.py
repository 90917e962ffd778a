"""Test the frames that downstream assets and users get, in a real Dagster instance."""

from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest

from tests.graph.tables.words import SCHEMA, build_posts, find_words
from tests.materialization import create_instance
from twin_assets.partitions import authors
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.dagster_resources import TablesResource
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import SyncResult, Tables

TEXTS = {"mara": {"a": "one two", "b": "three"}, "jose": {"a": "uno"}}
frames: dict[str, pl.DataFrame] = {}


def sync(tables: Tables, author: str) -> SyncResult:
    return tables.sync(
        build_posts(TEXTS[author]), "all_words", author=author, key="post", function=find_words,
        version="1", schema=SCHEMA, row_key="word_id",
    )  # fmt: skip


@dg.asset(partitions_def=authors, io_manager_key="tables_io")
def all_words(
    context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    report = sync(tables, context.partition_key)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.data_version), metadata=report.metadata()
    )


@dg.asset(partitions_def=authors, io_manager_key="tables_io")
def long_words(all_words: pl.DataFrame) -> None:
    frames["frame"] = all_words


@dg.asset(io_manager_key="tables_io")
def all_authors_frame(all_words: pl.DataFrame) -> None:
    frames["never"] = all_words


@dg.asset(name="all_words", partitions_def=authors, io_manager_key="tables_io")
def returns_a_sync(
    context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]
) -> SyncResult:
    return sync(tables, context.partition_key)


@dg.asset(partitions_def=authors, io_manager_key="tables_io")
def returns_a_frame() -> pl.DataFrame:
    return pl.DataFrame({"a": [1]})


ASSETS = [all_words, long_words, all_authors_frame]


@pytest.fixture
def instance(home: Settings) -> Iterator[dg.DagsterInstance]:
    frames.clear()
    with create_instance("mara", "jose") as instance:
        yield instance


def materialize(
    instance: dg.DagsterInstance, *names: str, author: str | None = None
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*ASSETS, returns_a_frame], selection=list(names), instance=instance, partition_key=author,
        resources={"tables": TablesResource(), "tables_io": TablesIOManager()}, raise_on_error=True,
    )  # fmt: skip


def test_downstream_gets_a_frame(instance: dg.DagsterInstance) -> None:
    materialize(instance, "all_words", "long_words", author="mara")
    assert frames["frame"].equals(find_words(build_posts(TEXTS["mara"])).sort("word_id"))


def test_an_author_without_a_table_is_an_error(instance: dg.DagsterInstance) -> None:
    with pytest.raises(TwinError, match="materialize the asset 'all_words' for the partition 'mar"):
        materialize(instance, "long_words", author="mara")


def test_several_partitions_are_not_one_frame(instance: dg.DagsterInstance) -> None:
    with pytest.raises(TwinError, match=r"Found: 2 partitions.*pass a partition_key"):
        materialize(instance, "all_authors_frame")


def test_a_frame_as_output_is_refused(instance: dg.DagsterInstance) -> None:
    with pytest.raises(TwinError, match=r"type DataFrame.*Tables.sync"):
        materialize(instance, "returns_a_frame", author="mara")


def test_a_sync_as_output_becomes_metadata(instance: dg.DagsterInstance) -> None:
    result = dg.materialize(
        [returns_a_sync], instance=instance, partition_key="mara",
        resources={"tables": TablesResource(), "tables_io": TablesIOManager()},
    )  # fmt: skip
    (event,) = result.asset_materializations_for_node("all_words")
    assert event.metadata["dagster/row_count"].value == 3


def test_a_person_loads_a_table_by_name(instance: dg.DagsterInstance) -> None:
    materialize(instance, "all_words", author="mara")
    defs = dg.Definitions(
        assets=ASSETS, resources={"tables": TablesResource(), "tables_io": TablesIOManager()}
    )
    frame = defs.load_asset_value("all_words", partition_key="mara", instance=instance)
    assert frame.equals(find_words(build_posts(TEXTS["mara"])).sort("word_id"))


def test_a_rerun_without_changes_keeps_the_data_version(instance: dg.DagsterInstance) -> None:
    def version() -> str:
        materialize(instance, "all_words", author="mara")
        event = instance.get_latest_materialization_event(dg.AssetKey("all_words"))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization.tags["dagster/data_version"]

    assert version() == version()
