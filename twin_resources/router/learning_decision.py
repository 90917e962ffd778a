"""Whether there is something to learn for an author's routing now, and whether it pays.

Scope: the decision and its one clause, and the questions until labels have paid back.
Out of scope: asking tables and Dagster (`twin_sensors/learning.py`), buying and fitting
(`twin_assets/serving`).

A policy lapses with the version, the paid model or the embedder that its labels are of; until it is
fitted again everything is answered as without it. Labels are bought in portions, as the month's
money allows. A run that found nothing more to buy is not repeated before something has changed:
questions have come, the month has restarted, or another version answers. Nothing is bought where
a month's questions do not pay it back.
"""
# pyright: strict

from __future__ import annotations

import math
from dataclasses import dataclass

# Of a label: two passages in the prompt, an answer of usual length.
LABEL_TOKENS = (450, 120)
PAYS_WITHIN_DAYS = 30
# Of all-paid calls, by 1,500 labels at a margin of .03 on MMLU marks (`bench_routing.py`).
USUAL_SAVING = 0.229
_TWO_SIDED = 1.96


@dataclass(frozen=True)
class Payback:
    """What labels cost against what they save of asking the paid model everything.

    Attributes:
        to_buy: labels for which the paid model has not answered yet.
        saving: share of the questions that stays with the own model; `USUAL_SAVING` before a
            policy says it.
        asked: questions that a model answered in the last `PAYS_WITHIN_DAYS`.
        usd: of a paid answer; a label costs one.
    """

    to_buy: int
    saving: float
    asked: int
    usd: float

    @property
    def questions(self) -> float:
        """Until the labels have paid back, at any price; infinite: they never do."""
        if not self.to_buy:
            return 0.0
        return self.to_buy / self.saving if self.saving > 0 else math.inf

    @property
    def least_a_day(self) -> float:
        """Questions a day from which on they pay back in time."""
        return self.questions / PAYS_WITHIN_DAYS

    @property
    def pays(self) -> bool:
        return self.asked >= self.questions

    def saved_usd(self) -> tuple[float, float, float]:
        """US dollars in `PAYS_WITHIN_DAYS`: the value, and 95 % for a Poisson number of
        questions."""
        one, wide = self.usd * self.saving, _TWO_SIDED * math.sqrt(self.asked)
        return one * self.asked, one * max(0.0, self.asked - wide), one * (self.asked + wide)

    @property
    def said(self) -> str:
        a_day = f"{self.asked / PAYS_WITHIN_DAYS:,.0f} a day are asked"
        if math.isinf(self.questions):
            return "routing never pays: no question stays with the own model; use @paid"
        if not self.pays:
            return (
                f"routing does not pay: not worth it below {math.ceil(self.least_a_day):,} "
                f"questions a day, and {a_day}; use @paid"
            )
        value, low, high = self.saved_usd()
        after = (
            f"routing pays after {math.ceil(self.questions):,} questions"
            if self.to_buy
            else "routing pays: no label has to be bought"
        )
        return f"{after}; {a_day}, which saves ${value:.2f} a month (${low:.2f} to ${high:.2f})"


@dataclass(frozen=True)
class LabelsOf:
    """What labels, or a policy fitted to them, are of.

    Attributes:
        own: checkpoint of the version that answers here.
        paid: LiteLLM name.
        embedder: revision.
    """

    own: str
    paid: str
    embedder: str


@dataclass(frozen=True)
class LearningState:
    """What is known of one author; times in seconds since 1970.

    Attributes:
        now_of: what labels would be of now; None: no stable version answers on this machine.
        policy_of: of the policy in force; None: there is none.
        labels: that there are of `now_of`.
        wanted: at most (`Constants.routing_labels`).
        usd_left: for labels of this author, by the nearest limit.
        payback: of the labels that are missing.
        changed_at: of the newest question or the month's beginning, whichever is later.
        learned_at: when the last run that succeeded began; None: there was none.
    """

    now_of: LabelsOf | None
    policy_of: LabelsOf | None
    labels: int
    wanted: int
    usd_left: float
    payback: Payback
    changed_at: float
    learned_at: float | None


@dataclass(frozen=True)
class LearningDecision:
    """Whether to start a run, and why or why not, one clause."""

    learn: bool
    said: str


def decide_learning(state: LearningState) -> LearningDecision:
    """Whether a run would find something to buy or to fit."""
    if state.now_of is None:
        return LearningDecision(False, "no stable version that answers on this machine")
    missing = state.labels < state.wanted
    if missing and not state.payback.pays:
        return LearningDecision(False, state.payback.said)
    if state.policy_of is not None and (other := _other(state.policy_of, state.now_of)):
        return LearningDecision(True, f"the policy has lapsed: its labels are of another {other}")
    if not missing:
        return LearningDecision(False, f"{state.labels:,} labels, as many as are wanted")
    if state.usd_left < state.payback.usd and state.payback.to_buy >= state.wanted - state.labels:
        return LearningDecision(False, "the money for labels is used up")
    # without a label of this version the last run was another one's
    if state.labels and state.learned_at is not None and state.learned_at >= state.changed_at:
        return LearningDecision(False, "no question has come since the last run")
    return LearningDecision(True, f"{state.wanted - state.labels:,} labels are missing")


def _other(policy: LabelsOf, now: LabelsOf) -> str:
    for name, before, after in (
        ("version", policy.own, now.own),
        ("paid model", policy.paid, now.paid),
        ("embedder", policy.embedder, now.embedder),
    ):
        if before != after:
            return name
    return ""
