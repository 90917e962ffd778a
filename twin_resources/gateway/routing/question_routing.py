"""Score a question with its author's fitted policy, at the pace of spending that the budget allows.

The policy lapses if the stable version, the paid model or the embedder of its labels changes;
questions are then answered as if there were no policy. The mathematics is in `router/`.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from twin_resources.gateway.routing.decision import RouteDecision, ScoredQuestion
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.router.pacing import SpendingPace
from twin_resources.router.routing_decision import choose_model, question_features

if TYPE_CHECKING:
    from twin_resources.access.account import RemainingBudget
    from twin_resources.gateway.passage_finder import RetrievedPassages
    from twin_resources.gateway.request.request_body import ChatRequest
    from twin_resources.router.policy_file import RoutingPolicy


@dataclass
class QuestionRouter:
    """A router that scores the questions to `twin/<author>` with the fitted policies.

    Attributes:
        paid_model: LiteLLM name; empty without a paid model, which disables routing.
        remaining_budget: returns the remaining budget for an author's questions, or None without a
            known limit; may block.
        clock: returns monotonic seconds.
    """

    paid_model: str = ""
    remaining_budget: Callable[[str], RemainingBudget | None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _paces: dict[str, SpendingPace] = field(default_factory=dict[str, SpendingPace])

    async def score(
        self,
        snapshot: Snapshot,
        chat_request: ChatRequest,
        own_decision: RouteDecision,
        *,
        retrieved_passages: RetrievedPassages,
    ) -> ScoredQuestion | None:
        """Return the policy's decision on a question.

        Args:
            own_decision: the choice before retrieval; only the author's own versions are scored.
            retrieved_passages: the passages, with the question's vector.

        Returns:
            The decision, or None if the author has no policy or nothing is scored.
        """
        policy = snapshot.routing.get(chat_request.author)
        if policy is None or not self.paid_model or own_decision.route not in {"stable", "canary"}:
            return None
        lapse_reason = self._find_lapse_reason(policy, snapshot, chat_request, retrieved_passages)
        if lapse_reason:
            return ScoredQuestion(policy, lapse_reason)
        features = question_features(
            policy,
            np.asarray(retrieved_passages.vector, np.float64),
            length=len(chat_request.question),
            closeness=retrieved_passages.closeness,
        )
        decision = choose_model(policy, features, step_index=await self._choose_step(policy))
        # Priced at the mean length of the labels' answers, because the length of this answer is
        # unknown.
        self._get_or_create_pace(policy).record_question(
            self.clock(), np.asarray(decision.gains), policy.prices
        )
        return ScoredQuestion(policy, decision=decision)

    def _find_lapse_reason(
        self,
        policy: RoutingPolicy,
        snapshot: Snapshot,
        chat_request: ChatRequest,
        found: RetrievedPassages,
    ) -> str:
        """Return why the policy is not used for this question, or empty if it is."""
        entry = snapshot.get_author_policy(chat_request.author)
        checkpoint = entry.stable.checkpoint if entry and entry.stable else ""
        if policy.models[0].model != checkpoint:
            return "the policy's labels are for another version"
        if policy.models[-1].model != self.paid_model:
            return f"the policy's labels are for {policy.models[-1].model}"
        if not snapshot.authors[chat_request.author].paid:
            return "the author does not allow the paid model (paid = false)"
        if chat_request.response_format is not None:
            return "the request asks for JSON, for which there are no labels"
        if found.vector is None:
            return found.missing_reason or "the question has no vector"
        if found.embedder != policy.embedder:
            return "the policy's labels are for another embedder"
        return ""

    async def _choose_step(self, policy: RoutingPolicy) -> int:
        pace, now = self._get_or_create_pace(policy), self.clock()
        if not pace.is_due(now):
            return pace.step_index
        budget = await asyncio.to_thread(self.remaining_budget, policy.author)
        if budget is None:
            return policy.active_step_index
        return pace.choose_step(
            now,
            policy.steps,
            policy.prices,
            certified_index=policy.active_step_index,
            remaining_usd=budget.remaining_usd,
            seconds_left=budget.seconds_left,
        )

    def _get_or_create_pace(self, policy: RoutingPolicy) -> SpendingPace:
        """Return a policy's pace, which is created at its first use."""
        return self._paces.setdefault(f"{policy.author} {policy.written_at}", SpendingPace())
