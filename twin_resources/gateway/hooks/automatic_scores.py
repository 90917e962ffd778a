"""What the gateway itself measures of an answer, as scores on its trace.

Scope: support of the answer by its passages, seconds, dollars, how near its quotations lie
and from where on one is shown, what the guards found; their names and ids.
Out of scope: readers' feedback (`feedback.py`), judges (they read what was asked as well).

Support is lexical: it sees invented names and numbers and no wrong logic. Word overlap against the
source: Maynez et al., 2020, https://aclanthology.org/2020.acl-main.173.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.guards.guard_record import guard_scores
from twin_resources.observability.langfuse.outbox import QueuedScore, score_id
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES

SUPPORT, LATENCY, COST = "support", "latency_s", "cost_usd"
QUOTE_SCORE, QUOTE_THRESHOLD, QUOTATIONS = "quote_score", "quote_threshold", "quotations"
# Of their own, so that who reads what readers and judges said need not page through these.
ENVIRONMENT = "measured"
_LONGER_WORD = re.compile(r"[^\W_]{4,}")  # shorter ones are mostly function words


def support(answer: str, passages: str) -> float | None:
    """Share of the answer's distinct words of four letters and more that the passages hold, 0–1.

    None: the answer has no such word, or there are no passages.
    """
    words = set(_LONGER_WORD.findall(answer.lower()))
    if not words or not passages.strip():
        return None
    return len(words & set(_LONGER_WORD.findall(passages.lower()))) / len(words)


def passages_of_prompt(messages: Sequence[Mapping[str, Any]], *, template: str) -> str:
    """What stands above the question in the last message.

    Args:
        template: its hash. A reader's own line with the question's mark is marked as the reader's.
    """
    content = str(messages[-1].get("content", "")) if messages else ""
    label = TEMPLATES.get(template, DEFAULT_TEMPLATE).question.partition("{question}")[0]
    return content.rpartition(f"\n\n{label}")[0]


def automatic_scores(
    answering: RequestRecord,
    *,
    answer: str,
    messages: Sequence[Mapping[str, Any]],
    latency_s: float | None,
) -> list[QueuedScore]:
    """The scores of one answer; what could not be measured is left out.

    Args:
        messages: the rendered prompt.
        latency_s: seconds from the call of the model to the end of the answer.
    """
    supported, quoted = None, answering.quoted
    if answering.sources:
        passages = passages_of_prompt(messages, template=answering.template)
        supported = support(answer, passages)
    measured = {
        SUPPORT: supported,
        LATENCY: latency_s,
        COST: answering.cost.usd,
        QUOTE_SCORE: quoted.best if quoted else None,
        QUOTE_THRESHOLD: quoted.threshold if quoted else None,
        QUOTATIONS: float(len(answering.quotes)) if quoted else None,
        **guard_scores(answering.guarded),
    }
    return [
        QueuedScore(
            id=score_id(name, answering.trace_id),
            trace_id=answering.trace_id,
            name=name,
            value=round(value, 9),
            metadata={"twin.by": "gateway", "twin.author": answering.asked.author},
            environment=ENVIRONMENT,
        )
        for name, value in measured.items()
        if value is not None
    ]
