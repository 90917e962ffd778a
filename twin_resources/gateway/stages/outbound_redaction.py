"""Redact a request for a paid provider to what the author has consented to.

Scope: removing posts, personal data and secrets from text that leaves the machine, and recording
which parts remain. Out of scope: which model answers (`routing/`), masking for every model by the
author's file (`guardrails.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace

from twin_resources.authors.consent import consented_on
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.privacy import redact
from twin_resources.registry.route_names import PAID

NO_CONSENT = "no consent of the author: the paid model is shown no post"


async def redact_outbound(exchange: Exchange, _: RequestServices) -> Exchange:
    """Remove personal data and secrets from readers' texts, and passages without consent.

    A request to a model on this machine is not changed.
    """
    chosen = exchange.chosen
    if exchange.is_answered or not (chosen.server_key == PAID or chosen.provider):
        return exchange

    def clean(text: str) -> str:
        return redact(text, region=exchange.author.language).text

    asked, found, notes = exchange.asked, exchange.passages, exchange.notes
    turns = tuple(
        {"role": turn["role"], "content": clean(turn["content"])} for turn in asked.history
    )
    if consented_on(exchange.author) is None and found.passages:
        found, notes = replace(found, passages=()), (*notes, NO_CONSENT)
    saw = ["question"]
    saw += [f"{len(turns)} earlier turns"] if turns else []
    saw += [f"{len(found.passages)} passages"] if found.passages else []
    return replace(
        exchange,
        asked=replace(
            asked, question=clean(asked.question), system=clean(asked.system), history=turns
        ),
        passages=found,
        before=(asked, exchange.passages),
        provider_saw=", ".join(saw),
        notes=notes,
    )
