"""Price a paid answer, reserve its maximum cost, and settle its actual cost.

Scope: prices from LiteLLM's map, counting tokens before a provider does, reserving before a paid
call and settling after it.
Out of scope: limits (`spending_limits.py`) and sums (`account.py`), whether a paid route
exists (`Settings.has_paid_route`).

A paid request is sent once, because a second attempt would be a second purchase. The client
receives the provider's refusal and may ask again. The cost depends on how the request ends:

- answer with usage: the usage, or the gateway's own count if the usage is less than half of it;
- complete answer without usage: the maximum cost;
- stream that ended without a token: the prompt;
- stream that has no usage, failed, was ended by the gateway, or lost its reader: the prompt and the
  tokens received;
- refusal by the provider (429, 500 ...) or provider not reached: nothing;
- timeout, or connection lost before the first token: the maximum cost.
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.account import RemainingBudget, Reservation, SpendingAccount
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit
from twin_resources.errors import TwinError

# LiteLLM includes this model's tokenizer. It would fetch the tokenizers of other families from the
# model hub; one such attempt failed after 24 s.
_COUNTING_MODEL = "gpt-4o"
_SAME_TOKENIZER_PROVIDERS = frozenset({"openai", "azure", "text-completion-openai"})
# Llama's, Mistral's and Claude's tokenizers produce up to 1.6 times as many tokens for the same
# prose.
_OTHER_TOKENIZERS_FACTOR = 2
_TEMPLATE_TOKENS = 64  # tokens that a provider's own template may add
# OpenAI counts these tokens at the start of an answer; without them, spending reached 1.007 times a
# limit.
_ANSWER_START_TOKENS = 3
_REQUEST_TIMEOUT_STATUS = 408
# This covers one attempt with its timeout, and a margin; see `account.RESERVATION_TIMEOUT_S`.
_RESERVATION_TIMEOUT_S = 900.0


def answer_price_usd(
    model: str, *, prompt_tokens: int, answer_tokens: int, usage: Any = None
) -> float:
    """Return the price of these tokens in US dollars, according to LiteLLM's price map.

    Args:
        usage: LiteLLM's usage of an answer, which includes discounted tokens, such as cached ones.

    Raises:
        TwinError: if the map has no price for the model.
    """
    try:
        prompt_usd, answer_usd = _import_litellm().cost_per_token(
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=answer_tokens,
            usage_object=usage,
        )
    except Exception as error:
        raise TwinError(
            f"find the price of {model}",
            found=f"no price in LiteLLM's price map ({type(error).__name__})",
            next_step="name a model with a known price in TWIN_PAID_MODEL, or leave it empty",
        ) from error
    return float(prompt_usd + answer_usd)


@cache
def _import_litellm() -> Any:
    """Import LiteLLM with its bundled price map."""
    # Without this variable, LiteLLM fetches its map from GitHub at import.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm


def count_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of tokens in a prompt as OpenAI counts them, without a request."""
    return int(_import_litellm().token_counter(model=_COUNTING_MODEL, messages=list(messages)))


def max_prompt_tokens(model: str, messages: Sequence[Mapping[str, Any]]) -> int:
    """Return an upper bound of the provider's count of prompt tokens, for any tokenizer."""
    token_count = count_tokens(messages)
    if _import_litellm().get_llm_provider(model)[1] in _SAME_TOKENIZER_PROVIDERS:
        return token_count + _ANSWER_START_TOKENS
    # A token is at least one byte.
    byte_count = sum(len(str(message.get("content", "")).encode()) for message in messages)
    return min(byte_count, _OTHER_TOKENIZERS_FACTOR * token_count) + _TEMPLATE_TOKENS


class PaidBudget:
    """The budget of a paid model, which charges each answer to the account.

    Args:
        account: the account of the home.
        model: LiteLLM name of the paid model.

    Raises:
        TwinError: if LiteLLM has no price for the model, so that no budget could be enforced.
    """

    def __init__(self, account: SpendingAccount, *, model: str) -> None:
        self.account = account
        self._model = model
        self.price_usd(prompt_tokens=1, answer_tokens=1)
        # One thread writes settlements in order, off the event loop.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="settlements")

    def price_usd(self, *, prompt_tokens: int, answer_tokens: int, usage: Any = None) -> float:
        """Return the price of one answer, in US dollars; see `answer_price_usd`."""
        return answer_price_usd(
            self._model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, usage=usage
        )

    def unavailable_reason(self, key: Key, author: str) -> str:
        """Return why no answer may be paid for now, as a clause, or "" if one may be paid for.

        An unreadable store is a reason too, so that another model answers the question. The method
        reads the store, so it must not run on the event loop.
        """
        limit = SpendingLimit(usd_per_day=key.limits.usd_per_day)
        try:
            remaining_usd = self.account.remaining_usd(
                purpose="answer", author=author, key=key.id, key_limit=limit
            )
        except (SQLAlchemyError, TwinError) as error:
            return _unreadable_reason(error)
        return "budget used up" if remaining_usd == 0.0 else ""

    def remaining_budget(self, author: str) -> RemainingBudget | None:
        """Return the remaining budget for an author's answers, or None without a readable limit.

        The limit that allows the slowest spending applies. The month's limit, for example, may
        leave more money than the day's and still allow less per second. The method reads the store,
        so it must not run on the event loop.
        """
        try:
            budgets = self.account.list_remaining_budgets(purpose="answer", author=author)
        except (SQLAlchemyError, TwinError):
            return None  # `unavailable_reason` reports the error, and the home's model answers
        return min(
            budgets,
            key=lambda budget: budget.remaining_usd / max(budget.seconds_left, 1.0),
            default=None,
        )

    async def reserve(
        self, key: Key, author: str, messages: Sequence[Mapping[str, Any]], *, max_tokens: int
    ) -> PaidCall:
        """Reserve the maximum cost of a call before it is sent, without blocking the event loop.

        Args:
            messages: the rendered prompt.
            max_tokens: maximum length of the answer.

        Raises:
            RefusedError: 429 if a limit is used up, 503 if the account cannot be written.
        """
        task = asyncio.ensure_future(
            asyncio.to_thread(self._reserve, key, author, messages, max_tokens)
        )
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The reader disconnected. Nothing was sent, but the thread cannot be stopped.
            task.add_done_callback(_release_unsent)
            raise
        except OverLimitError as error:
            raise budget_refusal(error) from error
        except (SQLAlchemyError, TwinError) as error:
            raise RefusedError(
                503,
                "budget_unreadable",
                f"The paid model cannot answer, {_unreadable_reason(error)}; ask twin/<author> "
                "without @paid, or see the gateway's log.",
            ) from error

    def _reserve(
        self, key: Key, author: str, messages: Sequence[Mapping[str, Any]], max_tokens: int
    ) -> PaidCall:
        max_usd = self.price_usd(
            prompt_tokens=max_prompt_tokens(self._model, messages), answer_tokens=max_tokens
        )
        reservation = self.account.reserve(
            purpose="answer",
            author=author,
            key=key.id,
            max_usd=max_usd,
            key_limit=SpendingLimit(usd_per_day=key.limits.usd_per_day),
            expires_after_s=_RESERVATION_TIMEOUT_S,
        )
        return PaidCall(self, reservation, count_tokens(messages))

    def queue_settlement(self, reservation: Reservation, usd: float) -> None:
        """Write a settlement in the background; if that fails, the reservation counts in full."""
        settlement = self._writer.submit(self.account.settle, reservation, usd)
        settlement.add_done_callback(_report_failure)

    def flush(self) -> None:
        """Wait until every settlement so far is written, before the process exits."""
        self._writer.submit(int).result()


@dataclass
class PaidCall:
    """One paid call, from its reservation to its settlement; only the first settlement counts.

    Attributes:
        prompt_tokens: the gateway's own count, for a call without usage.
        usd: cost of the call, or None while it is in progress.
    """

    budget: PaidBudget
    reservation: Reservation
    prompt_tokens: int
    usd: float | None = None
    _received_texts: list[str] = field(default_factory=list[str])

    def record_text(self, text: str) -> None:
        """Record a piece of a stream, which is paid for even if no reader receives it."""
        self._received_texts.append(text)

    def settle_answer(self, usage: Any, text: str = "") -> float:
        """Settle a complete answer.

        Args:
            usage: the provider's usage. It is None, or has no tokens, if the provider sent none or
                the gateway ended the stream first (`answer_ending.py`).
            text: text of an answer that was not streamed.

        Returns:
            The cost, in US dollars.
        """
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        if not prompt_tokens + answer_tokens:
            return self.settle_interrupted() if text else self.settle_empty()
        received_tokens = _count_answer_tokens([text, *self._received_texts])
        if (
            _OTHER_TOKENIZERS_FACTOR * prompt_tokens < self.prompt_tokens
            or _OTHER_TOKENIZERS_FACTOR * answer_tokens < received_tokens
        ):
            # For example, no tokenizer can produce a usage of 1 + 1 for 90 + 20 tokens.
            prompt_tokens = max(prompt_tokens, self.prompt_tokens)
            answer_tokens = max(answer_tokens, received_tokens)
            usage = None
        return self._settle(
            self.budget.price_usd(
                prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, usage=usage
            )
        )

    def settle_empty(self) -> float:
        """Settle a stream that ended without text; only the prompt is paid for."""
        if self._received_texts:
            return self.settle_interrupted()
        return self._settle(
            self.budget.price_usd(prompt_tokens=self.prompt_tokens, answer_tokens=0)
        )

    def settle_interrupted(self) -> float:
        """Settle a call that its reader or a failure ended.

        The cost is that of the prompt and the received text, or the reserved amount without text.
        """
        if not self._received_texts:
            return self._settle(self.reservation.reserved_usd)
        # A piece is at least one token.
        tokens = max(len(self._received_texts), _count_answer_tokens(self._received_texts))
        usd = self.budget.price_usd(prompt_tokens=self.prompt_tokens, answer_tokens=tokens)
        return self._settle(min(usd, self.reservation.reserved_usd))

    def settle_failed(self, error: BaseException) -> float:
        """Settle a failed call at the cost that the module's docstring lists."""
        if self._received_texts:
            return self.settle_interrupted()
        return self._settle(0.0 if is_unbilled(error) else self.reservation.reserved_usd)

    def settle_unsent(self) -> None:
        """Settle a call that was not sent to the provider."""
        self._settle(0.0)

    def _settle(self, usd: float) -> float:
        if self.usd is None:
            self.usd = usd
            self.budget.queue_settlement(self.reservation, usd)
        return self.usd


def _count_answer_tokens(texts: Sequence[str]) -> int:
    """Return the number of tokens in a streamed answer, without the chat markup's tokens."""
    token_count = count_tokens([{"role": "assistant", "content": "".join(texts)}])
    return token_count - count_tokens([{"role": "assistant", "content": ""}])


def budget_refusal(error: OverLimitError) -> RefusedError:
    """Return the refusal of a question that names the paid model."""
    return RefusedError(
        429,
        "paid_budget_used_up",
        f"The paid model cannot answer: {error.found}; ask twin/<author> without @paid, or "
        f"{error.next_step}.",
        retry_after_s=2 if error.is_temporary else error.retry_after_s,
    )


def is_unbilled(error: BaseException) -> bool:
    """Return whether the provider certainly charges nothing: it refused, or was not reached."""
    import httpx

    status = int(getattr(error, "status_code", 0) or 0)
    if 400 <= status < 500 and status != _REQUEST_TIMEOUT_STATUS:
        return True
    cause: BaseException | None = error
    while cause is not None:
        # LiteLLM assigns status 500 to a lost connection, but this status came from the provider.
        if isinstance(cause, httpx.HTTPStatusError):
            return True
        if isinstance(cause, httpx.TransportError):
            return isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        cause = cause.__cause__ or cause.__context__
    return False


def _unreadable_reason(error: Exception) -> str:
    return f"budget unreadable ({type(error).__name__})"


def _release_unsent(paid_call: asyncio.Future[PaidCall]) -> None:
    if not paid_call.cancelled() and paid_call.exception() is None:
        paid_call.result().settle_unsent()


def _report_failure(settlement: Future[None]) -> None:
    error = settlement.exception()
    if error is not None:
        sys.stderr.write(
            f"a settlement was not written ({type(error).__name__}: {error}); it counts in full\n"
        )


def load_provider_completion() -> Any:
    """Return LiteLLM's `completion` without telemetry and without redirects.

    The prompt and the key go only to the configured provider, because the client of OpenAI's
    interface does not follow redirects.
    """
    import httpx
    import litellm
    from litellm.llms.custom_httpx.http_handler import get_ssl_configuration

    library: Any = litellm
    library.telemetry = False
    library.suppress_debug_info = True
    if library.client_session is None:
        library.client_session = httpx.Client(
            verify=get_ssl_configuration(), follow_redirects=False
        )
    return library.completion
