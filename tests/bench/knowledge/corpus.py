"""Data of the embedding and retrieval benchmarks: shared posts, their chunks, many vectors.

Scope: making the data; every run makes the same. Out of scope: measuring.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl

from tests.bench.questions.questions import ROOT, SHARED_AUTHORS, posts_folder
from tests.prepared_embedder import prepare_weights
from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_and_quarantine
from twin_assets.corpus.inventory import take_inventory
from twin_assets.knowledge.chunking import DOCUMENT_COLUMNS, chunk_documents, limit_to_chunk_tokens
from twin_resources.models.embedder.embedder import load_embedder, load_tokenizer
from twin_resources.settings import Settings, load_settings

_NEIGHBOURS = 30


def settings() -> Settings:
    """Return settings of a home with the prepared embedder."""
    return load_settings(prepare_weights().parent)


def documents(author: str) -> pl.DataFrame:
    """Return the kept documents of a shared or bundled author, in the order of a hash.

    Raises:
        FileNotFoundError: the shared posts are missing (`TWIN_SHARED_DATA`).
    """
    folder = posts_folder(author)
    if not folder.is_dir():
        raise FileNotFoundError(f"no {folder}: set TWIN_SHARED_DATA")
    inventory = take_inventory([folder])
    rows = raw_posts_import.read_rows(raw_posts_import.build_inventory_frame(inventory), inventory)
    cleaned = clean_and_quarantine(rows.select(RAW_COLUMNS))[0].filter(pl.col("kept"))
    drawn = [hashlib.sha256(name.encode()).hexdigest() for name in cleaned["document_id"]]
    return cleaned.with_columns(pl.Series("drawn", drawn)).sort("drawn")


def chunks_of(cleaned: pl.DataFrame, home: Settings) -> pl.DataFrame:
    """Return rows of `document_chunks`."""
    return chunk_documents(
        cleaned.select(DOCUMENT_COLUMNS), limit_to_chunk_tokens(load_tokenizer(home))
    )


def chunk_vectors(count: int, home: Settings) -> np.ndarray:
    """Return chunk vectors of both shared authors, float32 (count, dimension); kept in `build/`."""
    embedder = load_embedder(home)
    path = ROOT / "build" / f"bench-vectors-{embedder.revision}-{count}.npy"
    if path.exists():
        return np.load(path)
    half = -(-count // 2)
    texts = [
        text
        for author in SHARED_AUTHORS
        for text in chunks_of(documents(author).head(half), home)["text"].head(half)
    ]
    vectors = embedder.embed(texts[:count])
    path.parent.mkdir(exist_ok=True)
    np.save(path, vectors)
    return vectors


def many_vectors(base: np.ndarray, count: int) -> np.ndarray:
    """Return vectors between near neighbours of real vectors, with a little noise.

    They are as dense as the vectors of one subject. Independent random vectors would be a poor
    test, because all distances between them are equal.
    """
    rng = np.random.default_rng(1)
    neighbours = np.argsort(-(base @ base.T), axis=1)[:, 1 : _NEIGHBOURS + 1]
    vectors = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, 20_000):
        rows = min(20_000, count - start)
        first = rng.integers(0, len(base), rows)
        second = neighbours[first, rng.integers(0, _NEIGHBOURS, rows)]
        share = rng.uniform(0.15, 0.85, (rows, 1)).astype(np.float32)
        noise = 0.015 * rng.standard_normal((rows, base.shape[1]), dtype=np.float32)
        part = share * base[first] + (1 - share) * base[second] + noise
        vectors[start : start + rows] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def exact_nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> list[list[int]]:
    """Return the row numbers of the k nearest vectors by cosine, nearest first, for each query."""
    nearest: list[list[int]] = []
    for query in queries:
        scores = vectors @ query
        best = np.argpartition(-scores, k)[:k]
        nearest.append(best[np.argsort(-scores[best], kind="stable")].tolist())
    return nearest


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    """Return the mean share of the exact nearest vectors that a search found."""
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def passages(vectors: np.ndarray, start: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Return rows of `embeddings` for these vectors, named by row numbers from `start`."""
    names = [str(start + number) for number in range(len(vectors))]
    values: dict[str, Any] = {
        "chunk_id": names,
        "document_id": names,
        "title": "",
        "url": "",
        "published_at": None,
        "position": 0,
        "start": 0,
        "end": 7,
        "heading": "",
        "text": [f"passage {name}" for name in names],
        "indexed_text": [f"passage {name}" for name in names],
        "token_count": 4,
        "embedder": "bench",
        "vector": pl.Series(vectors, dtype=schema["vector"]),
    }
    return pl.DataFrame(values, schema=schema)
