"""Determines whether buying the missing labels for an author's routing pays.

Scope: counting labels and questions. Out of scope: the rule (`router/learning_decision.py`),
buying labels (`twin_assets/serving/labelling.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from twin_resources.access.paid_budget import price_of
from twin_resources.quality.judges import label_rows
from twin_resources.quality.ledger.routed import routed_answers
from twin_resources.router.learning_decision import (
    LABEL_TOKENS,
    PAYS_WITHIN_DAYS,
    USUAL_SAVING,
    LabelsOf,
    Payback,
)
from twin_resources.router.policy_file import RoutingPolicy
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


def payback_of(
    settings: Settings,
    author: str,
    *,
    of: LabelsOf | None,
    policy: RoutingPolicy | None,
    tables: Tables,
    connection: sa.Connection,
    at: datetime,
) -> tuple[int, Payback]:
    """Return the number of labels of the models `of`, and the payback of the missing ones."""
    labels = kept = 0
    if of is not None and tables.exists(label_rows.TABLE, author):
        columns = ["own", "paid", "embedder", "source", "prompt_id"]
        rows = tables.read(label_rows.TABLE, author, columns=columns)
        labels, kept = label_rows.counted(rows, own=of.own, paid=of.paid, embedder=of.embedder)
    answers = routed_answers(connection, author, since=at - timedelta(days=PAYS_WITHIN_DAYS))
    payback = Payback(
        to_buy=max(0, settings.routing_labels - labels - kept),
        saving=USUAL_SAVING if policy is None else 1.0 - policy.step.kept,
        asked=answers.own + answers.paid,
        usd=price_of(
            settings.paid_model, prompt_tokens=LABEL_TOKENS[0], answer_tokens=LABEL_TOKENS[1]
        ),
    )
    return labels, payback
