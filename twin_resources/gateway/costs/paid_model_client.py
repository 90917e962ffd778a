"""Call the paid model outside the gateway, within the account's limits for labels.

Scope: a list of prompts, each one request. Out of scope: reserving and settling
(`access/paid_completion.py`), the use of the answers (labels).
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from twin_resources.access.account import SpendingAccount
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.access.paid_completion import Completion, complete, max_request_usd
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.errors import TwinError

MAX_CONCURRENT = 4


@dataclass
class PaidModelClient:
    """A client of a home's paid model, charged to the labels of one author.

    Attributes:
        model: LiteLLM name of the model. LiteLLM reads its key and address from the environment.
        account: reserves the cost of every request, for the labels of `author`.
    """

    model: str
    account: SpendingAccount
    author: str
    timeout_s: float = 60.0

    def ask(
        self, prompts: Sequence[Sequence[Mapping[str, str]]], *, max_tokens: int
    ) -> list[Completion | None]:
        """Return one answer per prompt, in order; None for a prompt that exceeds a spending limit.

        Without a reported usage, an answer counts as `max_tokens` long.

        Raises:
            TwinError: the model has no price, cannot be reached, or refuses.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else LiteLLM downloads it
        from openai import OpenAIError

        answer_price_usd(self.model, prompt_tokens=1, answer_tokens=1)
        budget = PurposeBudget(self.account, "label", author=self.author)

        def complete_prompt(prompt: Sequence[Mapping[str, str]]) -> Completion | None:
            try:
                answer = complete(
                    self.model,
                    prompt,
                    budget=budget,
                    max_tokens=max_tokens,
                    timeout_s=self.timeout_s,
                )
            except OverLimitError:
                return None
            return replace(answer, answer_tokens=answer.answer_tokens or max_tokens)

        try:
            with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
                return list(pool.map(complete_prompt, prompts))
        except OpenAIError as error:  # the base class of all LiteLLM errors
            raise TwinError(
                f"have {self.model} answer {len(prompts)} questions",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                next_step="check TWIN_PAID_MODEL and its key; answers already paid for are kept",
            ) from error

    def max_usd(self, prompt: Sequence[Mapping[str, str]], *, max_tokens: int) -> float:
        """Return the maximum cost of one answer."""
        return max_request_usd(self.model, prompt, max_tokens=max_tokens)
