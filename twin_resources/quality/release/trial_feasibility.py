"""Measure the data available for an author's trial, to choose the release mode.

Scope: counting prompts and certified claims.
Out of scope: the choice (`release/release_mode.py`).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

from twin_resources.quality.judges.panel import select_deciding_claims
from twin_resources.quality.ledger.interactions_frame import filter_reader_interactions
from twin_resources.quality.release.release_mode import TrialFeasibility
from twin_resources.quality.release.replays import read_certified_judges

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables


def measure_feasibility(
    tables: Tables,
    author: str,
    *,
    margin: float,
    min_prompts: int,
) -> TrialFeasibility:
    """Measure the certified claims and the prompts to replay.

    Args:
        min_prompts: the number of prompts that a shadow needs.
    """
    return TrialFeasibility(
        certified_claims=select_deciding_claims(list(read_certified_judges(tables, author))),
        prompt_count=count_recorded_prompts(tables, author),
        margin=margin,
        min_prompts=min_prompts,
    )


def count_recorded_prompts(tables: Tables, author: str) -> int:
    """Count the readers' questions that can be replayed.

    Held-out questions do not count, because they only make up for missing prompts in a trial.
    """
    if not tables.exists("interactions", author):
        return 0
    interactions = (
        filter_reader_interactions(tables.scan("interactions", author)).select("trace_id").collect()
    )
    return interactions.height
