"""Render the prompt of the chosen model and of its fallback.

Scope: the turns that fit, the client's system message, and rendering. Out of scope: the templates
(`prompt/templates.py`), counting tokens (`prompt_length.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from twin_resources.authors import FREQUENCY_PENALTY, Author
from twin_resources.gateway.exchange.exchange import Exchange, Fallback
from twin_resources.gateway.request.prompt_length import (
    DEFAULT_CONTEXT_TOKENS,
    PAID_CONTEXT_TOKENS,
    fit_history,
    token_counter,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.rules import choose_fallback
from twin_resources.gateway.stages.model_choice import resolve_template
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.models.quotes.answer_text import extract_prose
from twin_resources.prompt.templates import Template, render
from twin_resources.registry.route_names import DRAFT, PAID

SYSTEM_MESSAGES = "system messages"
# About 250 tokens; the passages of a prompt have about 450.
MAX_NOTE_CHARACTERS = 1000


async def render_prompt(exchange: Exchange, services: RequestServices) -> Exchange:
    """Render the prompt with as many earlier turns as fit into the model's context."""
    request, author = exchange.chat_request, exchange.author
    note, truncation_note = _build_system_note(request, author)
    ignored_parameters = (SYSTEM_MESSAGES,) if request.system and not note else ()
    sampling = _sampling_parameters(request, author)
    messages, dropped_count, max_tokens = _render_in_context(
        exchange, services, exchange.decision.server_key, exchange.template, sampling["max_tokens"]
    )
    notes = [truncation_note] if truncation_note else []
    if dropped_count and not exchange.is_answered:
        notes.append(f"{dropped_count} earlier turns were left out")
    return replace(
        exchange,
        sampling=sampling | {"max_tokens": max_tokens},
        ignored_parameters=(*exchange.ignored_parameters, *ignored_parameters),
        notes=(*exchange.notes, *notes),
        messages=messages,
    )


async def prepare_fallback(exchange: Exchange, services: RequestServices) -> Exchange:
    """Render the prompt of the version that answers if the chosen one fails."""
    decision, author = exchange.decision, exchange.author
    if exchange.is_answered:
        return exchange
    fallback_decision = choose_fallback(exchange.snapshot, author.slug, decision)
    if fallback_decision is None:
        return exchange
    if fallback_decision.prose_release.why_not and not decision.prose_release.why_not:
        return exchange  # the fallback's prose is not released, unlike that of the chosen version
    fallback_decision, template = resolve_template(exchange.snapshot, fallback_decision)
    meter = services.meter(fallback_decision.server_key)
    request, passages = exchange.unredacted_inputs or (
        exchange.chat_request,
        exchange.retrieved_passages,
    )
    original_exchange = replace(exchange, chat_request=request, retrieved_passages=passages)
    messages, _, max_tokens = _render_in_context(
        original_exchange,
        services,
        fallback_decision.server_key,
        template,
        exchange.sampling["max_tokens"],
    )
    recorded_decision = decision_for_statistics(fallback_decision, request)
    fallback = Fallback(recorded_decision, template.hash, messages, meter, max_tokens)
    return replace(exchange, fallback=fallback)


def decision_for_statistics(decision: RouteDecision, chat_request: ChatRequest) -> RouteDecision:
    """Return the decision for the statistics; drafts are excluded from those of the policy."""
    if chat_request.alias != DRAFT:
        return decision
    return replace(decision, route=f"alias:{DRAFT}", propensity=1.0)


def _render(
    exchange: Exchange,
    services: RequestServices,
    template: Template,
    history: Sequence[Mapping[str, str]],
) -> list[dict[str, str]]:
    author = exchange.author
    return render(
        template,
        author_name=author.name,
        question=exchange.chat_request.question,
        passages=exchange.retrieved_passages.passages,
        history=history,
        note=_build_system_note(exchange.chat_request, author)[0],
        marks=services.control_marks,
    )


def _render_in_context(
    exchange: Exchange,
    services: RequestServices,
    server_key: str,
    template: Template,
    max_tokens: int,
) -> tuple[list[dict[str, str]], int, int]:
    """Return the prompt with the turns that fit into a server's context.

    Returns:
        The prompt, the number of turns dropped, and the `max_tokens` that fit. An assistant's turn
        is reduced to its prose.
    """
    turns = [
        turn
        if turn["role"] == "user"
        else {"role": "assistant", "content": extract_prose(turn["content"])}
        for turn in exchange.chat_request.history
    ]
    is_paid = server_key == PAID
    server_context = exchange.snapshot.get_server(server_key).context
    context_tokens = PAID_CONTEXT_TOKENS if is_paid else server_context
    prompt = _render(exchange, services, template, ())
    history, dropped_count, max_tokens = fit_history(
        [turn for turn in turns if turn["content"]],
        prompt=prompt,
        context_tokens=context_tokens or services.base_context or DEFAULT_CONTEXT_TOKENS,
        answer_tokens=max_tokens,
        count_tokens=token_counter("" if is_paid else services.base_folder),
    )
    if history:
        prompt = _render(exchange, services, template, history)
    return prompt, dropped_count, max_tokens


def _build_system_note(chat_request: ChatRequest, author: Author) -> tuple[str, str]:
    """Return the part of the system messages that the prompt shows, and a note if it is cut."""
    if author.system_messages == "ignore":
        return "", ""
    if len(chat_request.system) <= MAX_NOTE_CHARACTERS:
        return chat_request.system, ""
    message = f"the system message was truncated to {MAX_NOTE_CHARACTERS:,} characters"
    return chat_request.system[:MAX_NOTE_CHARACTERS], message


def _sampling_parameters(chat_request: ChatRequest, author: Author) -> dict[str, Any]:
    defaults = {
        "temperature": author.temperature,
        "frequency_penalty": FREQUENCY_PENALTY,
        "max_tokens": author.max_tokens,
    }
    return defaults | dict(chat_request.sampling)
