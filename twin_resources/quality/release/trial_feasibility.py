"""Measure the data available for an author's trial, to choose the release mode.

Scope: counting prompts, certified claims and votes.
Out of scope: the choice (`release/release_mode.py`).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.quality.judges.panel import select_deciding_claims
from twin_resources.quality.ledger.interactions_frame import filter_reader_interactions
from twin_resources.quality.release.canary_days import VoteRate, measure_vote_rate
from twin_resources.quality.release.release_mode import (
    MAX_CANARY_DAYS,
    TrialFeasibility,
)
from twin_resources.quality.release.replays import read_certified_judges
from twin_resources.registry.policy import CANARY_SHARE

if TYPE_CHECKING:
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables


def measure_feasibility(
    registry: Registry,
    tables: Tables,
    author: str,
    *,
    now: float,
    margin: float,
    min_prompts: int,
) -> TrialFeasibility:
    """Measure the certified claims, the prompts to replay and the expected votes of a canary.

    Args:
        now: seconds since the epoch.
        min_prompts: the number of prompts that a shadow needs.
    """
    routing: dict[str, Any] = registry.routing().get(author, {})
    share = min(max(float(routing.get("canary_share", CANARY_SHARE)), 0.0), 1.0)
    rate = measure_vote_rate(registry.state, author, now=now)
    return TrialFeasibility(
        certified_claims=select_deciding_claims(list(read_certified_judges(tables, author))),
        prompt_count=count_recorded_prompts(tables, author),
        canary_values_per_day=rate.values_per_day * share,
        canary_reader_count=estimate_canary_readers(rate, share=share),
        margin=margin,
        min_prompts=min_prompts,
    )


def estimate_canary_readers(rate: VoteRate, *, share: float) -> int:
    """Estimate how many distinct readers the longest canary would reach.

    Readers are drawn anew each day, and each votes on values_per_day/reader_count of the days. The
    canary reaches a reader with probability 1 − (1 − share)^(the reader's days with a vote).
    """
    if not rate.reader_count:
        return 0
    days = MAX_CANARY_DAYS * rate.values_per_day / rate.reader_count
    return int(rate.reader_count * (1.0 - (1.0 - share) ** days))


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
