"""Determine the terms on which a language model rates an author's answers: budget and privacy.

Scope: whether the model may be called, the budget, the redaction of texts.
Out of scope: requests (`language_model.py`), limits and sums (`access/account.py`), the rules of
consent (`consent.py`).

A model outside this machine receives the author's posts only with the author's consent. Questions
and answers are sent to it without personal data and secrets. A priced model needs its own budget. A
model without a known price is not called.
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_resources.access.account import open_account
from twin_resources.access.configured_model import classify_cost, is_model_remote
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.authors.consent import external_use_instructions, find_external_use_refusal
from twin_resources.errors import TwinError
from twin_resources.privacy import redact

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class JudgeTerms:
    """The terms of one model for one author.

    Attributes:
        budget: the budget for every request, or None if the model is free.
        redaction_language: the author's language, whose rules redact questions and answers before
            they are sent. None if they stay on this machine.
        refusal_reason, next_step: why the model must not be called, and how to change that; empty
            if it may be called.
    """

    budget: PurposeBudget | None = None
    redaction_language: str | None = None
    refusal_reason: str = ""
    next_step: str = ""

    def check_allowed(self, model: str) -> None:
        """Raise an error if the model must not be called.

        Raises:
            TwinError: the model must not be called; the error gives the reason and the next step.
        """
        terms = self
        if (
            self.budget is None
            and not self.refusal_reason
            and classify_cost(model, os.environ) == "priced"
        ):
            terms = _refuse_without_budget(model)
        if terms.refusal_reason:
            raise TwinError(
                f"have {model} rate answers", found=terms.refusal_reason, next_step=terms.next_step
            )

    def redact_if_required(self, text: str) -> str:
        """Return a question or an answer as sent to the judge, redacted if required."""
        return (
            text
            if self.redaction_language is None
            else redact(text, region=self.redaction_language).text
        )


FREE_TERMS = JudgeTerms()


def determine_judge_terms(
    settings: Settings,
    author: Author,
    state: State,
    *,
    environ: Mapping[str, str] = os.environ,
) -> JudgeTerms:
    """Return the terms of `TWIN_JUDGE_MODEL` for an author, or `FREE_TERMS` if it is unset."""
    model = settings.judge_model
    if not model:
        return FREE_TERMS
    is_remote = is_model_remote(model, environ)
    if is_remote and (reason := find_external_use_refusal(author)):
        return JudgeTerms(refusal_reason=reason, next_step=external_use_instructions(author))
    redaction_language = author.language if is_remote else None
    cost = classify_cost(model, environ)
    if cost == "free":
        return JudgeTerms(redaction_language=redaction_language)
    if cost == "unknown":
        return JudgeTerms(
            refusal_reason=f"no price for {model} in LiteLLM's price map",
            next_step="set TWIN_JUDGE_MODEL to a model with a known price, or to your own server "
            "(hosted_vllm/..., ollama/...)",
        )
    if settings.judge_budget_per_month is None:
        return _refuse_without_budget(model)
    budget = PurposeBudget(open_account(settings, state), "judge", author=author.slug)
    return JudgeTerms(budget, redaction_language)


def _refuse_without_budget(model: str) -> JudgeTerms:
    return JudgeTerms(
        refusal_reason=f"{model} costs money, and there is no budget for it",
        next_step="set TWIN_JUDGE_BUDGET_PER_MONTH (US dollars), or unset TWIN_JUDGE_MODEL",
    )
