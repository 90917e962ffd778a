"""Choose whether the answer consists of quotations, of prose in the author's voice, or of both.

Scope: the requested form, and the form that the passages allow. Out of scope:
which forms a version is released for (`authors/answer_forms.py`), the text of a quotation
(`models/quotes/answer_text.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace

from twin_resources.access.refusals import Refused
from twin_resources.authors.answer_forms import VOICE, AnswerForm, given_form
from twin_resources.gateway.exchange.exchange import AnswerParts, Exchange
from twin_resources.gateway.front_desk import not_written_text, other_language_text
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.models.quotes.answer_text import (
    MAX_NEAREST,
    Opening,
    above_nearest,
    quoting,
)
from twin_resources.registry.route_names import DRAFT, QUOTES


async def choose_form(exchange: Exchange, _: RequestServices) -> Exchange:
    """Set the form of the answer. Only a draft may show prose without quotations above it.

    Raises:
        Refused: 503 if the posts cannot be read and the answer would need them.
    """
    if exchange.fixed.text:
        return exchange
    wanted, unreleased = wanted_form(exchange)
    notes = (*exchange.notes, *([unreleased] if unreleased else []))
    if wanted == VOICE:
        return replace(exchange, notes=notes)
    form, missing = _possible_form(exchange, wanted)
    return replace(exchange, form=form, notes=(*notes, *([missing] if missing else [])))


def wanted_form(exchange: Exchange) -> tuple[AnswerForm, str]:
    """Return the requested form, and a note if prose alone is requested but not released.

    A client that names a version gets its prose, and JSON has no place for a quotation.
    """
    asked, author, chosen = exchange.asked, exchange.author, exchange.chosen
    if asked.names_version or asked.response_format is not None:
        return VOICE, ""
    if asked.alias == DRAFT:
        return "quote_and_voice", ""
    form = given_form(author.answer, chosen.prose)
    if author.answer != VOICE or form == VOICE or chosen.version == QUOTES:
        return form, ""
    how = f"; `twin release {chosen.version} --reason …` forces it" if chosen.checkpoint else ""
    return form, f"{chosen.version} is not released for voice ({chosen.prose.why_not}){how}"


def _possible_form(exchange: Exchange, wanted: AnswerForm) -> tuple[AnswerParts, str]:
    """Return the form that the passages allow, and why an expected quotation is missing."""
    author, found = exchange.author, exchange.passages
    quoted = found.quoted
    if quoted is None or quoted.reason:
        missing = f"nothing quoted: {quoted.reason}" if quoted else ""
        if exchange.asked.alias == DRAFT:
            return AnswerParts(), missing
        if found.missing:
            raise Refused(
                503,
                "posts_unreadable",
                tried="quote the author's posts",
                found=found.missing,
                next_step="ask again in some seconds; `twin status` and the gateway's log say why",
            )
        nothing = Opening(f"No post of {author.name} can be quoted now.")
        return AnswerParts("quote", nothing), missing
    quotes = quoted.quotes
    other = other_language_text(
        exchange.asked.question,
        author,
        languages=quoted.languages,
        known=quoted.known_languages,
    )
    if other or not quotes:
        near = found.nearest[:MAX_NEAREST]
        text = other or not_written_text(exchange.asked.question, author, nearest=bool(near))
        nothing = above_nearest(text, near)
        return AnswerParts("not_written_about", nothing, nearest=near, cited=near), ""
    posts = {quote.document_id for quote in quotes}
    cited = tuple(passage for passage in found.nearest if passage.document_id in posts)
    return AnswerParts(wanted, quoting(quotes, before_prose=False), quotes, cited=cited), ""
