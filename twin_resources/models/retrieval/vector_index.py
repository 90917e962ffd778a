"""When an author's vectors get an index, and how it is made: IVF with RaBitQ codes.

Scope: the sizes, the settings of the index and of a search in it, and telling what stands.
Out of scope: the other indexes and the lease (`index.py`), the search itself (`search.py`).
Method: RaBitQ, Gao and Long 2024, https://doi.org/10.1145/3654970; in Lance,
https://lance.org/format/table/index/vector/

Measured on vectors of 384 dimensions, ten nearest, CPU ms a query (recall), CPU s to make:

    rows      flat scan   IVF_RQ            IVF_PQ            IVF_SQ
    30,000    24          7 (.99), 0.8 s    8 (.99), 37 s     6 (.99), 3 s
    200,000   142         6 (.97), 6 s      9 (.99), 76 s     8 (.998), 8 s

RQ is made fastest and is the smallest (a bit a dimension; SQ eight), so it is the one. Lance's
defaults sample 256 vectors a partition for 50 rounds: IVF_PQ then takes minutes.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

VECTOR_INDEX = "vector"
# A flat scan is dearer than the index from about 6,000 rows; up to 10,000 the gateway keeps an
# author's vectors in memory, which is exact and cheaper than both.
SMALLEST = 10_000
ROWS_PER_PARTITION = 800
OUTGROWN = 2.0  # times as many partitions wanted as stand: the centres no longer fit the rows
# Merged by Lance they would end in few large partitions, so the index is rebuilt: some seconds.
MAX_SEGMENTS = 32
SAMPLE_RATE = 64  # vectors a partition that the centres are learned from
MAX_ITERATIONS = 15
PROBES = 40  # partitions that a search looks into; with a filter, at least
REFINE = 10  # of the candidates that it is asked for, so many times are compared exactly
_BUILD_LIMIT = timedelta(hours=1)


@dataclass(frozen=True)
class IndexPlan:
    """How an index is to be made."""

    partitions: int


@dataclass(frozen=True)
class IndexState:
    """The index that a table has.

    Attributes:
        partitions: of the rows that it was made from; rows added later go into the same.
        segments: one, and one more for each time that rows were added.
    """

    partitions: int
    segments: int


def wanted(rows: int, standing: IndexState | None) -> IndexPlan | None:
    """The index to make now, or None when what stands will do.

    Args:
        rows: of the table.
        standing: None: there is no index.
    """
    if rows < SMALLEST:
        return None
    best = rows // ROWS_PER_PARTITION
    if standing and best < OUTGROWN * standing.partitions and standing.segments <= MAX_SEGMENTS:
        return None
    return IndexPlan(best)


def standing(dataset: Any) -> IndexState | None:
    """The index of the vectors, or None without one.

    Args:
        dataset: an open Lance dataset.
    """
    if VECTOR_INDEX not in {index.name for index in dataset.describe_indices()}:
        return None
    segments = dataset.stats.index_stats(VECTOR_INDEX)["indices"]
    return IndexState(max(int(part["num_partitions"]) for part in segments), len(segments))


def make(table: Any, plan: IndexPlan) -> None:
    """Make the index, in place of one that stands; readers use the old one until it is there.

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


def probing(builder: Any, *, filtered: bool) -> Any:
    """A vector search that looks into enough partitions; without an index it changes nothing.

    Args:
        builder: a LanceDB vector query.
        filtered: whether it has a condition. Then there is no upper bound: where few rows are left,
            more partitions are searched until there are as many as asked for. Without a bound Lance
            searched on in an unfiltered table too: 16.6 CPU ms instead of 12.7 at 200,000 rows.
    """
    most = 0 if filtered else PROBES
    return builder.minimum_nprobes(PROBES).maximum_nprobes(most).refine_factor(REFINE)
