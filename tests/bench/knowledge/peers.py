"""Other stores of vectors, each asked for the ten nearest the way its manual says.

Scope: building and asking them. Out of scope: measuring.

What each lacks of what this project needs of the table beside its vectors: full text search,
transactions (rows and index change together or not at all), S3, a filter in the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Ask = Callable[[np.ndarray], list[int]]
K = 10


@dataclass(frozen=True)
class Peer:
    """A store: how to build it over vectors of length 1, and what it lacks."""

    build: Callable[[np.ndarray], Ask]
    lacks: str


def _numpy(vectors: np.ndarray) -> Ask:
    def ask(query: np.ndarray) -> list[int]:
        scores = vectors @ query
        best = np.argpartition(-scores, K)[:K]
        return best[np.argsort(-scores[best])].tolist()

    return ask


def _hnswlib(vectors: np.ndarray) -> Ask:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
    index.set_num_threads(1)
    index.add_items(vectors)
    index.set_ef(64)
    return lambda query: index.knn_query(query, k=K)[0][0].tolist()


def _usearch(vectors: np.ndarray) -> Ask:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="f32", expansion_search=64)
    index.add(np.arange(len(vectors)), vectors, threads=1)
    return lambda query: index.search(query, K, threads=1).keys.tolist()


def _qdrant(vectors: np.ndarray) -> Ask:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(":memory:")
    params = VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
    client.create_collection("passages", vectors_config=params)
    client.upload_collection("passages", vectors=vectors, ids=list(range(len(vectors))))

    def ask(query: np.ndarray) -> list[int]:
        found = client.query_points("passages", query=query.tolist(), limit=K)
        return [int(point.id) for point in found.points]

    return ask


PEERS = {
    "numpy": Peer(_numpy, "full text, transactions, S3, filters; exact; all in memory"),
    "hnswlib": Peer(_hnswlib, "full text, transactions, S3; filters by a Python call"),
    "usearch": Peer(_usearch, "full text, transactions, S3; filters by a Python call"),
    "qdrant local": Peer(_qdrant, "an index (it scans), transactions, S3; for up to 20,000 points"),
}
