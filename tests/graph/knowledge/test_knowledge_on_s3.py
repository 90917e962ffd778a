"""Indexes, retrieval and upkeep on `s3://` as in a folder, against moto's server."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.graph.knowledge.test_retrieval import POSTS, store
from tests.graph.knowledge.test_vector_index import ROWS, opened, unit_vectors, write
from twin_resources.embedder.embedder import Embedder
from twin_resources.retrieval import vector_index
from twin_resources.retrieval.index import keep_vector_index
from twin_resources.retrieval.retrieval import Retriever
from twin_resources.retrieval.search import Query, nearest
from twin_resources.settings import Settings
from twin_resources.state.state import State
from twin_resources.tables.tables import Tables

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def on_s3(endpoint: str, home: Settings, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Tables whose address is all that differs: the environment names the endpoint and the keys."""
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT": endpoint}).items():
        monkeypatch.setenv(name, value)
    bucket = "knowledge"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return Tables(f"s3://{bucket}/{home.home.parent.name}", state=State.open(home.state_address))


def test_passages_on_s3_are_found(on_s3: Tables, embedder: Embedder) -> None:
    retriever = Retriever(on_s3.base_uri, embedder)
    assert "has no embeddings yet" in retriever.retrieve("ada", "Who is Bertha?").reason
    store(on_s3, "ada", POSTS, embedder)
    found = retriever.retrieve("ada", "Who is Bertha?", limit=1)
    assert [passage.document_id for passage in found.passages] == ["bread"]
    store(on_s3, "ada", POSTS | {"tulips": "The tulips open in April."}, embedder)
    found = retriever.retrieve("ada", "When do the tulips open?", limit=1)
    assert [passage.document_id for passage in found.passages] == ["tulips"]


def test_upkeep_and_the_index_of_vectors_on_s3(
    on_s3: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "SMALLEST", 1_000)
    vectors = unit_vectors(ROWS, seed=1)
    write(on_s3, vectors)
    assert on_s3.assets("ada") == ["embeddings"]
    assert on_s3.assets("nobody") == []
    before = on_s3.data_version("embeddings", "ada")
    assert on_s3.keep("embeddings", "ada").merged > 0
    assert keep_vector_index(on_s3, "ada") == "made"
    assert on_s3.data_version("embeddings", "ada") == before
    found = [row["chunk_id"] for row in nearest(opened(on_s3), Query(""), vectors[5])]
    assert found[0] == "c5"
