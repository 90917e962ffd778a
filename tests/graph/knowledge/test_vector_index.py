"""Test the vector index: its size, its recall, and its updates when rows change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.stored_rows import store_rows
from twin_assets.knowledge.passages import passage_columns
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.index import maintain_vector_index, update_indexes
from twin_resources.models.retrieval.search import InMemoryTable, RetrievalQuery, find_candidates
from twin_resources.models.retrieval.vector_index import (
    IndexState,
    plan_partition_count,
    read_index_state,
)
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

DIMENSION = 32
ROW_COUNT = 3_000


def test_an_index_is_built_at_a_size_and_rebuilt_after_growth() -> None:
    assert plan_partition_count(vector_index.MIN_INDEXED_ROWS - 1, None) is None
    assert plan_partition_count(vector_index.MIN_INDEXED_ROWS, None) == 12
    assert plan_partition_count(19_000, IndexState(12, 1)) is None
    assert plan_partition_count(20_000, IndexState(12, 1)) == 25
    assert plan_partition_count(19_000, IndexState(12, vector_index.MAX_SEGMENTS + 1)) == 23
    assert plan_partition_count(5_000, IndexState(12, 1)) is None


def build_unit_vectors(row_count: int, *, seed: int) -> np.ndarray:
    """Return vectors around sixty subjects, which are the same for every seed."""
    centers = np.random.default_rng(0).standard_normal((60, DIMENSION))
    generator = np.random.default_rng(seed)
    vectors = centers[generator.integers(0, 60, row_count)]
    vectors += 0.5 * generator.standard_normal((row_count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build_rows(vectors: np.ndarray) -> pl.DataFrame:
    names = [f"c{number}" for number in range(len(vectors))]
    schema = dict(passage_columns(DIMENSION))
    rows: dict[str, Any] = {
        "chunk_id": names,
        "document_id": names,
        "title": "",
        "url": "",
        "published_at": [
            datetime(2010 + number % 10, 1, 1, tzinfo=UTC) for number in range(len(vectors))
        ],
        "position": 0,
        "start": 0,
        "end": 4,
        "fence": "",
        "language": "en",
        "text": [f"word{number}" for number in range(len(vectors))],
        "indexed_text": [f"word{number}" for number in range(len(vectors))],
        "token_count": 3,
        "embedder": "r",
        "vector": pl.Series(vectors, dtype=schema["vector"]),
    }
    return pl.DataFrame(rows, schema=schema)


def write_vectors(tables: Tables, vectors: np.ndarray) -> None:
    store_rows(tables, "embeddings", "ada", build_rows(vectors), key="chunk_id")
    update_indexes(tables, "ada", language="en")


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set sizes at which an index is built quickly."""
    monkeypatch.setattr(vector_index, "MIN_INDEXED_ROWS", 1_000)
    monkeypatch.setattr(vector_index, "ROWS_PER_PARTITION", 50)
    monkeypatch.setattr(vector_index, "PROBED_PARTITIONS", 20)


def open_table(tables: Tables) -> Any:
    import lancedb

    return lancedb.connect(f"{tables.base_uri}/ada").open_table("embeddings")


def measure_recall(tables: Tables, query: RetrievalQuery) -> float:
    """Return the share of the rows found by an exact scan that the table's search also finds."""
    table = open_table(tables)
    memory = InMemoryTable(table)
    shares: list[float] = []
    for vector in build_unit_vectors(30, seed=9):
        exact = {row["chunk_id"] for row in memory.find_candidates(query, vector)}
        candidates = {row["chunk_id"] for row in find_candidates(table, query, vector)}
        assert len(candidates) == len(exact)
        shares.append(len(candidates & exact) / len(exact))
    return float(np.mean(shares))


@pytest.mark.long
@pytest.mark.usefixtures("small_index")
def test_the_index_finds_the_same_rows_as_a_scan(tables: Tables) -> None:
    vectors = build_unit_vectors(ROW_COUNT, seed=1)
    write_vectors(tables, vectors)
    assert measure_recall(tables, RetrievalQuery("")) == 1.0
    assert "ANNSubIndex" not in explain_search(tables)
    assert maintain_vector_index(tables, "ada") == "made"
    assert read_index_state(open_table(tables).to_lance()) == IndexState(60, 1)
    assert maintain_vector_index(tables, "ada") == "left"
    assert "ANNSubIndex" in explain_search(tables)
    assert measure_recall(tables, RetrievalQuery("")) >= 0.95
    # The filters leave a tenth of the rows, and twenty rows.
    assert (
        measure_recall(
            tables, RetrievalQuery("", published_before=datetime(2010, 6, 1, tzinfo=UTC))
        )
        >= 0.95
    )
    query = RetrievalQuery("", exclude=[f"c{number}" for number in range(20, ROW_COUNT)])
    assert measure_recall(tables, query) == 1.0


def explain_search(tables: Tables) -> str:
    """Return Lance's plan of a search."""
    vector = build_unit_vectors(1, seed=2)[0]
    query = open_table(tables).search(vector, vector_column_name="vector").distance_type("cosine")
    return query.limit(5).explain_plan()


@pytest.mark.usefixtures("small_index")
def test_new_rows_join_the_index_and_its_partitions_stay(tables: Tables) -> None:
    vectors = build_unit_vectors(ROW_COUNT + 10, seed=1)
    write_vectors(tables, vectors[:ROW_COUNT])
    maintain_vector_index(tables, "ada")
    write_vectors(tables, vectors)
    assert read_index_state(open_table(tables).to_lance()) == IndexState(60, 2)
    chunk_ids = [
        row["chunk_id"]
        for row in find_candidates(open_table(tables), RetrievalQuery(""), vectors[-1])
    ]
    assert chunk_ids[0] == f"c{ROW_COUNT + 9}"
    assert measure_recall(tables, RetrievalQuery("")) >= 0.95
    # Compacting the table does not change the vector index.
    tables.compact("embeddings", "ada")
    assert read_index_state(open_table(tables).to_lance()) == IndexState(60, 2)
    assert measure_recall(tables, RetrievalQuery("")) >= 0.95


@pytest.mark.long
@pytest.mark.usefixtures("small_index")
def test_erasing_a_post_keeps_the_recall_of_the_index(tables: Tables, home: Settings) -> None:
    vectors = build_unit_vectors(ROW_COUNT, seed=1)
    write_vectors(tables, vectors)
    maintain_vector_index(tables, "ada")
    registry = Registry(tables.state, policy_path=home.policy_path)
    lance_tables = LanceTables(Installation(home, tables.state, tables, registry))
    post = ErasureTarget(ErasureSubject("post", "ada", "c7"), ids=frozenset({"c7"}))
    for _ in range(2):  # An interrupted request erases again.
        lance_tables.erase(post)
        assert read_index_state(open_table(tables).to_lance()) == IndexState(59, 1)
        indexed = open_table(tables).to_lance().stats.index_stats("vector")["num_indexed_rows"]
        assert indexed == ROW_COUNT - 1
        assert measure_recall(tables, RetrievalQuery("")) >= 0.95
        assert lance_tables.find_remaining(post) == []


@pytest.mark.long
@pytest.mark.usefixtures("small_index")
def test_a_forgotten_passage_is_in_no_index(tables: Tables) -> None:
    vectors = build_unit_vectors(ROW_COUNT, seed=1)
    write_vectors(tables, vectors)
    maintain_vector_index(tables, "ada")
    tables.forget("embeddings", "ada", ["c7"])
    chunk_ids = [
        row["chunk_id"]
        for row in find_candidates(open_table(tables), RetrievalQuery(""), vectors[7])
    ]
    assert chunk_ids
    assert "c7" not in chunk_ids
    # The index would keep codes of deleted rows, so it is dropped and built again.
    assert read_index_state(open_table(tables).to_lance()) is None
    assert measure_recall(tables, RetrievalQuery("")) == 1.0
    assert maintain_vector_index(tables, "ada") == "made"
    assert (
        open_table(tables).to_lance().stats.index_stats("vector")["num_indexed_rows"]
        == ROW_COUNT - 1
    )
    assert measure_recall(tables, RetrievalQuery("")) >= 0.95


def test_a_missing_table_is_an_error(tables: Tables) -> None:
    with pytest.raises(TableNotFoundError, match="materialize the asset 'embeddings'"):
        maintain_vector_index(tables, "ada")
    with pytest.raises(TableNotFoundError):
        update_indexes(tables, "ada", language="en")
