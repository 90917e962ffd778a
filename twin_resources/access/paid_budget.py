"""What a paid answer costs: its price, the most it can cost, and its way through the account.

Scope: prices by LiteLLM's map, counting tokens before a provider does, reserving before a
paid call and settling after it, whichever way it ends.
Out of scope: limits (`spending_limits.py`) and sums (`account.py`), whether a paid route
exists (`Settings.has_paid_route`).

A paid request is sent once: a second attempt would be a second purchase, and its provider's refusal
is told to the client, who may ask again. How it ends decides what it has cost:

- an answer with its usage: that, and where it is less than half of what was sent and received, by
  our own count: what that count says; without a usage: the most that it could cost;
- a stream that ended without a word: the prompt;
- a stream whose reader left, that broke off or was ended here: the prompt and the tokens that had
  come;
- a refusal by the provider (429, 500 ...) or a provider that cannot be reached: nothing;
- no answer in time, a connection that broke before a token: the most that it could cost.
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
from twin_resources.access.refusals import Refused
from twin_resources.access.spending_limits import OverLimit, SpendingLimit
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.router.pacing import BudgetLeft

# Its tokenizer lies beside LiteLLM; those of other families would be fetched from the model hub,
# and 24 s went by before LiteLLM gave that up.
_COUNTED_AS = "gpt-4o"
_BY_THE_COUNTER = frozenset({"openai", "azure", "text-completion-openai"})
# Llama's, Mistral's and Claude's tokenizers make up to 1.6 times as many tokens of the same prose.
_OTHERS_FACTOR = 2
_AROUND_A_PROMPT = 64  # tokens that a provider's own template may add
_BEHIND_A_PROMPT = 3  # that OpenAI counts where the answer begins: 1.007 times of a limit was spent
_TIMED_OUT = 408
# One attempt with its time-out, and a margin: see `account.DEADLINE_S`.
_WITHIN_S = 900.0


def price_of(model: str, *, prompt_tokens: int, answer_tokens: int, usage: Any = None) -> float:
    """What a paid model asks for that many tokens, US dollars, by LiteLLM's price map.

    Args:
        usage: LiteLLM's usage of an answer, which knows tokens that cost less (cached ones).

    Raises:
        TwinError: the map knows no price for it.
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
            found=f"none in LiteLLM's price map ({type(error).__name__})",
            next_step="name a model with a known price in TWIN_PAID_MODEL, or leave it empty",
        ) from error
    return float(prompt_usd + answer_usd)


@cache
def _litellm() -> Any:
    """LiteLLM with the price map that lies beside it."""
    # Without the switch LiteLLM asks GitHub for its map when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm


def tokens_of(messages: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of a prompt as OpenAI counts them, without asking anybody."""
    return int(_litellm().token_counter(model=_COUNTED_AS, messages=list(messages)))


def most_prompt_tokens(model: str, messages: Sequence[Mapping[str, Any]]) -> int:
    """An upper bound of what a provider will count: of its own tokenizer, or of any."""
    counted = tokens_of(messages)
    if _litellm().get_llm_provider(model)[1] in _BY_THE_COUNTER:
        return counted + _BEHIND_A_PROMPT
    # a token is at least one byte
    in_bytes = sum(len(str(message.get("content", "")).encode()) for message in messages)
    return min(in_bytes, _OTHERS_FACTOR * counted) + _AROUND_A_PROMPT


class PaidBudget:
    """Buys answers of one paid model from the account.

    Args:
        account: of the home.
        model: LiteLLM name of the paid model.

    Raises:
        TwinError: LiteLLM knows no price for the model, so that no budget could be kept.
    """

    def __init__(self, account: SpendingAccount, *, model: str) -> None:
        self.account = account
        self._model = model
        self.price(prompt_tokens=1, answer_tokens=1)
        # One thread: settlements are written in order, and none waits on the event loop.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="settlements")

    def price(self, *, prompt_tokens: int, answer_tokens: int, usage: Any = None) -> float:
        """What the paid model asks for one answer, US dollars; see `price_of`."""
        return price_of(
            self._model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, usage=usage
        )

    def problem(self, key: Key, author: str) -> str:
        """Why no answer may be paid for now, one short clause; empty: one may.

        For questions that others can answer: a store that cannot be read must not lose them. Reads
        the store: not for the event loop.
        """
        limit = SpendingLimit(usd_per_day=key.limits.usd_per_day)
        try:
            used_up = self.account.problem(
                purpose="answer", author=author, key=key.id, key_limit=limit
            )
        except (SQLAlchemyError, TwinError) as error:
            return _unreadable(error)
        return "budget used up" if used_up else ""

    def money(self, author: str) -> BudgetLeft | None:
        """What answers of an author may still cost; None: there is no limit, or it is unreadable.

        Of all limits the one that allows the slowest spending: a month's may be tighter than the
        day's although it leaves more. Reads the store: not for the event loop.
        """
        from twin_resources.router.pacing import BudgetLeft  # with numpy

        try:
            rooms = self.account.rooms(purpose="answer", author=author)
        except (SQLAlchemyError, TwinError):
            return None  # `problem` says so, and the own model answers
        if not rooms:
            return None
        tightest = min(rooms, key=lambda room: room.left_usd / max(room.seconds_left, 1.0))
        return BudgetLeft(tightest.left_usd, tightest.seconds_left)

    async def reserve(
        self, key: Key, author: str, messages: Sequence[Mapping[str, Any]], *, max_tokens: int
    ) -> PaidCall:
        """Set aside the most that a call can cost, before it is made; does not block the loop.

        Args:
            messages: the rendered prompt. max_tokens: of the answer.

        Raises:
            Refused: 429 a limit is used up, 503 the account cannot be written.
        """
        work = asyncio.ensure_future(
            asyncio.to_thread(self._reserve, key, author, messages, max_tokens)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The reader left meanwhile: nothing was sent, and the thread cannot be stopped.
            work.add_done_callback(_release_unsent)
            raise
        except OverLimit as error:
            raise used_up(error) from error
        except (SQLAlchemyError, TwinError) as error:
            raise Refused(
                503,
                "budget_unreadable",
                tried="answer with the paid model",
                found=_unreadable(error),
                next_step="ask twin/<author> without @paid, or look into the gateway's log",
            ) from error

    def _reserve(
        self, key: Key, author: str, messages: Sequence[Mapping[str, Any]], max_tokens: int
    ) -> PaidCall:
        most = self.price(
            prompt_tokens=most_prompt_tokens(self._model, messages), answer_tokens=max_tokens
        )
        reservation = self.account.reserve(
            purpose="answer",
            author=author,
            key=key.id,
            most_usd=most,
            key_limit=SpendingLimit(usd_per_day=key.limits.usd_per_day),
            within_s=_WITHIN_S,
        )
        return PaidCall(self, reservation, tokens_of(messages))

    def settle_soon(self, reservation: Reservation, usd: float) -> None:
        """Write a settlement behind the request; without it the reservation counts in full."""
        self._writer.submit(self.account.settle, reservation, usd).add_done_callback(_told)

    def flush(self) -> None:
        """Wait until every settlement so far is written; called before the process ends."""
        self._writer.submit(int).result()


@dataclass
class PaidCall:
    """One paid call, from its reservation to its settlement; the first end counts.

    Attributes:
        prompt_tokens: as counted here, for a call whose provider does not say.
        usd: what it has cost; None: it is under way.
    """

    budget: PaidBudget
    reservation: Reservation
    prompt_tokens: int
    usd: float | None = None
    _texts: list[str] = field(default_factory=list[str])

    def received(self, text: str) -> None:
        """A piece of a stream has come; it is paid for, whoever reads it."""
        self._texts.append(text)

    def ended(self, usage: Any, text: str = "") -> float:
        """The answer is complete.

        Args:
            usage: as the provider counted it; None or without tokens: it did not, or the gateway
                ended the stream before (`answer_ending.py`).
            text: of an answer in one piece.

        Returns:
            What it has cost.
        """
        prompt = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer = int(getattr(usage, "completion_tokens", 0) or 0)
        if not prompt + answer:
            return self.left() if text else self.empty()
        received = _answer_tokens([text, *self._texts])
        if _OTHERS_FACTOR * prompt < self.prompt_tokens or _OTHERS_FACTOR * answer < received:
            # 1 + 1 tokens for 90 + 20: no tokenizer makes so few of them
            prompt, answer, usage = max(prompt, self.prompt_tokens), max(answer, received), None
        return self._settle(
            self.budget.price(prompt_tokens=prompt, answer_tokens=answer, usage=usage)
        )

    def empty(self) -> float:
        """A stream has ended and held no word: the prompt was read."""
        if self._texts:
            return self.left()
        return self._settle(self.budget.price(prompt_tokens=self.prompt_tokens, answer_tokens=0))

    def left(self) -> float:
        """The reader has left, or the stream broke off: what had come was bought."""
        if not self._texts:
            return self._settle(self.reservation.most_usd)
        # a piece is a token at least
        tokens = max(len(self._texts), _answer_tokens(self._texts))
        usd = self.budget.price(prompt_tokens=self.prompt_tokens, answer_tokens=tokens)
        return self._settle(min(usd, self.reservation.most_usd))

    def failed(self, error: BaseException) -> float:
        """The call failed; see the module for what that costs."""
        if self._texts:
            return self.left()
        return self._settle(0.0 if is_unbilled(error) else self.reservation.most_usd)

    def unsent(self) -> None:
        """Nothing was asked of the provider."""
        self._settle(0.0)

    def _settle(self, usd: float) -> float:
        if self.usd is None:
            self.usd = usd
            self.budget.settle_soon(self.reservation, usd)
        return self.usd


def _answer_tokens(texts: Sequence[str]) -> int:
    """Tokens of an answer in pieces, without those around a message."""
    counted = tokens_of([{"role": "assistant", "content": "".join(texts)}])
    return counted - tokens_of([{"role": "assistant", "content": ""}])


def used_up(error: OverLimit) -> Refused:
    """The refusal of a question that names the paid model."""
    return Refused(
        429,
        "paid_budget_used_up",
        tried="answer with the paid model",
        found=error.found,
        next_step=f"ask twin/<author> without @paid, or {error.next_step}",
        retry_after_s=2 if error.is_passing else error.retry_after_s,
    )


def is_unbilled(error: BaseException) -> bool:
    """Whether a provider has certainly computed nothing: it refused, or was not reached."""
    import httpx

    status = int(getattr(error, "status_code", 0) or 0)
    if 400 <= status < 500 and status != _TIMED_OUT:
        return True
    seen: BaseException | None = error
    while seen is not None:
        # LiteLLM gives a broken connection the status 500 of its own; this one was received
        if isinstance(seen, httpx.HTTPStatusError):
            return True
        if isinstance(seen, httpx.TransportError):
            return isinstance(seen, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        seen = seen.__cause__ or seen.__context__
    return False


def _unreadable(error: Exception) -> str:
    return f"budget unreadable ({type(error).__name__})"


def _release_unsent(work: asyncio.Future[PaidCall]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().unsent()


def _told(written: Future[None]) -> None:
    error = written.exception()
    if error is not None:
        sys.stderr.write(
            f"a settlement was not written ({type(error).__name__}: {error}); it counts in full\n"
        )


def provider_completion() -> Any:
    """LiteLLM's `completion`, which reports to nobody.

    A provider that was named gets prompt and key, and nobody to whom it sends them on: the client
    of OpenAI's interface follows no redirect.
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
