"""Whether there is something to learn for an author's routing now: labels to buy, a policy to fit.

Belongs here: the decision and its one clause. Does not belong here: asking tables and Dagster
(`twin_sensors/learning.py`), buying and fitting (`twin_assets/serving`).

A policy lapses with the version, the paid model or the embedder that its labels are of; until it is
fitted anew everything is answered as without it. Labels are bought in portions, as the month's
money allows. A run that found nothing more to buy is not repeated before something has changed:
questions have come, the month has begun anew, or another version answers.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

# Of a label: two passages in the prompt, an answer of usual length.
LABEL_TOKENS = (450, 120)


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
        label_usd: what one costs, about.
        changed_at: of the newest question or the month's beginning, whichever is later.
        learned_at: when the last run that succeeded began; None: there was none.
    """

    now_of: LabelsOf | None
    policy_of: LabelsOf | None
    labels: int
    wanted: int
    usd_left: float
    label_usd: float
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
    if state.policy_of is not None and (other := _other(state.policy_of, state.now_of)):
        return LearningDecision(True, f"the policy has lapsed: its labels are of another {other}")
    if state.labels >= state.wanted:
        return LearningDecision(False, f"{state.labels:,} labels, as many as are wanted")
    if state.usd_left < state.label_usd:
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
