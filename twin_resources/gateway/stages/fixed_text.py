"""Answer with a fixed text: danger and refusals before the search, other kinds after it."""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from twin_resources.access.refusals import bad_request
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import VOICE
from twin_resources.authors.front_desk_settings import DESK_KINDS, DeskKind
from twin_resources.gateway.exchange.exchange import Exchange, FixedText
from twin_resources.gateway.exchange.guardrails import GuardedInput, guard_input
from twin_resources.gateway.front_desk.answers import front_desk_answer, rewriting_text, talk_text
from twin_resources.gateway.front_desk.message_kinds import (
    ORDINARY,
    ClassifiedMessage,
    classify_message,
)
from twin_resources.gateway.front_desk.rewriting_requests import (
    TalkKind,
    classify_talk_message,
)
from twin_resources.gateway.guards.guard_record import summarize_findings
from twin_resources.gateway.passage_finder import RetrievedPassages
from twin_resources.gateway.request.housekeeping import (
    HOUSEKEEPING,
    ProgramAnswer,
    housekeeping_answer,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.request.response_format import JSON_OBJECT, build_document
from twin_resources.gateway.stages.answer_form import resolve_requested_form
from twin_resources.gateway.stages.services import RequestServices

# How far a passage must be above the threshold to answer a certainly private question. Of 5 English
# tuning messages to four authors, one has a passage .10 above it ("how old is her daughter and …"),
# and no other reaches it.
_PRIVATE_MARGIN = 0.12


async def screen_message(exchange: Exchange, _: RequestServices) -> Exchange:
    """Mask the question, and answer it at once if no passage may do so.

    These are a chat program's own requests, danger, insults, what the guards refuse, and messages
    about the conversation itself.

    Raises:
        RefusedError: 400 if the client's JSON schema has no place for the text.
    """
    chat_request, author = exchange.chat_request, exchange.author
    if program_answer := housekeeping_answer(chat_request):
        text = _format_program_answer(program_answer, chat_request)
        return replace(exchange, fixed_text=FixedText(text, front_desk=HOUSEKEEPING))
    # In a thread, because embedding the message takes 25 ms of CPU time.
    result, message = await asyncio.to_thread(_screen, chat_request, author)
    answer = FixedText(result.guard_refusal, guard_refusal=result.guard_refusal)
    if message.kind == "danger" or (message.kind == "insult" and not answer.text):
        answer = _desk_text(message.kind, exchange)
    elif not answer.text and (kind := await asyncio.to_thread(_talk_kind, exchange)):
        question, history = chat_request.question, result.chat_request.history
        text = (
            talk_text(question, author, history)
            if kind == "talk"
            else rewriting_text(question, author)
        )
        answer = FixedText(text, front_desk=kind)
    if answer.text and chat_request.response_format is not None:
        document = _build_schema_document(answer.text, chat_request.response_format)
        answer = replace(answer, text=document)
    return replace(
        exchange,
        chat_request=result.chat_request,
        message=message,
        fixed_text=answer,
        guard_records=summarize_findings("input", result.findings),
    )


async def answer_at_front_desk(exchange: Exchange, _: RequestServices) -> Exchange:
    """Answer a message that no passage answers, or say above the passages who answers."""
    message = exchange.message
    if exchange.fixed_text.text:
        return exchange
    chat_request = exchange.chat_request
    is_for_reader = not chat_request.has_named_version and chat_request.response_format is None
    is_never = exchange.retrieved_passages.is_declined and is_for_reader
    if is_never or (message.kind != "ordinary" and not _has_answering_passage(exchange)):
        # Nothing was retrieved for the program's own text.
        kind = "never" if is_never or message.kind == "ordinary" else message.kind
        return replace(
            exchange,
            fixed_text=_desk_text(kind, exchange),
            retrieved_passages=RetrievedPassages(),
            has_searched_quotes=False,
        )
    if message.may_ask_identity:
        notice = front_desk_answer("identity", exchange.author, exchange.chat_request.question)
        return replace(exchange, fixed_text=FixedText(notice=notice))
    return exchange


def _has_answering_passage(exchange: Exchange) -> bool:
    """Return whether a passage goes before the program's text.

    Only a private question may be certain of its kind and still be answered by the posts: an author
    may have written about house and dog. It needs a passage clearly above the threshold.
    """
    result, message = exchange.retrieved_passages.quote_result, exchange.message
    if result is None or not result.quotes:
        return False
    margin = result.best_score - result.threshold
    return not message.is_certain or (message.kind == "private" and margin >= _PRIVATE_MARGIN)


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


def _desk_text(kind: DeskKind | Literal["never"], exchange: Exchange) -> FixedText:
    titles = [passage.title for passage in exchange.retrieved_passages.nearest]
    question = exchange.chat_request.question
    return FixedText(
        front_desk_answer(kind, exchange.author, question, titles=titles), front_desk=kind
    )


def _screen(chat_request: ChatRequest, author: Author) -> tuple[GuardedInput, ClassifiedMessage]:
    return guard_input(chat_request, author), _classify(chat_request, author)


def _talk_kind(exchange: Exchange) -> TalkKind:
    """Return the kind of a message about earlier answers that no model may answer."""
    chat_request = exchange.chat_request
    is_for_model = bool(chat_request.alias) or resolve_requested_form(exchange)[0] == VOICE
    if is_for_model or not chat_request.earlier_answers:
        return ""
    return classify_talk_message(chat_request.question)


def _classify(chat_request: ChatRequest, author: Author) -> ClassifiedMessage:
    """Return the kind of message, which is ordinary unless the front desk may answer.

    A request for a version or for JSON comes from a program (a judge or a teacher) with other
    people's texts in its prompt, so the model answers it. In drafts and batches, which may come
    from readers, the front desk answers only danger.
    """
    if chat_request.has_named_version or chat_request.response_format is not None:
        return ORDINARY
    earlier_messages = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    message = classify_message(chat_request.question, earlier_messages)
    if message.kind == "danger":
        return message
    if chat_request.alias or chat_request.is_batch:
        return ORDINARY
    off = [kind for kind in DESK_KINDS if author.front_desk.get_text(kind) == ""]
    return ClassifiedMessage(
        "ordinary" if message.kind in off else message.kind,
        is_certain=message.is_certain,
        may_ask_identity=message.may_ask_identity and "identity" not in off,
    )
