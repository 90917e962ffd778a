"""Retrieve passages and quotations from the author's posts for a question.

Scope: requesting passages and quotations, and applying the guards to them. Out of scope: the search
(`passage_finder.py`), the form of the answer (`answer_form.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import replace

from twin_resources.authors.answer_forms import VOICE
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.exchange.guardrails import guard_passages
from twin_resources.gateway.guards.guard_record import summarize_findings
from twin_resources.gateway.stages.answer_form import resolve_requested_form
from twin_resources.gateway.stages.services import RequestServices


async def retrieve(exchange: Exchange, services: RequestServices) -> Exchange:
    """Find passages, and quotations if the answer may show one.

    Raises:
        RefusedError: 429 if the queue of questions is full.
    """
    if exchange.fixed_text.text:
        return exchange
    author = exchange.author
    form, _ = resolve_requested_form(exchange)
    result = await services.passage_finder.find(
        author.slug,
        exchange.chat_request.search_texts,
        token_budget=author.context_tokens,
        # The front desk gives way to a passage that answers.
        with_quotes=form != VOICE or exchange.message.kind != "ordinary",
        earlier_answers=exchange.chat_request.earlier_answers,
        page=exchange.chat_request.page,
        # The prompt of a judge or teacher, which names a version, holds other people's texts.
        has_dates=not exchange.chat_request.has_named_version,
    )
    has_searched = result.quote_result is not None and not result.quote_result.reason
    passages, findings = await asyncio.to_thread(guard_passages, result, author)
    return replace(
        exchange,
        retrieved_passages=passages,
        has_searched_quotes=has_searched,
        guard_records=(*exchange.guard_records, *summarize_findings("passages", findings)),
        notes=(*exchange.notes, *([passages.missing_reason] if passages.missing_reason else [])),
    )
