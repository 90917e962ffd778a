"""Apply an author's fitted policy, which may send a question to a more expensive model.

Scope: whether the policy applies to a question, the version that it chooses, and the note for the
trace and the reader. Out of scope: the mathematics (`router/`), the pace of spending
(`question_routing.py`).

The policy applies to both the canary and the stable version. Otherwise the canary's trial would
compare easy questions with all questions. The policy lapses if the stable version, the paid model
or the embedder of its labels changes; questions are then answered as if there were no policy. It
does not apply to a version that replaces another version without a server.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, RoutingNote
from twin_resources.gateway.routing.decision_builders import paid_decision
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import decision_if_serving
from twin_resources.registry.route_names import PAID, ROUTED_PREFIX

if TYPE_CHECKING:
    from twin_resources.gateway.passage_finder import RetrievedPassages
    from twin_resources.gateway.request.request_body import ChatRequest
    from twin_resources.router.policy_file import RoutingPolicy
    from twin_resources.router.routing_decision import RoutingDecision

# A prompt with two passages has about 450 tokens and an answer about 120.
PROMPT_SHARE = 0.8


def route_by_policy(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the policy's choice, the drawn version or a more expensive model, with the reason."""
    scored_question = request.scored_question
    if scored_question is None:
        return None
    own_decision = decision_if_serving(request, snapshot, "canary") or decision_if_serving(
        request, snapshot, "stable"
    )
    if own_decision is None:
        return None
    policy, routing = scored_question.policy, scored_question.decision
    if routing is None:
        return replace(
            own_decision, routing_note=RoutingNote(f"not routed: {scored_question.lapse_reason}")
        )
    if routing.model_index == 0:
        return replace(
            own_decision,
            degraded=(*own_decision.degraded, *_margin_deviation(routing)),
            routing_note=_routing_note(policy, routing, other_index=1),
        )
    if problem := request.paid_problem:
        reason = f"{ROUTED_PREFIX}{PAID}, {problem}: answered by the author's model"
        note = _routing_note(policy, routing, other_index=0, caveat=problem)
        return replace(own_decision, degraded=(*own_decision.degraded, reason), routing_note=note)
    return replace(
        paid_decision(f"{ROUTED_PREFIX}{PAID}"),
        degraded=_margin_deviation(routing),
        routing_note=_routing_note(policy, routing, other_index=0),
    )


def find_lapse_reason(
    policy: RoutingPolicy,
    snapshot: Snapshot,
    chat_request: ChatRequest,
    retrieved_passages: RetrievedPassages,
    *,
    paid_model: str,
) -> str:
    """Return why an author's policy is not used for this question, or empty if it is."""
    entry = snapshot.get_author_policy(chat_request.author)
    checkpoint = entry.stable.checkpoint if entry and entry.stable else ""
    if policy.models[0].model != checkpoint:
        return "the policy's labels are for another version"
    if policy.models[-1].model != paid_model:
        return f"the policy's labels are for {policy.models[-1].model}"
    if not snapshot.authors[chat_request.author].paid:
        return "the author does not allow the paid model (paid = false)"
    if chat_request.response_format is not None:
        return "the request asks for JSON, for which there are no labels"
    if retrieved_passages.vector is None:
        return retrieved_passages.missing_reason or "the question has no vector"
    if retrieved_passages.embedder != policy.embedder:
        return "the policy's labels are for another embedder"
    return ""


def _margin_deviation(decision: RoutingDecision) -> tuple[str, ...]:
    problem = "margin not held: the remaining budget is too small"
    return () if decision.is_margin_held else (problem,)


def _routing_note(
    policy: RoutingPolicy, decision: RoutingDecision, *, other_index: int, caveat: str = ""
) -> RoutingNote:
    reason = f"{decision.reason}; but {caveat}" if caveat else decision.reason
    other_model = policy.models[other_index]
    usd_per_million = (
        PROMPT_SHARE * other_model.usd_per_million_prompt
        + (1.0 - PROMPT_SHARE) * other_model.usd_per_million_answer
    )
    return RoutingNote(reason, decision.gain, other_model.name, usd_per_million)
