"""Plan and create an author's vector index: IVF with RaBitQ codes.

Scope: the sizes, the parameters of the index and of a search in it, and its current state.
Out of scope: the other indexes and the lease (`index.py`), the search itself (`search.py`).
Method: RaBitQ, Gao and Long 2024, https://doi.org/10.1145/3654970; in Lance,
https://lance.org/format/table/index/vector/

Measured on vectors of 384 dimensions, ten nearest, CPU ms a query (recall), CPU s to make:

    rows      flat scan   IVF_RQ            IVF_PQ            IVF_SQ
    30,000    24          7 (.99), 0.8 s    8 (.99), 37 s     6 (.99), 3 s
    200,000   142         6 (.97), 6 s      9 (.99), 76 s     8 (.998), 8 s

RQ is the fastest to build and the smallest (one bit a dimension; SQ has eight), so it is used. With
Lance's defaults (256 vectors a partition sampled, 50 rounds) IVF_PQ takes minutes to build.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

VECTOR_INDEX = "vector"
# From about 6,000 rows a flat scan costs more than the index. Below 10,000 the gateway keeps an
# author's vectors in memory, which is exact and cheaper than both.
MIN_INDEXED_ROWS = 10_000
ROWS_PER_PARTITION = 800
MAX_GROWTH = 2.0  # of the number of partitions; beyond it the centres no longer fit the rows
# Lance would merge the segments into few large partitions, so the index is rebuilt in some seconds.
MAX_SEGMENTS = 32
SAMPLE_RATE = 64  # vectors sampled for each partition to learn the centres
MAX_ITERATIONS = 15
PROBES = 40  # partitions that a search reads; the minimum if it has a filter
REFINE = 10  # times the requested number of candidates are compared exactly
_BUILD_LIMIT = timedelta(hours=1)


@dataclass(frozen=True)
class IndexPlan:
    """The parameters of an index to create."""

    partitions: int


@dataclass(frozen=True)
class IndexState:
    """The existing index of a table.

    Attributes:
        partitions: number of partitions at creation; rows added later use the same ones.
        segments: one, and one more for each time that rows were added.
    """

    partitions: int
    segments: int


def plan_index(rows: int, existing: IndexState | None) -> IndexPlan | None:
    """Plan the index to create now; None if none is needed or the existing one is good enough.

    Args:
        rows: number of rows of the table.
        existing: the index of the table, or None if there is none.
    """
    if rows < MIN_INDEXED_ROWS:
        return None
    partitions = rows // ROWS_PER_PARTITION
    if (
        existing
        and partitions < MAX_GROWTH * existing.partitions
        and existing.segments <= MAX_SEGMENTS
    ):
        return None
    return IndexPlan(partitions)


def read_index_state(dataset: Any) -> IndexState | None:
    """Read the state of the vector index, or return None if there is none.

    Args:
        dataset: an open Lance dataset.
    """
    if VECTOR_INDEX not in {index.name for index in dataset.describe_indices()}:
        return None
    segments = dataset.stats.index_stats(VECTOR_INDEX)["indices"]
    return IndexState(max(int(part["num_partitions"]) for part in segments), len(segments))


def create_index(table: Any, plan: IndexPlan) -> None:
    """Create the index, replacing an existing one, which readers use until the new one is complete.

    Args:
        table: an open LanceDB table.
    """
    from lancedb.index import IvfRq

    table.create_index(
        "vector",
        config=IvfRq(
            distance_type="cosine",
            num_partitions=plan.partitions,
            sample_rate=SAMPLE_RATE,
            max_iterations=MAX_ITERATIONS,
        ),
        name=VECTOR_INDEX,
        replace=True,
        wait_timeout=_BUILD_LIMIT,
    )


def set_probes(builder: Any, *, has_filter: bool) -> Any:
    """Set how many partitions a vector search reads; without an index this has no effect.

    Args:
        builder: a LanceDB vector query.
        has_filter: whether the query has a filter. There is then no upper bound: if the filter
            leaves few rows, Lance reads partitions until it has the requested number. An unfiltered
            search needs the bound: without it the search took 16.6 CPU ms instead of 12.7 at
            200,000 rows.
    """
    maximum = 0 if has_filter else PROBES
    return builder.minimum_nprobes(PROBES).maximum_nprobes(maximum).refine_factor(REFINE)
