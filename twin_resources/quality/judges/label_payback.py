"""Estimate whether buying the missing labels for an author's routing pays off.

Scope: counting the stored labels and the routed questions.
Out of scope: the rule (`router/learning_decision.py`), buying labels
(`twin_assets/serving/labeling.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.quality.judges import label_rows
from twin_resources.quality.ledger.routed_answers import count_routed_answers
from twin_resources.router.learning_decision import (
    LABEL_TOKENS,
    PAYBACK_DAYS,
    USUAL_SAVING,
    ComparedModels,
    Payback,
)
from twin_resources.router.policy_file import RoutingPolicy
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


def estimate_payback(
    settings: Settings,
    author: str,
    *,
    label_models: ComparedModels | None,
    policy: RoutingPolicy | None,
    tables: Tables,
    connection: sa.Connection,
    now: datetime,
) -> tuple[int, Payback]:
    """Return the number of labels for `label_models`, and the payback of the missing labels."""
    label_count = reusable_count = 0
    if label_models is not None and tables.exists(label_rows.TABLE, author):
        columns = ["own", "paid", "embedder", "source", "prompt_id"]
        rows = tables.read(label_rows.TABLE, author, columns=columns)
        label_count, reusable_count = label_rows.count_labels(
            rows, own=label_models.own, paid=label_models.paid, embedder=label_models.embedder
        )
    answer_counts = count_routed_answers(
        connection, author, since=now - timedelta(days=PAYBACK_DAYS)
    )
    payback = Payback(
        missing_label_count=max(0, settings.routing_labels - label_count - reusable_count),
        saved_share=USUAL_SAVING if policy is None else 1.0 - policy.step.kept,
        question_count=answer_counts.own + answer_counts.paid,
        answer_usd=answer_price_usd(
            settings.paid_model, prompt_tokens=LABEL_TOKENS[0], answer_tokens=LABEL_TOKENS[1]
        ),
    )
    return label_count, payback
