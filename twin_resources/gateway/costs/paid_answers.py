"""Answers of the paid model outside the gateway, each reserved in the account before it is sent.

Scope: asking it for a list of prompts, with a reservation, a settlement and a price each.
Out of scope: the account (`account.py`), what the answers are for (labels).
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from twin_resources.access.account import SpendingAccount
from twin_resources.access.paid_budget import price_of, provider_completion
from twin_resources.access.spending_limits import OverLimit
from twin_resources.errors import TwinError

AT_ONCE = 4
_OVERHEAD_TOKENS = 64  # of a request besides its text: roles, the provider's own frame


@dataclass(frozen=True)
class PaidAnswer:
    """One answer and what it cost.

    Attributes:
        prompt_tokens, answer_tokens: as the provider says, else what was reserved for.
        usd: by LiteLLM's price map; without usage the whole reservation.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    usd: float


@dataclass
class PaidAnswers:
    """The paid model of a home for one author.

    Attributes:
        model: LiteLLM name; its key and address come from the environment, as LiteLLM says.
        account: every request is reserved there, as a label of `author`.
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
        """An answer a prompt, in order; None where a limit or a sum leaves no money for it.

        Raises:
            TwinError: the model has no price, cannot be reached, or refuses.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks up GitHub
        from openai import OpenAIError

        price_of(self.model, prompt_tokens=1, answer_tokens=1)
        ask = self._asker(max_tokens, temperature)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return list(pool.map(ask, prompts))
        except OpenAIError as error:  # every LiteLLM error is one
            raise TwinError(
                f"have {self.model} answer {len(prompts)} questions",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                next_step="check TWIN_PAID_MODEL and its key; what was bought before is kept",
            ) from error

    def most_usd(self, prompt: Sequence[Mapping[str, str]], *, max_tokens: int) -> float:
        """The most that one answer can cost: a token is at least one byte."""
        bytes_of = sum(len(message["content"].encode()) for message in prompt)
        return price_of(
            self.model, prompt_tokens=bytes_of + _OVERHEAD_TOKENS, answer_tokens=max_tokens
        )

    def _asker(
        self, max_tokens: int, temperature: float
    ) -> Callable[[Sequence[Mapping[str, str]]], PaidAnswer | None]:
        from openai import APIStatusError

        complete = provider_completion()

        def ask(prompt: Sequence[Mapping[str, str]]) -> PaidAnswer | None:
            most = self.most_usd(prompt, max_tokens=max_tokens)
            try:
                held = self.account.reserve(
                    purpose="label", author=self.author, key="", most_usd=most
                )
            except OverLimit:
                return None
            usd = most  # whoever fails on the way may have been charged for
            try:
                reply = complete(
                    model=self.model,
                    messages=[dict(message) for message in prompt],
                    max_tokens=max_tokens,
                    temperature=temperature,
                    drop_params=True,
                    num_retries=0,
                    max_retries=0,
                    timeout=self.timeout_s,
                )
                usage = getattr(reply, "usage", None)
                used = (
                    int(getattr(usage, "prompt_tokens", 0) or 0),
                    int(getattr(usage, "completion_tokens", 0) or 0),
                )
                if any(used):
                    usd = price_of(self.model, prompt_tokens=used[0], answer_tokens=used[1])
                text = str(reply.choices[0].message.content or "") if reply.choices else ""
                return PaidAnswer(text, used[0], used[1] or max_tokens, usd)
            except APIStatusError as error:
                if error.status_code < 500:
                    usd = 0.0  # refused: nothing was computed
                raise
            finally:
                self.account.settle(held, usd)

        return ask
