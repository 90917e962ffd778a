"""Call the paid model outside the gateway and reserve the cost of each request in the account.

Scope: a list of prompts, each with its reservation, settlement and price.
Out of scope: the account (`account.py`), the use of the answers (labels).
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from twin_resources.access.account import SpendingAccount
from twin_resources.access.paid_budget import answer_price_usd, provider_completion
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.errors import TwinError

MAX_CONCURRENT = 4
_OVERHEAD_TOKENS = 64  # tokens of a request besides its text: roles, the provider's own template


@dataclass(frozen=True)
class PaidAnswer:
    """One answer and its cost.

    Attributes:
        prompt_tokens, answer_tokens: the provider's usage. If it reports none, `prompt_tokens` is 0
            and `answer_tokens` is the requested maximum.
        usd: cost by LiteLLM's price map, or the whole reservation if no usage is reported.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    usd: float


@dataclass
class PaidAnswers:
    """The paid model of a home for one author.

    Attributes:
        model: LiteLLM name of the model. LiteLLM reads its key and address from the environment.
        account: reserves the cost of every request, as a label of `author`.
    """

    model: str
    account: SpendingAccount
    author: str
    timeout_s: float = 60.0

    def ask(
        self,
        prompts: Sequence[Sequence[Mapping[str, str]]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
    ) -> list[PaidAnswer | None]:
        """Return one answer per prompt, in order, or None where a spending limit is reached.

        Raises:
            TwinError: the model has no price, cannot be reached, or refuses.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it is fetched
        from openai import OpenAIError

        answer_price_usd(self.model, prompt_tokens=1, answer_tokens=1)
        ask = self._make_ask(max_tokens, temperature)
        try:
            with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
                return list(pool.map(ask, prompts))
        except OpenAIError as error:  # the base class of all LiteLLM errors
            raise TwinError(
                f"have {self.model} answer {len(prompts)} questions",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                next_step="check TWIN_PAID_MODEL and its key; answers already bought are kept",
            ) from error

    def max_usd(self, prompt: Sequence[Mapping[str, str]], *, max_tokens: int) -> float:
        """Return the maximum cost of one answer, at one token per byte of the prompt."""
        prompt_bytes = sum(len(message["content"].encode()) for message in prompt)
        return answer_price_usd(
            self.model, prompt_tokens=prompt_bytes + _OVERHEAD_TOKENS, answer_tokens=max_tokens
        )

    def _make_ask(
        self, max_tokens: int, temperature: float
    ) -> Callable[[Sequence[Mapping[str, str]]], PaidAnswer | None]:
        from openai import APIStatusError

        complete = provider_completion()

        def ask(prompt: Sequence[Mapping[str, str]]) -> PaidAnswer | None:
            max_usd = self.max_usd(prompt, max_tokens=max_tokens)
            try:
                reservation = self.account.reserve(
                    purpose="label", author=self.author, key="", max_usd=max_usd
                )
            except OverLimitError:
                return None
            usd = max_usd  # a failed request may have been charged
            try:
                response = complete(
                    model=self.model,
                    messages=[dict(message) for message in prompt],
                    max_tokens=max_tokens,
                    temperature=temperature,
                    drop_params=True,
                    num_retries=0,
                    max_retries=0,
                    timeout=self.timeout_s,
                )
                usage = getattr(response, "usage", None)
                token_counts = (
                    int(getattr(usage, "prompt_tokens", 0) or 0),
                    int(getattr(usage, "completion_tokens", 0) or 0),
                )
                if any(token_counts):
                    usd = answer_price_usd(
                        self.model, prompt_tokens=token_counts[0], answer_tokens=token_counts[1]
                    )
                text = str(response.choices[0].message.content or "") if response.choices else ""
                return PaidAnswer(text, token_counts[0], token_counts[1] or max_tokens, usd)
            except APIStatusError as error:
                if error.status_code < 500:
                    usd = 0.0  # a refused request costs nothing
                raise
            finally:
                self.account.settle(reservation, usd)

        return ask
