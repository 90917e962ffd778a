"""Price a paid answer, reserve its maximum cost, and settle its actual cost.

Scope: prices from LiteLLM's map, counting tokens before a provider does, reserving before a paid
call and settling after it, however it ends.
Out of scope: limits (`spending_limits.py`) and sums (`account.py`), whether a paid route
exists (`Settings.has_paid_route`).

A paid request is sent once, because a second attempt would be a second purchase. The client gets
the provider's refusal and may ask again. The cost depends on how the request ends:

- answer with usage: the usage, or the gateway's own count if the usage is less than half of it;
- answer without usage: the maximum cost;
- stream that ended without a token: the prompt;
- stream that failed, was ended here, or lost its reader: the prompt and the received tokens;
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
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.account import Reservation, SpendingAccount
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.router.pacing import RemainingBudget

# Its tokenizer ships with LiteLLM. Those of other families would be fetched from the model hub, an
# attempt that LiteLLM gave up after 24 s.
_COUNTING_MODEL = "gpt-4o"
_SAME_TOKENIZER_PROVIDERS = frozenset({"openai", "azure", "text-completion-openai"})
# Llama's, Mistral's and Claude's tokenizers produce up to 1.6 times as many tokens for the same
# prose.
_OTHER_TOKENIZERS_FACTOR = 2
_TEMPLATE_TOKENS = 64  # tokens that a provider's own template may add
# Tokens that OpenAI counts at the start of the answer; without them 1.007 times a limit was spent.
_ANSWER_START_TOKENS = 3
_REQUEST_TIMEOUT_STATUS = 408
# One attempt with its timeout, and a margin; see `account.DEADLINE_S`.
_RESERVATION_TIMEOUT_S = 900.0


def answer_price_usd(
    model: str, *, prompt_tokens: int, answer_tokens: int, usage: Any = None
) -> float:
    """Return the price of these tokens in US dollars, according to LiteLLM's price map.

    Args:
        usage: LiteLLM's usage of an answer, which includes discounted tokens (cached ones).

    Raises:
        TwinError: if the map has no price for the model.
    """
    try:
        prompt_usd, answer_usd = _litellm().cost_per_token(
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
def _litellm() -> Any:
    """Import LiteLLM with the price map that ships with it."""
    # Without this variable LiteLLM fetches its map from GitHub at import.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm


def count_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the tokens of a prompt as OpenAI counts them, without a request."""
    return int(_litellm().token_counter(model=_COUNTING_MODEL, messages=list(messages)))


def max_prompt_tokens(model: str, messages: Sequence[Mapping[str, Any]]) -> int:
    """Return an upper bound of the prompt tokens that the provider counts, for any tokenizer."""
    counted = count_tokens(messages)
    if _litellm().get_llm_provider(model)[1] in _SAME_TOKENIZER_PROVIDERS:
        return counted + _ANSWER_START_TOKENS
    # A token is at least one byte.
    size = sum(len(str(message.get("content", "")).encode()) for message in messages)
    return min(size, _OTHER_TOKENIZERS_FACTOR * counted) + _TEMPLATE_TOKENS


class PaidBudget:
    """A paid model whose answers are paid for from the account.

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
        """Return why no answer may be paid for now as a short clause, or empty if one may.

        An unreadable store is a reason too, so that another model answers the question. Reads the
        store, so it must not run on the event loop.
        """
        limit = SpendingLimit(usd_per_day=key.limits.usd_per_day)
        try:
            used_up = self.account.exhausted_limit(
                purpose="answer", author=author, key=key.id, key_limit=limit
            )
        except (SQLAlchemyError, TwinError) as error:
            return _unreadable_reason(error)
        return "budget used up" if used_up else ""

    def remaining_budget(self, author: str) -> RemainingBudget | None:
        """Return the budget left for an author's answers, or None without a readable limit.

        The limit with the slowest allowed spending is used, because the month's limit may be
        tighter than the day's although it leaves more. Reads the store, so it must not run on the
        event loop.
        """
        from twin_resources.router.pacing import RemainingBudget  # loads numpy

        try:
            limits = self.account.headrooms(purpose="answer", author=author)
        except (SQLAlchemyError, TwinError):
            return None  # `unavailable_reason` reports it, and the home's model answers
        if not limits:
            return None
        tightest = min(limits, key=lambda limit: limit.left_usd / max(limit.seconds_left, 1.0))
        return RemainingBudget(tightest.left_usd, tightest.seconds_left)

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
        work = asyncio.ensure_future(
            asyncio.to_thread(self._reserve, key, author, messages, max_tokens)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The reader disconnected: nothing was sent, but the thread cannot be stopped.
            work.add_done_callback(_release_unsent)
            raise
        except OverLimitError as error:
            raise budget_refusal(error) from error
        except (SQLAlchemyError, TwinError) as error:
            raise RefusedError(
                503,
                "budget_unreadable",
                tried="answer with the paid model",
                found=_unreadable_reason(error),
                next_step="ask twin/<author> without @paid, or see the gateway's log",
            ) from error

    def _reserve(
        self, key: Key, author: str, messages: Sequence[Mapping[str, Any]], max_tokens: int
    ) -> PaidCall:
        most = self.price_usd(
            prompt_tokens=max_prompt_tokens(self._model, messages), answer_tokens=max_tokens
        )
        reservation = self.account.reserve(
            purpose="answer",
            author=author,
            key=key.id,
            max_usd=most,
            key_limit=SpendingLimit(usd_per_day=key.limits.usd_per_day),
            expires_after_s=_RESERVATION_TIMEOUT_S,
        )
        return PaidCall(self, reservation, count_tokens(messages))

    def queue_settlement(self, reservation: Reservation, usd: float) -> None:
        """Write a settlement in the background; without it the reservation counts in full."""
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
        """Record a piece of a stream; it is paid for whether or not a reader gets it."""
        self._received_texts.append(text)

    def settle_answer(self, usage: Any, text: str = "") -> float:
        """Settle a complete answer.

        Args:
            usage: the provider's usage. None, or a usage without tokens, if it sent none or the
                gateway ended the stream first (`answer_ending.py`).
            text: text of an answer that was not streamed.

        Returns:
            The cost, in US dollars.
        """
        prompt = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer = int(getattr(usage, "completion_tokens", 0) or 0)
        if not prompt + answer:
            return self.settle_interrupted() if text else self.settle_empty()
        received = _answer_tokens([text, *self._received_texts])
        if (
            _OTHER_TOKENIZERS_FACTOR * prompt < self.prompt_tokens
            or _OTHER_TOKENIZERS_FACTOR * answer < received
        ):
            # For example, no tokenizer can produce a usage of 1 + 1 for 90 + 20 tokens.
            prompt, answer, usage = max(prompt, self.prompt_tokens), max(answer, received), None
        return self._settle(
            self.budget.price_usd(prompt_tokens=prompt, answer_tokens=answer, usage=usage)
        )

    def settle_empty(self) -> float:
        """Settle a stream that ended without text: the prompt was read."""
        if self._received_texts:
            return self.settle_interrupted()
        return self._settle(
            self.budget.price_usd(prompt_tokens=self.prompt_tokens, answer_tokens=0)
        )

    def settle_interrupted(self) -> float:
        """Settle a call that its reader or a failure ended; received text is paid for."""
        if not self._received_texts:
            return self._settle(self.reservation.reserved_usd)
        # A piece is at least one token.
        tokens = max(len(self._received_texts), _answer_tokens(self._received_texts))
        usd = self.budget.price_usd(prompt_tokens=self.prompt_tokens, answer_tokens=tokens)
        return self._settle(min(usd, self.reservation.reserved_usd))

    def settle_failed(self, error: BaseException) -> float:
        """Settle a failed call; the module's docstring lists the cost."""
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


def _answer_tokens(texts: Sequence[str]) -> int:
    """Return the tokens of a streamed answer, without those of the chat markup."""
    counted = count_tokens([{"role": "assistant", "content": "".join(texts)}])
    return counted - count_tokens([{"role": "assistant", "content": ""}])


def budget_refusal(error: OverLimitError) -> RefusedError:
    """Return the refusal of a question that names the paid model."""
    return RefusedError(
        429,
        "paid_budget_used_up",
        tried="answer with the paid model",
        found=error.found,
        next_step=f"ask twin/<author> without @paid, or {error.next_step}",
        retry_after_s=2 if error.is_temporary else error.retry_after_s,
    )


def is_unbilled(error: BaseException) -> bool:
    """Return whether the provider certainly computed nothing: it refused, or was not reached."""
    import httpx

    status = int(getattr(error, "status_code", 0) or 0)
    if 400 <= status < 500 and status != _REQUEST_TIMEOUT_STATUS:
        return True
    seen: BaseException | None = error
    while seen is not None:
        # LiteLLM gives a lost connection its own status 500; this status came from the provider.
        if isinstance(seen, httpx.HTTPStatusError):
            return True
        if isinstance(seen, httpx.TransportError):
            return isinstance(seen, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        seen = seen.__cause__ or seen.__context__
    return False


def _unreadable_reason(error: Exception) -> str:
    return f"budget unreadable ({type(error).__name__})"


def _release_unsent(work: asyncio.Future[PaidCall]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().settle_unsent()


def _report_failure(settlement: Future[None]) -> None:
    error = settlement.exception()
    if error is not None:
        sys.stderr.write(
            f"a settlement was not written ({type(error).__name__}: {error}); it counts in full\n"
        )


def provider_completion() -> Any:
    """Return LiteLLM's `completion` without telemetry and without redirects.

    The prompt and the key go only to the configured provider, because the client of OpenAI's
    interface does not follow redirects.
    """
    import httpx
    import litellm
    from litellm.llms.custom_httpx.http_handler import get_ssl_configuration

    library: Any = litellm
    library.telemetry = False
    if library.client_session is None:
        library.client_session = httpx.Client(
            verify=get_ssl_configuration(), follow_redirects=False
        )
    return library.completion
