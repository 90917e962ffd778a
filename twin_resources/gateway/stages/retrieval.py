"""What the author's posts hold for a question.

Scope: asking for passages and quotations, and guarding them. Out of scope: how they
are found (`found_passages.py`), what is made of them (`answer_form.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import replace

from twin_resources.authors.answer_forms import VOICE
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.exchange.guardrails import guard_passages
from twin_resources.gateway.guards.guard_record import records
from twin_resources.gateway.stages.answer_form import wanted_form
from twin_resources.gateway.stages.services import RequestServices


async def retrieve(exchange: Exchange, services: RequestServices) -> Exchange:
    """Find passages, and quotations where the answer may show one.

    Raises:
        Refused: 429 as many questions wait as may.
    """
    if exchange.fixed.text:
        return exchange
    author = exchange.author
    wanted, _ = wanted_form(exchange)
    found = await services.passages.find(
        author.slug,
        exchange.asked.searches,
        token_budget=author.context_tokens,
        with_quotes=wanted != VOICE,
        shown=exchange.asked.shown,
    )
    searched = found.quoted is not None and not found.quoted.reason
    passages, findings = await asyncio.to_thread(guard_passages, found, author)
    return replace(
        exchange,
        passages=passages,
        searched=searched,
        guarded=(*exchange.guarded, *records("passages", findings)),
        notes=(*exchange.notes, *([passages.missing] if passages.missing else [])),
    )
