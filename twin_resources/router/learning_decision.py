"""Decide whether to buy labels or fit an author's routing policy now, and whether it pays.

Scope: the decision and its reason, and the number of questions after which labels have paid off.
Out of scope: reading tables and Dagster (`twin_sensors/learning_schedule.py`), buying and fitting
(`twin_assets/serving`).

A policy lapses when the version, the paid model or the embedder of its labels changes. Until the
next fit, questions are answered as if there were no policy. Labels are bought in portions that the
month's budget allows. A run that found nothing to buy is repeated only after a change: new
questions, a new month, or a different version. No labels are bought if a month's questions would
not recover their price.
"""
# pyright: strict

from __future__ import annotations

import math
from dataclasses import dataclass

# Prompt and answer tokens of a label: two passages, and an answer of typical length.
LABEL_TOKENS = (450, 120)
PAYBACK_DAYS = 30
# The share of questions that stay with the home's model, with 1,500 labels at a margin of 0.03 on
# MMLU scores (`bench_routing.py`).
USUAL_SAVING = 0.229
_Z_SCORE_95 = 1.96


@dataclass(frozen=True)
class Payback:
    """The cost of labels, compared with the saving of routing over the paid model alone.

    Attributes:
        missing_label_count: the number of labels without a paid answer so far.
        saved_share: the share of questions that stay with the home's model; `USUAL_SAVING` without
            a policy.
        question_count: the number of questions that a model answered in the last `PAYBACK_DAYS`.
        answer_usd: the price of a paid answer. Each label costs one such answer.
    """

    missing_label_count: int
    saved_share: float
    question_count: int
    answer_usd: float

    @property
    def break_even_questions(self) -> float:
        """Number of questions after which the labels have paid off, or infinity if never."""
        if not self.missing_label_count:
            return 0.0
        return self.missing_label_count / self.saved_share if self.saved_share > 0 else math.inf

    @property
    def min_questions_per_day(self) -> float:
        """Minimum number of questions per day for the labels to pay off within `PAYBACK_DAYS`."""
        return self.break_even_questions / PAYBACK_DAYS

    @property
    def is_worthwhile(self) -> bool:
        return self.question_count >= self.break_even_questions

    def saved_usd(self) -> tuple[float, float, float]:
        """Return the saving in `PAYBACK_DAYS`, in US dollars, with its 95 % interval.

        The interval assumes a Poisson number of questions.
        """
        usd_per_question, half_width = (
            self.answer_usd * self.saved_share,
            _Z_SCORE_95 * math.sqrt(self.question_count),
        )
        low, high = max(0.0, self.question_count - half_width), self.question_count + half_width
        return (
            usd_per_question * self.question_count,
            usd_per_question * low,
            usd_per_question * high,
        )

    @property
    def summary(self) -> str:
        rate = f"the current rate is {self.question_count / PAYBACK_DAYS:,.0f} a day"
        if math.isinf(self.break_even_questions):
            return "routing never pays: your own model would answer no question; use @paid"
        if not self.is_worthwhile:
            return (
                f"routing does not pay below {math.ceil(self.min_questions_per_day):,} questions "
                f"a day, and {rate}; use @paid"
            )
        value, low, high = self.saved_usd()
        verdict = (
            f"routing pays after {math.ceil(self.break_even_questions):,} questions"
            if self.missing_label_count
            else "routing pays: no labels need to be bought"
        )
        return f"{verdict}; {rate}, which saves ${value:.2f} a month (${low:.2f} to ${high:.2f})"


@dataclass(frozen=True)
class ComparedModels:
    """The models that labels, or a policy fitted to them, compare.

    Attributes:
        own: the checkpoint of the version that answers on this machine.
        paid: the LiteLLM name of the paid model.
        embedder: the revision of the embedder.
    """

    own: str
    paid: str
    embedder: str


@dataclass(frozen=True)
class LearningState:
    """The input of the decision for one author; times are in seconds since 1970.

    Attributes:
        current_models: the models that new labels would compare, or None if no stable version
            answers on this machine.
        policy_models: the models of the policy in force, or None without a policy.
        label_count: the number of existing labels for `current_models`.
        max_labels: the maximum number of labels (`Constants.routing_labels`).
        usd_left: the US dollars left for this author's labels under the tightest limit.
        payback: the payback of the missing labels.
        changed_at: the time of the newest question or the start of the month, whichever is later.
        last_run_at: the start of the last successful run; None before the first one.
    """

    current_models: ComparedModels | None
    policy_models: ComparedModels | None
    label_count: int
    max_labels: int
    usd_left: float
    payback: Payback
    changed_at: float
    last_run_at: float | None


@dataclass(frozen=True)
class LearningDecision:
    """Whether to start a run, and the reason in one clause."""

    should_run: bool
    reason: str


def decide_learning(state: LearningState) -> LearningDecision:
    """Decide whether a run would find labels to buy or a policy to fit."""
    if state.current_models is None:
        return LearningDecision(False, "no stable version answers on this machine")
    has_missing_labels = state.label_count < state.max_labels
    if has_missing_labels and not state.payback.is_worthwhile:
        return LearningDecision(False, state.payback.summary)
    if state.policy_models is not None and (
        changed_model := _changed_model(state.policy_models, state.current_models)
    ):
        return LearningDecision(True, f"the policy's labels are for another {changed_model}")
    if not has_missing_labels:
        return LearningDecision(False, f"{state.label_count:,} labels, which is the maximum")
    if (
        state.usd_left < state.payback.answer_usd
        and state.payback.missing_label_count >= state.max_labels - state.label_count
    ):
        return LearningDecision(False, "the budget for labels is used up")
    # Without a label for this version, the last run was for a different version.
    has_run_since = state.last_run_at is not None and state.last_run_at >= state.changed_at
    if state.label_count and has_run_since:
        return LearningDecision(False, "no question has arrived since the last run")
    return LearningDecision(True, f"{state.max_labels - state.label_count:,} labels are missing")


def _changed_model(policy: ComparedModels, current: ComparedModels) -> str:
    for name, policy_value, current_value in (
        ("version", policy.own, current.own),
        ("paid model", policy.paid, current.paid),
        ("embedder", policy.embedder, current.embedder),
    ):
        if policy_value != current_value:
            return name
    return ""
