"""Compute the scores that the gateway itself measures for an answer's trace.

Scope: names, ids and values of the scores. These are the support of an answer's prose by its
passages (quotations are the author's own words and are not judged), seconds, US dollars, the best
quotation's score and threshold, and the findings of the guards.
Out of scope: feedback from readers (`feedback.py`), judges, which also read the question.

Support is lexical: it detects invented names, and numbers of four or more digits, but not faulty
reasoning. Word overlap with the source: Maynez et al., 2020, https://aclanthology.org/2020.acl-main.173.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.guards.guard_record import guard_scores
from twin_resources.models.quotes.answer_text import extract_prose
from twin_resources.observability.langfuse.outbox import QueuedScore, score_id
from twin_resources.observability.langfuse.score_names import (
    QUOTATIONS,
    QUOTE_SCORE,
    QUOTE_THRESHOLD,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES

SUPPORT, LATENCY, COST = "support", "latency_s", "cost_usd"
# A separate environment, so that queries for scores of readers and judges exclude these.
ENVIRONMENT = "measured"
WRITTEN_FORMS = ("voice", "quote_and_voice")
_LONGER_WORD = re.compile(r"[^\W_]{4,}")  # shorter ones are mostly function words


def lexical_support(answer: str, passages: str) -> float | None:
    """Return the share of the answer's words that the passages contain, from 0 to 1.

    Only distinct words and numbers of four or more characters count.

    Returns:
        The share, or None if the answer has no such word or there are no passages.
    """
    words = set(_LONGER_WORD.findall(answer.lower()))
    if not words or not passages.strip():
        return None
    return len(words & set(_LONGER_WORD.findall(passages.lower()))) / len(words)


def extract_passages(messages: Sequence[Mapping[str, Any]], *, template: str) -> str:
    """Return the text above the question in the last message.

    Args:
        messages: the rendered prompt.
        template: hash of the prompt template. A reader's line that contains the template's label is
            marked as the reader's, so the last label is the template's.
    """
    content = str(messages[-1].get("content", "")) if messages else ""
    label = TEMPLATES.get(template, DEFAULT_TEMPLATE).question.partition("{question}")[0]
    return content.rpartition(f"\n\n{label}")[0]


def automatic_scores(
    record: RequestRecord,
    *,
    answer: str,
    messages: Sequence[Mapping[str, Any]],
    latency_s: float | None,
) -> list[QueuedScore]:
    """Return the scores of one answer; values that could not be measured are omitted.

    Args:
        record: the record of the request.
        answer: the text of the answer.
        messages: the rendered prompt.
        latency_s: seconds from the call of the model to the end of the answer.
    """
    support_share, quote_result = None, record.quote_result
    if record.sources and record.answer_form in WRITTEN_FORMS:
        passages = extract_passages(messages, template=record.template)
        support_share = lexical_support(extract_prose(answer), passages)
    values = {
        SUPPORT: support_share,
        LATENCY: latency_s,
        COST: record.cost.usd,
        QUOTE_SCORE: quote_result.best_score if quote_result else None,
        QUOTE_THRESHOLD: quote_result.threshold if quote_result else None,
        QUOTATIONS: float(len(record.quotes)) if quote_result else None,
        **guard_scores(record.guard_records),
    }
    return [
        QueuedScore(
            id=score_id(name, record.trace_id),
            trace_id=record.trace_id,
            name=name,
            value=round(value, 9),
            metadata={"twin.by": "gateway", "twin.author": record.chat_request.author},
            environment=ENVIRONMENT,
        )
        for name, value in values.items()
        if value is not None
    ]
