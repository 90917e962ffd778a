"""Measure recall and cost of vector search at 20,000 to 1,000,000 vectors.

    python tests/bench/bench_retrieval.py --quick|--full
        [--only PART …] [--json FILE]

`--full` runs `20k` and `200k`; `1m` runs only if `--only` names it. Vectors lie between near
neighbors of real chunk vectors; queries are held-out real vectors. The measured search is the
gateway's over an indexed table (`twin_resources.models.retrieval`), including the rows' texts but
without embedding the question. CPU seconds are those of the whole process. Whether readers'
questions find the right passages is measured by `bench_quotes.py`.
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

from tests.bench.knowledge import corpus
from tests.bench.knowledge.tables import create_tables, open_passages, write_passages
from tests.bench.rows import Row, bounded_row, create_parser, run_parts
from twin_assets.knowledge.passages import passage_columns
from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.search import RetrievalQuery, find_candidates
from twin_resources.settings import Settings

QUERY_COUNT = 100
NEAREST_COUNT = 10


def time_queries(
    search: Callable[[np.ndarray], list[int]], queries: np.ndarray
) -> tuple[float, list[Any]]:
    """Return CPU seconds per query and the results, after one query as a warm-up."""
    search(queries[0])
    started = time.process_time()
    results = [search(query) for query in queries]
    return (time.process_time() - started) / len(queries), results


def measure_size(base: np.ndarray, queries: np.ndarray, size: int, *, has_goals: bool) -> list[Row]:
    """Return rows for recall and queries per CPU second with `size` vectors."""
    vectors = corpus.generate_vectors(base, size)
    exact = corpus.find_exact_nearest(vectors, queries, NEAREST_COUNT)
    schema = dict(passage_columns(vectors.shape[1]))
    label = f"{size:,} vectors"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        tables = create_tables(folder)
        parts = [
            corpus.build_passages(vectors[start : start + 20_000], start, schema)
            for start in range(0, size, 20_000)
        ]
        write_passages(tables, parts, vectors.shape[1])
        del parts

        def search_table(query: np.ndarray) -> list[int]:
            hits = find_candidates(table, RetrievalQuery(""), query)
            return [int(row["chunk_id"]) for row in hits[:NEAREST_COUNT]]

        table = open_passages(tables)
        flat_s, flat = time_queries(search_table, queries[: max(10, len(queries) // 5)])
        started = time.process_time()
        maintain_vector_index(tables, "bench")
        build_s = time.process_time() - started
        table = open_passages(tables)
        ours_s, ours = time_queries(search_table, queries)
        rows.append(
            bounded_row(
                f"recall@{NEAREST_COUNT}, {label}",
                corpus.mean_recall(ours, exact),
                "",
                at_least=0.95,
                peers={"flat scan": corpus.mean_recall(flat, exact[: len(flat)])},
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
    rows.append(bounded_row(f"CPU seconds to make the index, {label}", build_s, "s"))
    return rows


Part = Callable[..., list[Row]]


def create_size_part(size: int, *, has_goals: bool) -> Part:
    """Return the part that measures `size` vectors."""

    def measure(home: Settings, *, quick: bool) -> list[Row]:
        vectors = corpus.embed_passage_texts(700 if quick else 2500, home)
        base, queries = vectors[:-QUERY_COUNT], vectors[-QUERY_COUNT:]
        return measure_size(base, queries, size, has_goals=has_goals or quick)

    return measure


PARTS: dict[str, Part] = {
    "20k": create_size_part(20_000, has_goals=False),
    "200k": create_size_part(200_000, has_goals=True),
    "1m": create_size_part(1_000_000, has_goals=False),
}
QUICK, FULL = ("20k",), ("20k", "200k")


def main() -> int:
    parser = create_parser(__doc__, quick="20,000 vectors")
    parser.add_argument("--only", nargs="+", choices=list(PARTS))
    options = parser.parse_args()
    home = corpus.load_embedder_home()
    print(
        f"index: IVF_RQ, {vector_index.ROWS_PER_PARTITION} rows a partition, "
        f"{vector_index.PROBED_PARTITIONS} probed, refined {vector_index.REFINE_FACTOR} times"
    )
    names = options.only or (QUICK if options.quick else FULL)
    parts = {name: partial(PARTS[name], home, quick=options.quick) for name in names}
    return run_parts(parts, options.json, operator=lambda _: "≥")


if __name__ == "__main__":
    sys.exit(main())
