"""Choose whether the answer consists of quotations, of prose in the author's voice, or of both.

Scope: the requested form, and the form that the passages allow. Out of scope: the forms for which a
version is released (`authors/answer_forms.py`), the text of a quotation
(`models/quotes/answer_text.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twin_resources.access.refusals import RefusedError
from twin_resources.authors.answer_forms import VOICE, AnswerForm, resolve_form
from twin_resources.gateway.exchange.exchange import AnswerParts, Exchange
from twin_resources.gateway.front_desk.answers import (
    is_unread_language,
    not_found_text,
    quotation_notes,
)
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.models.quotes.answer_text import (
    MAX_NEAREST,
    AnswerOpening,
    render_closest,
    render_quotes,
)
from twin_resources.registry.route_names import DRAFT, QUOTES

UNCHECKED = "its sentences cannot be checked: the gate measured it with another judge"


async def choose_form(exchange: Exchange, services: RequestServices) -> Exchange:
    """Set the form of the answer; only a draft may show prose without quotations above it.

    Raises:
        RefusedError: 503 if the posts cannot be read and the answer needs them.
    """
    if exchange.fixed_text.text:
        return exchange
    release, cut = exchange.decision.prose_release, exchange.decision.prose_release.cut
    is_below_quotations = exchange.author.answer != VOICE  # prose alone is not judged by sentence
    if (
        cut is not None
        and is_below_quotations
        and services.passage_finder.create_sentence_judge(cut.judge) is None
    ):
        # The embedder or the rules have changed since the verdict; the next one releases it again.
        held = replace(release, why_not=UNCHECKED)
        exchange = replace(exchange, decision=replace(exchange.decision, prose_release=held))
    target_form, release_note = resolve_requested_form(exchange)
    notes = (*exchange.notes, *([release_note] if release_note else []))
    if target_form == VOICE:
        return replace(exchange, notes=notes)
    answer_parts, note = _choose_possible_form(exchange, target_form)
    return replace(exchange, answer_parts=answer_parts, notes=(*notes, *([note] if note else [])))


def resolve_requested_form(exchange: Exchange) -> tuple[AnswerForm, str]:
    """Return the requested form, and a note if prose alone is requested but not released.

    A client that names a version gets the prose of that version. A JSON response cannot contain a
    quotation.
    """
    chat_request, author, decision = exchange.chat_request, exchange.author, exchange.decision
    if chat_request.has_named_version or chat_request.response_format is not None:
        return VOICE, ""
    if chat_request.alias == DRAFT:
        return "quote_and_voice", ""
    form = resolve_form(author.answer, decision.prose_release)
    if author.answer != VOICE or form == VOICE or decision.version == QUOTES:
        return form, ""
    hint = (
        f"; to force it, run `twin release {decision.version} --reason …`"
        if decision.checkpoint
        else ""
    )
    reason = decision.prose_release.why_not
    return form, f"{decision.version} is not released for voice ({reason}){hint}"


def _choose_possible_form(exchange: Exchange, target_form: AnswerForm) -> tuple[AnswerParts, str]:
    """Return the parts that the passages allow, and why an expected quotation is missing."""
    author, retrieved_passages = exchange.author, exchange.retrieved_passages
    quote_result = retrieved_passages.quote_result
    if quote_result is None or quote_result.reason:
        note = f"no quotation: {quote_result.reason}" if quote_result else ""
        if exchange.chat_request.alias == DRAFT:
            return AnswerParts(), note
        if retrieved_passages.missing_reason:
            raise RefusedError(
                503,
                "posts_unreadable",
                tried="quote the author's posts",
                found=retrieved_passages.missing_reason,
                next_step="try again in a few seconds; if it fails again, run `twin status` and "
                "read the gateway's log",
            )
        opening = AnswerOpening(f"No post by {author.name} can be quoted right now.")
        return AnswerParts("quote", opening), note
    quotes = quote_result.quotes
    question = exchange.chat_request.question
    languages: Any = {
        "languages": quote_result.languages,
        "known_languages": quote_result.known_languages,
    }
    if not quotes or is_unread_language(question, **languages):
        closest = retrieved_passages.nearest[:MAX_NEAREST]
        text = not_found_text(question, author, has_closest=bool(closest), **languages)
        opening = render_closest(text, closest)
        return AnswerParts("not_found", opening, nearest=closest, cited_passages=closest), ""
    quoted_ids = {quote.document_id for quote in quotes}
    sources = tuple(
        passage for passage in retrieved_passages.nearest if passage.document_id in quoted_ids
    )
    opening = render_quotes(quotes, **quotation_notes(question, author))
    return AnswerParts(target_form, opening, quotes, cited_passages=sources), ""
