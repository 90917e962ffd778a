"""Plan and create an author's vector index, which is an IVF index with RaBitQ codes.

Scope: size limits, the parameters of the index and of a search, and the index's current state.
Out of scope: the other indexes and the lease (`index.py`), searching (`search.py`).
Method: RaBitQ, Gao and Long 2024, https://doi.org/10.1145/3654970. Index in Lance:
https://lance.org/format/table/index/vector/

Cost of a query for ten nearest vectors of 384 dimensions in CPU ms (recall), and CPU s to build:

    rows      flat scan   IVF_RQ            IVF_PQ            IVF_SQ
    30,000    24          7 (.99), 0.8 s    8 (.99), 37 s     6 (.99), 3 s
    200,000   142         6 (.97), 6 s      9 (.99), 76 s     8 (.998), 8 s

This project uses IVF_RQ because it is the fastest to build and the smallest: it stores one bit per
dimension, and SQ stores eight. With Lance's defaults (256 sampled vectors per partition, 50
iterations), IVF_PQ takes minutes to build.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

VECTOR_INDEX = "vector"
# Above about 6,000 rows, a flat scan costs more than the index. Below 10,000 rows, the gateway
# keeps an author's vectors in memory, which is exact and cheaper than both.
MIN_INDEXED_ROWS = 10_000
ROWS_PER_PARTITION = 800
MAX_GROWTH = 2.0  # if the partition count grows by this factor, the centroids no longer fit
# Lance would merge segments into a few large partitions. A rebuild takes only a few seconds.
MAX_SEGMENTS = 32
SAMPLE_RATE = 64  # sampled vectors per partition for training the centroids
MAX_ITERATIONS = 15
PROBED_PARTITIONS = 40  # partitions that a search reads; a filtered search may read more
REFINE_FACTOR = 10  # a search compares this multiple of the requested row count exactly
_BUILD_LIMIT = timedelta(hours=1)


@dataclass(frozen=True)
class IndexState:
    """The state of a table's existing index.

    Attributes:
        partition_count: number of partitions at creation; later rows use the same partitions.
        segment_count: one, plus one for each batch of rows added later.
    """

    partition_count: int
    segment_count: int


def plan_partition_count(row_count: int, existing_index: IndexState | None) -> int | None:
    """Return the number of partitions of the index to create now; None if none is needed.

    Args:
        row_count: number of rows in the table.
        existing_index: the table's index, or None.
    """
    if row_count < MIN_INDEXED_ROWS:
        return None
    partition_count = row_count // ROWS_PER_PARTITION
    if (
        existing_index
        and partition_count < MAX_GROWTH * existing_index.partition_count
        and existing_index.segment_count <= MAX_SEGMENTS
    ):
        return None
    return partition_count


def read_index_state(dataset: Any) -> IndexState | None:
    """Read the state of the vector index, or return None if there is none.

    Args:
        dataset: an open Lance dataset.
    """
    if VECTOR_INDEX not in {index.name for index in dataset.describe_indices()}:
        return None
    segments = dataset.stats.index_stats(VECTOR_INDEX)["indices"]
    return IndexState(max(int(segment["num_partitions"]) for segment in segments), len(segments))


def create_index(table: Any, partition_count: int) -> None:
    """Create the index; readers use an existing one until the new one is complete.

    Args:
        table: an open LanceDB table.
    """
    from lancedb.index import IvfRq

    table.create_index(
        "vector",
        config=IvfRq(
            distance_type="cosine",
            num_partitions=partition_count,
            sample_rate=SAMPLE_RATE,
            max_iterations=MAX_ITERATIONS,
        ),
        name=VECTOR_INDEX,
        replace=True,
        wait_timeout=_BUILD_LIMIT,
    )


def set_probes(builder: Any, *, has_filter: bool) -> Any:
    """Set how many partitions a vector search reads; this has no effect without an index.

    Args:
        builder: a LanceDB vector query.
        has_filter: whether the query has a filter. A filtered search has no upper bound: if the
            filter leaves few rows, Lance reads partitions until it has the requested number.
            Without the bound, an unfiltered search of 200,000 rows took 16.6 CPU ms, not 12.7.
    """
    max_probes = 0 if has_filter else PROBED_PARTITIONS
    return (
        builder.minimum_nprobes(PROBED_PARTITIONS)
        .maximum_nprobes(max_probes)
        .refine_factor(REFINE_FACTOR)
    )
