"""Create the data of the retrieval benchmarks: documents, many vectors.

Scope: creating the data, which is the same in every run. Out of scope: measuring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tests.bench.questions.questions import ROOT, SHARED_AUTHORS, posts_folder
from tests.prepared_embedder import prepare_weights
from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_all_posts
from twin_assets.corpus.inventory import take_inventory
from twin_assets.knowledge import passages as product
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.settings import Settings, load_settings

_NEIGHBOR_COUNT = 30


def load_embedder_home() -> Settings:
    """Return the settings of a home with the prepared embedder."""
    return load_settings(prepare_weights().parent)


def clean_documents(author: str) -> pl.DataFrame:
    """Return the kept documents of a shared or bundled author, ordered by a hash.

    Raises:
        FileNotFoundError: the shared posts are missing (`TWIN_SHARED_DATA`).
    """
    folder = posts_folder(author)
    if not folder.is_dir():
        raise FileNotFoundError(f"no {folder}: set TWIN_SHARED_DATA")
    inventory = take_inventory([folder])
    rows = raw_posts_import.read_rows(raw_posts_import.build_inventory_frame(inventory), inventory)
    cleaned = clean_all_posts(rows.select(RAW_COLUMNS)).filter(pl.col("kept"))
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in cleaned["document_id"]]
    return cleaned.with_columns(pl.Series("hash", hashes)).sort("hash")


def embed_passages(author: str, documents: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Return rows of `embeddings`; embedding takes minutes, so they are kept in `build/`."""
    documents = documents.select(product.DOCUMENT_COLUMNS)
    digest = hashlib.sha256(f"{embedder.revision} {product.PASSAGES_VERSION}".encode())
    digest.update(documents.write_json().encode())
    path = ROOT / "build" / f"bench-passages-{author}-{digest.hexdigest()[:16]}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        product.embed_passages(documents, embedder).write_parquet(path)
    return pl.read_parquet(path)


def embed_passage_texts(count: int, home: Settings) -> np.ndarray:
    """Return passage vectors of both shared authors, float32 of shape (count, dimension).

    They are kept in `build/`.
    """
    embedder = load_embedder(home)
    path = ROOT / "build" / f"bench-vectors-{embedder.revision}-{count}.npy"
    if path.exists():
        return np.load(path)
    per_author = -(-count // 2)
    texts = [
        text
        for author in SHARED_AUTHORS
        for text in list(_iter_passage_texts(clean_documents(author).head(per_author)))[:per_author]
    ]
    vectors = embedder.embed(texts[:count])
    path.parent.mkdir(exist_ok=True)
    np.save(path, vectors)
    return vectors


def _iter_passage_texts(documents: pl.DataFrame) -> Iterator[str]:
    for text in documents["text"]:
        for passage in product.split_into_passages(text):
            yield text[passage.start : passage.end]


def generate_vectors(base: np.ndarray, count: int) -> np.ndarray:
    """Return vectors between near neighbors of real vectors, with a little noise.

    They are as dense as the vectors of one subject. Independent random vectors would be a poor
    test, because all distances between them are about equal.
    """
    rng = np.random.default_rng(1)
    neighbors = np.argsort(-(base @ base.T), axis=1)[:, 1 : _NEIGHBOR_COUNT + 1]
    vectors = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, 20_000):
        row_count = min(20_000, count - start)
        first = rng.integers(0, len(base), row_count)
        second = neighbors[first, rng.integers(0, _NEIGHBOR_COUNT, row_count)]
        share = rng.uniform(0.15, 0.85, (row_count, 1)).astype(np.float32)
        noise = 0.015 * rng.standard_normal((row_count, base.shape[1]), dtype=np.float32)
        part = share * base[first] + (1 - share) * base[second] + noise
        vectors[start : start + row_count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def find_exact_nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> list[list[int]]:
    """Return the row numbers of the k nearest vectors by cosine, nearest first, for each query."""
    nearest: list[list[int]] = []
    for query in queries:
        scores = vectors @ query
        best = np.argpartition(-scores, k)[:k]
        nearest.append(best[np.argsort(-scores[best], kind="stable")].tolist())
    return nearest


def mean_recall(results: list[list[int]], exact: list[list[int]]) -> float:
    """Return the mean share of the exact nearest vectors that a search found."""
    pairs = zip(results, exact, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def build_passages(vectors: np.ndarray, start: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Return rows of `embeddings` for these vectors, whose ids are row numbers from `start`."""
    ids = [str(start + number) for number in range(len(vectors))]
    values: dict[str, Any] = {
        "chunk_id": ids,
        "document_id": ids,
        "title": "",
        "url": "",
        "published_at": None,
        "position": 0,
        "start": 0,
        "end": 7,
        "fence": "",
        "language": "en",
        "text": [f"passage {row_id}" for row_id in ids],
        "indexed_text": [f"passage {row_id}" for row_id in ids],
        "token_count": 4,
        "embedder": "bench",
        "vector": pl.Series(vectors, dtype=schema["vector"]),
    }
    return pl.DataFrame(values, schema=schema)
