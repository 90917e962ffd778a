"""Retrieval: recall and cost of the nearest vectors at 20,000 to 1,000,000, and what is found.

    python tests/bench/bench_retrieval.py --quick|--full
        [--only PART …] [--json FILE]

`--full` runs `20k`, `200k` and `readers`; `1m` only when it is named. Vectors lie
between near neighbours of real chunk vectors; queries are real ones that were held out. Ours is the
search of the gateway over a table with its index, as `twin_resources.models.retrieval` makes it,
the row's text and all; the question's own vector is not in it. CPU seconds are those of the whole
process. `readers` puts the questions of `tests/bench/questions`, which are in a reader's own words,
to all five authors.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded
os.environ.setdefault("LANCE_LOG", "error")

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tests.bench.knowledge import corpus, readers
from tests.bench.knowledge.rows import row, show
from tests.bench.knowledge.tables import in_folder, opened, write
from tests.bench.retraining.rows import Row
from tests.bench.rows import create_parser
from twin_assets.knowledge.embedding import embedding_columns
from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.search import RetrievalQuery, search_vectors
from twin_resources.settings import Settings

HELD_OUT = 100  # queries
K = 10


def timed(ask: Callable[[np.ndarray], list[int]], queries: np.ndarray) -> tuple[float, list[Any]]:
    """CPU seconds a query and the answers; the first query is asked once before."""
    ask(queries[0])
    before = time.process_time()
    found = [ask(query) for query in queries]
    return (time.process_time() - before) / len(queries), found


def at_size(base: np.ndarray, held: np.ndarray, size: int, *, goals: bool) -> list[Row]:
    """Recall and queries per CPU second of one size."""
    vectors = corpus.many_vectors(base, size)
    exact = corpus.exact_nearest(vectors, held, K)
    schema = dict(embedding_columns(vectors.shape[1]))
    label = f"{size:,} vectors"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        tables = in_folder(folder)
        parts = [
            corpus.passages(vectors[start : start + 20_000], start, schema)
            for start in range(0, size, 20_000)
        ]
        write(tables, parts, vectors.shape[1])
        del parts

        def ask(query: np.ndarray) -> list[int]:
            found = search_vectors(opened_table, RetrievalQuery(""), query)
            return [int(row["chunk_id"]) for row in found[:K]]

        opened_table = opened(tables)
        flat_s, flat = timed(ask, held[: max(10, len(held) // 5)])
        before = time.process_time()
        maintain_vector_index(tables, "bench")
        built_s = time.process_time() - before
        opened_table = opened(tables)
        ours_s, ours = timed(ask, held)
        rows.append(
            row(
                f"recall@{K}, {label}",
                corpus.recall(ours, exact),
                "",
                at_least=0.95,
                peers={"flat scan": corpus.recall(flat, exact[: len(flat)])},
            )
        )
    rows.append(
        row(
            f"queries per CPU second, {label}",
            1 / ours_s,
            "1/s",
            at_least=100.0 if goals else None,
            peers={"flat scan": 1 / flat_s},
        )
    )
    rows.append(row(f"CPU seconds to make the index, {label}", built_s, "s"))
    return rows


Part = Callable[..., list[Row]]


def at(size: int, *, goals: bool) -> Part:
    """The part that measures one size."""

    def measured(home: Settings, *, quick: bool) -> list[Row]:
        vectors = corpus.chunk_vectors(700 if quick else 2500, home)
        return at_size(vectors[:-HELD_OUT], vectors[-HELD_OUT:], size, goals=goals or quick)

    return measured


# `readers`: questions in readers' own words to all five authors, the two halves apart
PARTS: dict[str, Part] = {
    "20k": at(20_000, goals=False),
    "200k": at(200_000, goals=True),
    "1m": at(1_000_000, goals=False),
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
        f"{vector_index.PROBES} probed, refined {vector_index.REFINE} times"
    )
    rows: list[Row] = []
    for name in options.only or (QUICK if options.quick else FULL):
        found = PARTS[name](home, quick=options.quick)
        rows += found
        print("\n".join(show(one) for one in found), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in rows], indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
