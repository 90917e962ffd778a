"""Reduce a request for a paid provider to the parts that the author has consented to share.

Scope: removing posts, personal data and secrets from text that leaves the machine, and recording
which parts remain. Out of scope: the choice of the model (`routing/`), the masking that an author's
file sets for every model (`guardrails.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace

from twin_resources.authors.consent import find_consent_date
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.privacy import redact
from twin_resources.registry.route_names import PAID

NO_CONSENT = "the author has not consented: the paid model is shown no posts"


async def redact_outbound(exchange: Exchange, _: RequestServices) -> Exchange:
    """Remove personal data and secrets from readers' texts, and passages without consent.

    A request to a model on this machine is not changed.
    """
    decision = exchange.decision
    if exchange.is_answered or not (decision.server_key == PAID or decision.provider):
        return exchange

    def redact_text(text: str) -> str:
        return redact(text, region=exchange.author.language).text

    chat_request, notes = exchange.chat_request, exchange.notes
    retrieved_passages = exchange.retrieved_passages
    turns = tuple(
        {"role": turn["role"], "content": redact_text(turn["content"])}
        for turn in chat_request.history
    )
    if find_consent_date(exchange.author) is None and retrieved_passages.passages:
        retrieved_passages, notes = replace(retrieved_passages, passages=()), (*notes, NO_CONSENT)
    shared_parts = ["question"]
    shared_parts += [f"{len(turns)} earlier turns"] if turns else []
    if passages := retrieved_passages.passages:
        shared_parts.append(f"{len(passages)} passages")
    return replace(
        exchange,
        chat_request=replace(
            chat_request,
            question=redact_text(chat_request.question),
            system=redact_text(chat_request.system),
            history=turns,
        ),
        retrieved_passages=retrieved_passages,
        unredacted_inputs=(chat_request, exchange.retrieved_passages),
        provider_parts=", ".join(shared_parts),
        notes=notes,
    )
