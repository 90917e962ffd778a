"""Test that indexes, retrieval and maintenance work on `s3://` (moto's server) as in a folder."""

from __future__ import annotations

import pytest

from tests.graph.knowledge.test_retrieval import POSTS, store_posts
from tests.graph.knowledge.test_vector_index import (
    ROW_COUNT,
    build_unit_vectors,
    open_table,
    write_vectors,
)
from tests.graph.s3 import make_s3_client, set_s3_environment
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.models.retrieval.search import RetrievalQuery, search_vectors
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


@pytest.fixture
def s3_tables(s3_endpoint: str, home: Settings, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Return tables with an S3 address; the environment has the endpoint and the keys."""
    set_s3_environment(monkeypatch, s3_endpoint)
    bucket = "knowledge"
    make_s3_client(s3_endpoint).create_bucket(Bucket=bucket)
    return Tables(f"s3://{bucket}/{home.home.parent.name}", state=open_home_state(home))


def test_passages_on_s3_are_found(s3_tables: Tables, embedder: Embedder) -> None:
    retriever = Retriever(s3_tables.base_uri, embedder)
    assert "has no embeddings yet" in retriever.retrieve("ada", "Who is Bertha?").reason
    store_posts(s3_tables, "ada", POSTS, embedder)
    result = retriever.retrieve("ada", "Who is Bertha?", limit=1)
    assert [passage.document_id for passage in result.passages] == ["bread"]
    store_posts(s3_tables, "ada", POSTS | {"tulips": "The tulips open in April."}, embedder)
    result = retriever.retrieve("ada", "When do the tulips open?", limit=1)
    assert [passage.document_id for passage in result.passages] == ["tulips"]


def test_maintenance_and_the_vector_index_work_on_s3(
    s3_tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "MIN_INDEXED_ROWS", 1_000)
    vectors = build_unit_vectors(ROW_COUNT, seed=1)
    write_vectors(s3_tables, vectors)
    assert s3_tables.list_assets("ada") == ["embeddings"]
    assert s3_tables.list_assets("nobody") == []
    version = s3_tables.data_version("embeddings", "ada")
    assert s3_tables.compact("embeddings", "ada").merged_count > 0
    assert maintain_vector_index(s3_tables, "ada") == "made"
    assert s3_tables.data_version("embeddings", "ada") == version
    chunk_ids = [
        row["chunk_id"]
        for row in search_vectors(open_table(s3_tables), RetrievalQuery(""), vectors[5])
    ]
    assert chunk_ids[0] == "c5"
