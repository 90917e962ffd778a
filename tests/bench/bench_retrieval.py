"""Retrieval: recall and cost of vector search at 20,000 to 1,000,000 vectors, and its quality.

    python tests/bench/bench_retrieval.py --quick|--full
        [--only PART …] [--json FILE]

`--full` runs `20k`, `200k` and `readers`; `1m` runs only when it is named. Vectors are between near
neighbours of real chunk vectors; queries are held-out real vectors. Ours is the gateway's search
over an indexed table (`twin_resources.models.retrieval`), including the rows' texts but without
embedding the question. CPU seconds are those of the whole process. `readers` asks all five authors
the questions of `tests/bench/questions`, which are in readers' words.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded
os.environ.setdefault("LANCE_LOG", "error")

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tests.bench.knowledge import corpus, readers
from tests.bench.knowledge.tables import open_table, tables_in, write_passages
from tests.bench.rows import Row, bounded_row, create_parser, run_parts
from twin_assets.knowledge.embedding import embedding_columns
from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.search import RetrievalQuery, search_vectors
from twin_resources.settings import Settings

HELD_OUT = 100  # queries
K = 10


def time_queries(
    search: Callable[[np.ndarray], list[int]], queries: np.ndarray
) -> tuple[float, list[Any]]:
    """Return CPU seconds per query and the results, after one query as a warm-up."""
    search(queries[0])
    before = time.process_time()
    results = [search(query) for query in queries]
    return (time.process_time() - before) / len(queries), results


def measure_size(base: np.ndarray, held: np.ndarray, size: int, *, has_goals: bool) -> list[Row]:
    """Return recall and queries per CPU second for a number of vectors."""
    vectors = corpus.many_vectors(base, size)
    exact = corpus.exact_nearest(vectors, held, K)
    schema = dict(embedding_columns(vectors.shape[1]))
    label = f"{size:,} vectors"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        tables = tables_in(folder)
        parts = [
            corpus.passages(vectors[start : start + 20_000], start, schema)
            for start in range(0, size, 20_000)
        ]
        write_passages(tables, parts, vectors.shape[1])
        del parts

        def search_table(query: np.ndarray) -> list[int]:
            found = search_vectors(table, RetrievalQuery(""), query)
            return [int(row["chunk_id"]) for row in found[:K]]

        table = open_table(tables)
        flat_s, flat = time_queries(search_table, held[: max(10, len(held) // 5)])
        before = time.process_time()
        maintain_vector_index(tables, "bench")
        built_s = time.process_time() - before
        table = open_table(tables)
        ours_s, ours = time_queries(search_table, held)
        rows.append(
            bounded_row(
                f"recall@{K}, {label}",
                corpus.recall(ours, exact),
                "",
                at_least=0.95,
                peers={"flat scan": corpus.recall(flat, exact[: len(flat)])},
            )
        )
    rows.append(
        bounded_row(
            f"queries per CPU second, {label}",
            1 / ours_s,
            "1/s",
            at_least=100.0 if has_goals else None,
            peers={"flat scan": 1 / flat_s},
        )
    )
    rows.append(bounded_row(f"CPU seconds to make the index, {label}", built_s, "s"))
    return rows


Part = Callable[..., list[Row]]


def size_part(size: int, *, has_goals: bool) -> Part:
    """Return the part that measures one size."""

    def measure(home: Settings, *, quick: bool) -> list[Row]:
        vectors = corpus.chunk_vectors(700 if quick else 2500, home)
        base, queries = vectors[:-HELD_OUT], vectors[-HELD_OUT:]
        return measure_size(base, queries, size, has_goals=has_goals or quick)

    return measure


PARTS: dict[str, Part] = {
    "20k": size_part(20_000, has_goals=False),
    "200k": size_part(200_000, has_goals=True),
    "1m": size_part(1_000_000, has_goals=False),
    "readers": readers.figures,
}
QUICK, FULL = ("20k", "readers"), ("20k", "200k", "readers")


def main() -> int:
    parser = create_parser(__doc__, quick="20,000 vectors, 30 posts an author")
    parser.add_argument("--only", nargs="+", choices=list(PARTS))
    options = parser.parse_args()
    home = corpus.settings()
    print(
        f"index: IVF_RQ, {vector_index.ROWS_PER_PARTITION} rows a partition, "
        f"{vector_index.PROBED_PARTITIONS} probed, refined {vector_index.REFINE_FACTOR} times"
    )
    names = options.only or (QUICK if options.quick else FULL)
    parts = {name: partial(PARTS[name], home, quick=options.quick) for name in names}
    return run_parts(parts, options.json, sign=lambda _: "≥")


if __name__ == "__main__":
    sys.exit(main())
