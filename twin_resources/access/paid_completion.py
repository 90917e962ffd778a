"""Send one request to a configured model: reserve its maximum cost, send it once, settle its cost.

Scope: one request to a teacher, a judge or a labeling model, with its price.
Out of scope: readers' requests (`paid_budget.py`), limits and sums (`account.py`), retries and the
use of the reply (the callers).
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin_resources.access.paid_budget import (
    answer_price_usd,
    is_unbilled,
    load_provider_completion,
    max_prompt_tokens,
)

if TYPE_CHECKING:
    from twin_resources.access.purpose_budget import PurposeBudget

_OVERHEAD_TOKENS = 64  # tokens that a provider may add


@dataclass(frozen=True)
class Completion:
    """One reply and its cost.

    Attributes:
        prompt_tokens, answer_tokens: the provider's usage; 0 if it reports none.
        usd: cost from LiteLLM's price map, or the whole reservation if no usage is reported; 0
            without a budget.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    usd: float


def max_request_usd(
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    max_tokens: int,
    response_format: Mapping[str, Any] | None = None,
) -> float:
    """Return the maximum cost of one request in US dollars, including its schema.

    Raises:
        TwinError: the model has no price.
    """
    # A token is at least one byte.
    schema_tokens = len(json.dumps(response_format)) if response_format else 0
    prompt_tokens = max_prompt_tokens(model, messages) + schema_tokens + _OVERHEAD_TOKENS
    return answer_price_usd(model, prompt_tokens=prompt_tokens, answer_tokens=max_tokens)


def complete(
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    budget: PurposeBudget | None,
    max_tokens: int,
    temperature: float = 0.0,
    timeout_s: float = 60.0,
    response_format: Mapping[str, Any] | None = None,
    on_settled: Callable[[float], object] = lambda _usd: None,
) -> Completion:
    """Reserve the cost of one request, send it, and settle the cost even if it fails.

    Args:
        budget: None for a model that costs nothing.
        response_format: JSON schema of the reply, omitted for a provider without support.
        on_settled: function that receives the cost in US dollars, even for a failed request.

    Raises:
        OverLimitError: a limit is reached; nothing was sent.
        OpenAIError: the request failed; the base class of LiteLLM's errors.
    """
    send = load_provider_completion()
    max_usd, reservation = 0.0, None
    if budget is not None:
        max_usd = max_request_usd(
            model, messages, max_tokens=max_tokens, response_format=response_format
        )
        reservation = budget.reserve(max_usd)
    usd = max_usd  # a failed request may have been charged
    try:
        reply = send(
            model=model,
            messages=[dict(message) for message in messages],
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            drop_params=True,
            num_retries=0,
            max_retries=0,
            timeout=timeout_s,
        )
        usage = getattr(reply, "usage", None)
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        if budget is not None and prompt_tokens + answer_tokens:
            usd = answer_price_usd(
                model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, usage=usage
            )
        text = str(reply.choices[0].message.content or "") if reply.choices else ""
        return Completion(text, prompt_tokens, answer_tokens, usd)
    except Exception as error:
        usd = 0.0 if is_unbilled(error) else usd
        raise
    finally:
        on_settled(usd)
        if budget is not None and reservation is not None:
            budget.settle(reservation, usd)
