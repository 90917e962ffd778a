"""Choose the model by the routing rules, then, after retrieval, by the author's fitted policy.

Scope: applying the rules, and the template of the chosen version. Out of scope: the rules
(`routing/`), the fitted policy's score of a question (`question_routing.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import replace

from twin_resources.authors.answer_forms import NO_VERSION_REASON, ProseRelease
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.request.response_format import unsupported_format_refusal
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, ScoredQuestion
from twin_resources.gateway.routing.rules import choose_version
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES, Template
from twin_resources.registry.route_names import BASE, PAID


async def choose_model(exchange: Exchange, services: RequestServices) -> Exchange:
    """Choose the version by the rules.

    Raises:
        RefusedError: see `rules.choose_version`; 400 if the client requests JSON from a paid model
            that does not support it.
    """
    request = exchange.chat_request
    lacks_json = request.response_format is not None and not services.paid_supports_json
    if lacks_json and request.alias == PAID:
        raise unsupported_format_refusal(request.model)
    paid_problem = exchange.paid_problem or (
        "the paid model does not support JSON" if lacks_json else None
    )
    return await _apply_rules(replace(exchange, paid_problem=paid_problem), services)


async def score_models(exchange: Exchange, services: RequestServices) -> Exchange:
    """Choose again by the author's fitted policy, which needs the question's vector."""
    if exchange.is_answered:
        return exchange
    scored_question = await services.router.score(
        exchange.snapshot,
        exchange.chat_request,
        exchange.decision,
        retrieved_passages=exchange.retrieved_passages,
    )
    if scored_question is None:
        return exchange
    prose_release = exchange.decision.prose_release  # the form of the answer is already set
    exchange = await _apply_rules(exchange, services, scored_question)
    return replace(exchange, decision=replace(exchange.decision, prose_release=prose_release))


async def _apply_rules(
    exchange: Exchange, services: RequestServices, scored_question: ScoredQuestion | None = None
) -> Exchange:
    """Choose the version, and check whether the paid model may be called.

    The check runs only if the rules chose a paid model that the client did not name.
    """
    request = RouteRequest(
        exchange.chat_request, exchange.key, exchange.day, exchange.paid_problem, scored_question
    )
    decision = choose_version(request, exchange.snapshot)
    paid_problem = exchange.paid_problem
    if (
        decision.server_key == PAID
        and not exchange.chat_request.has_named_version
        and paid_problem is None
    ):
        paid_problem = await asyncio.to_thread(
            services.paid_problem, exchange.key, exchange.chat_request.author
        )
        if paid_problem:
            decision = choose_version(
                replace(request, paid_problem=paid_problem), exchange.snapshot
            )
    decision, template = resolve_template(exchange.snapshot, decision)
    return replace(exchange, paid_problem=paid_problem, decision=decision, template=template)


def resolve_template(snapshot: Snapshot, decision: RouteDecision) -> tuple[RouteDecision, Template]:
    """Return the decision with its engine, and the template that the version names.

    If that template is unknown here, the base model replaces the version.
    """
    decision = replace(decision, engine=snapshot.get_server(decision.server_key).engine)
    if not decision.template:
        return decision, DEFAULT_TEMPLATE
    template = TEMPLATES.get(decision.template)
    if template is not None:
        return decision, template
    note = f"template {decision.template} of {decision.version} is unknown here"
    if not snapshot.is_ready(BASE):
        note = f"{note}: the default template is used"
        return replace(decision, degraded=(*decision.degraded, note)), DEFAULT_TEMPLATE
    base_decision = replace(
        decision,
        server_key=BASE,
        version=BASE,
        checkpoint="",
        template="",
        degraded=(*decision.degraded, f"{note}: answered by base"),
        engine=snapshot.get_server(BASE).engine,
        prose_release=ProseRelease(NO_VERSION_REASON),
        is_tuned=False,
        is_elsewhere=False,
        provider="",
    )
    return base_decision, DEFAULT_TEMPLATE
