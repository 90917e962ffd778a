"""Answer with a fixed text before searching the posts: danger, the guards, the front desk.

Scope: the order of these three. Out of scope: recognizing a kind of message (`front_desk/`),
detection by the guards (`guards/`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from twin_resources.access.refusals import bad_request
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import VOICE
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.gateway.exchange.exchange import Exchange, FixedText
from twin_resources.gateway.exchange.guardrails import GuardedInput, guard_input, guard_passages
from twin_resources.gateway.front_desk.answers import front_desk_answer, rewriting_text
from twin_resources.gateway.front_desk.message_kinds import classify_message
from twin_resources.gateway.front_desk.rewriting_requests import is_rewriting_request
from twin_resources.gateway.guards.guard_record import summarize_findings
from twin_resources.gateway.request.housekeeping import (
    HOUSEKEEPING,
    ProgramAnswer,
    housekeeping_answer,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.request.response_format import JSON_OBJECT, build_document
from twin_resources.gateway.stages.answer_form import resolve_requested_form
from twin_resources.gateway.stages.services import RequestServices


async def answer_without_posts(exchange: Exchange, services: RequestServices) -> Exchange:
    """Mask the question, and answer it if no post is needed.

    For a reader's message, danger comes first, then the guards, then the front desk.

    Raises:
        RefusedError: 400 if the client's JSON schema has no place for the text.
    """
    author = exchange.author
    if program_answer := housekeeping_answer(exchange.chat_request):
        text = _format_program_answer(program_answer, exchange.chat_request)
        return replace(exchange, fixed_text=FixedText(text, front_desk=HOUSEKEEPING))
    result, kind = await asyncio.to_thread(_screen_message, exchange.chat_request, author)
    answer = FixedText(result.guard_refusal, guard_refusal=result.guard_refusal)
    may_be_rewriting_request = not result.guard_refusal and kind != "danger"
    if may_be_rewriting_request and await asyncio.to_thread(
        _is_refused_rewriting_request, exchange
    ):
        text = rewriting_text(exchange.chat_request.question, author)
        answer = FixedText(text, front_desk="rewriting")
    elif kind == "danger" or (kind and not result.guard_refusal):
        answer = await _build_front_desk_answer(kind, exchange, services)
    records = summarize_findings("input", result.findings)
    if answer.text and exchange.chat_request.response_format is not None:
        answer = replace(
            answer, text=_build_schema_document(answer.text, exchange.chat_request.response_format)
        )
    return replace(
        exchange, chat_request=result.chat_request, fixed_text=answer, guard_records=records
    )


def _format_program_answer(program_answer: ProgramAnswer, chat_request: ChatRequest) -> str:
    """Return the answer in the program's format; a list becomes the smallest valid document."""
    json_format = chat_request.response_format
    if json_format is None:
        return program_answer.text
    if json_format["type"] == JSON_OBJECT:
        return program_answer.document
    return _build_schema_document(
        program_answer.value if isinstance(program_answer.value, str) else "", json_format
    )


def _build_schema_document(text: str, response_format: Mapping[str, Any]) -> str:
    """Return the text as JSON in the client's format, so that its parser accepts it."""
    if document := build_document(text, response_format):
        return document
    raise bad_request(
        "response_format",
        action="answer according to the schema of the request",
        found=f"the schema has no unrestricted string for this fixed answer: {text}",
        next_step="ask a different question, or add a string to the schema",
        code="question_refused",
    )


async def _build_front_desk_answer(
    kind: DeskKind | Literal["possible_identity"], exchange: Exchange, services: RequestServices
) -> FixedText:
    author, chat_request = exchange.author, exchange.chat_request
    if kind == "possible_identity":
        return FixedText(notice=front_desk_answer("identity", author, chat_request.question))
    titles: list[str] = []
    if kind == "ability" and author.front_desk.get_text(kind) is None:
        result = await services.passage_finder.find(
            author.slug, chat_request.search_texts, token_budget=author.context_tokens
        )
        titles = [post.title for post in guard_passages(result, author)[0].nearest]
    text = front_desk_answer(kind, author, chat_request.question, titles=titles)
    return FixedText(text, front_desk=kind)


def _screen_message(
    chat_request: ChatRequest, author: Author
) -> tuple[GuardedInput, DeskKind | Literal["", "possible_identity"]]:
    """Return the guards' result and the kind of message.

    Runs in a thread, because embedding the message takes 25 ms of CPU time.
    """
    return guard_input(chat_request, author), _message_kind(chat_request, author)


def _is_refused_rewriting_request(exchange: Exchange) -> bool:
    """Return whether a reader requests a rewrite of an earlier answer and no model may write it."""
    chat_request = exchange.chat_request
    is_for_model = bool(chat_request.alias) or resolve_requested_form(exchange)[0] == VOICE
    has_answer = bool(chat_request.earlier_answers)
    return has_answer and not is_for_model and is_rewriting_request(chat_request.question)


def _message_kind(
    chat_request: ChatRequest, author: Author
) -> DeskKind | Literal["", "possible_identity"]:
    """Return the kind of message that the front desk answers, or empty for any other message.

    A request for a version or for JSON comes from a program (a judge or a teacher) with other
    people's texts in its prompt, so the model answers it. In drafts and batches, which may come
    from readers, the front desk answers only danger.
    """
    if chat_request.has_named_version or chat_request.response_format is not None:
        return ""
    earlier_messages = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    kind = classify_message(chat_request.question, earlier_messages)
    if kind == "ordinary":
        return ""
    if author.front_desk.get_text("identity" if kind == "possible_identity" else kind) == "":
        return ""
    return "" if kind != "danger" and (chat_request.alias or chat_request.is_batch) else kind
