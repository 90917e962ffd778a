"""Choose the model by the routing rules, then, after retrieval, by the author's fitted policy.

Scope: applying the rules, and the template of the chosen version. Out of scope: a rule
(`routing/`), the fitted policy's score of a question (`question_routing.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import replace

from twin_resources.authors.answer_forms import NO_VERSION, ProseRelease
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.request.response_format import not_taken
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, ScoredQuestion
from twin_resources.gateway.routing.rules import choose
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES, Template
from twin_resources.registry.route_names import BASE, PAID


async def choose_model(exchange: Exchange, services: RequestServices) -> Exchange:
    """Choose the version by the rules.

    Raises:
        Refused: see `rules.choose`; 400 if the client named the paid model, which supports no JSON.
    """
    asked = exchange.asked
    unfit = asked.response_format is not None and not services.paid_takes_json
    if unfit and asked.alias == PAID:
        raise not_taken(asked.model)
    unpaid = exchange.unpaid or ("no JSON from the paid model" if unfit else None)
    return await _chosen(replace(exchange, unpaid=unpaid), services)


async def score_models(exchange: Exchange, services: RequestServices) -> Exchange:
    """Choose again by the author's fitted policy, which reads the question's vector."""
    if exchange.is_answered:
        return exchange
    scored = await services.router.score(
        exchange.snapshot, exchange.asked, exchange.chosen, found_passages=exchange.passages
    )
    if scored is None:
        return exchange
    prose = exchange.chosen.prose  # the form of the answer is already set
    exchange = await _chosen(exchange, services, scored)
    return replace(exchange, chosen=replace(exchange.chosen, prose=prose))


async def _chosen(
    exchange: Exchange, services: RequestServices, scored: ScoredQuestion | None = None
) -> Exchange:
    """Choose the version, and check whether the paid model may be asked.

    The check runs only where the paid model would answer without being named.
    """
    request = RouteRequest(exchange.asked, exchange.key, exchange.day, exchange.unpaid, scored)
    chosen = choose(request, exchange.snapshot)
    unpaid = exchange.unpaid
    if chosen.server_key == PAID and not exchange.asked.names_version and unpaid is None:
        unpaid = await asyncio.to_thread(services.paid_problem, exchange.key, exchange.asked.author)
        if unpaid:
            chosen = choose(replace(request, paid_problem=unpaid), exchange.snapshot)
    chosen, template = with_template(exchange.snapshot, chosen)
    return replace(exchange, unpaid=unpaid, chosen=chosen, template=template)


def with_template(snapshot: Snapshot, chosen: RouteDecision) -> tuple[RouteDecision, Template]:
    """Return the choice with its engine, and the template that the version names.

    If that template is unknown here, the base model replaces the version.
    """
    chosen = replace(chosen, engine=snapshot.engine_of(chosen.server_key))
    if not chosen.template:
        return chosen, DEFAULT_TEMPLATE
    known = TEMPLATES.get(chosen.template)
    if known is not None:
        return chosen, known
    note = f"template {chosen.template} of {chosen.version} unknown here"
    if not snapshot.is_ready(BASE):
        note = f"{note}: the default one is used"
        return replace(chosen, degraded=(*chosen.degraded, note)), DEFAULT_TEMPLATE
    base = replace(
        chosen,
        server_key=BASE,
        version=BASE,
        checkpoint="",
        template="",
        degraded=(*chosen.degraded, f"{note}: answered by base"),
        engine=snapshot.engine_of(BASE),
        prose=ProseRelease(NO_VERSION),
        is_tuned=False,
        is_elsewhere=False,
        provider="",
    )
    return base, DEFAULT_TEMPLATE
