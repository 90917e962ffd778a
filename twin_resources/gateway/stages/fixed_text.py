"""Answer with a fixed text before the posts are searched: danger, the front desk, the guards.

Scope: their order. Out of scope: recognising a kind of message (`front_desk/`), detection by the
guards (`guards/`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from twin_resources.access.refusals import Refused
from twin_resources.authors import Author
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.gateway.exchange.exchange import Exchange, FixedText
from twin_resources.gateway.exchange.guardrails import GuardedInput, guard_input, guard_passages
from twin_resources.gateway.front_desk import answer_of, kind_of
from twin_resources.gateway.guards.guard_record import records
from twin_resources.gateway.request.housekeeping import (
    HOUSEKEEPING,
    ProgramAnswer,
    housekeeping_answer,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.request.response_format import JSON_OBJECT, document_of
from twin_resources.gateway.stages.services import RequestServices


async def answer_without_posts(exchange: Exchange, services: RequestServices) -> Exchange:
    """Mask the question, and answer it if no post is needed.

    For a reader's message, danger comes first, then the guards, then the front desk.

    Raises:
        Refused: 400 if the client's JSON schema has no place for the text.
    """
    author = exchange.author
    if program := housekeeping_answer(exchange.asked):
        text = _in_programs_form(program, exchange.asked)
        return replace(exchange, fixed=FixedText(text, front_desk=HOUSEKEEPING))
    guarded, kind = await asyncio.to_thread(_recognized, exchange.asked, author)
    if kind == "danger" or (kind and not guarded.withheld):
        fixed = FixedText(await _front_desk_answer(kind, exchange, services), front_desk=kind)
    else:
        fixed = FixedText(guarded.withheld, withheld=guarded.withheld)
    found = records("input", guarded.findings)
    if fixed.text and exchange.asked.response_format is not None:
        fixed = replace(fixed, text=_document(fixed.text, exchange.asked.response_format))
    return replace(exchange, asked=guarded.asked, fixed=fixed, guarded=found)


def _in_programs_form(program: ProgramAnswer, asked: ChatRequest) -> str:
    """Return a program's answer in its `response_format`; a list becomes the smallest document."""
    form = asked.response_format
    if form is None:
        return program.text
    if form["type"] == JSON_OBJECT:
        return program.document
    return _document(program.value if isinstance(program.value, str) else "", form)


def _document(text: str, form: Mapping[str, Any]) -> str:
    """Return the text as JSON in the client's format, so that its parser accepts it."""
    if document := document_of(text, form):
        return document
    raise Refused(
        400,
        "question_refused",
        tried="answer in the schema of the request",
        found=f"a fixed text, for which the schema has no free string: {text}",
        next_step="ask something else, or allow a string in the schema",
        param="response_format",
    )


async def _front_desk_answer(kind: DeskKind, exchange: Exchange, services: RequestServices) -> str:
    author, asked = exchange.author, exchange.asked
    titles: list[str] = []
    if kind == "ability" and author.front_desk.text(kind) is None:
        found = await services.passages.find(
            author.slug, asked.searches, token_budget=author.context_tokens
        )
        titles = [post.title for post in guard_passages(found, author)[0].nearest]
    return answer_of(kind, author, asked.question, titles=titles)


def _recognized(asked: ChatRequest, author: Author) -> tuple[GuardedInput, DeskKind | Literal[""]]:
    """Return the findings of guards and front desk. Runs off the event loop: a vector takes 25
    CPU-ms."""
    return guard_input(asked, author), _kind_of(asked, author)


def _kind_of(chat_request: ChatRequest, author: Author) -> DeskKind | Literal[""]:
    """Return the kind of message that the front desk answers, or empty if the posts answer.

    A request for a version or for JSON comes from a program (a judge or a teacher) with texts of
    others in its prompt, so the model answers it. In drafts and batches, which may come from
    readers, the front desk answers only danger.
    """
    if chat_request.names_version or chat_request.response_format is not None:
        return ""
    before = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    kind = kind_of(chat_request.question, before)
    if kind == "ordinary" or author.front_desk.text(kind) == "":
        return ""
    return "" if kind != "danger" and (chat_request.alias or chat_request.batch) else kind
