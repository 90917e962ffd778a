"""Asks a language model to rate answers, within a budget.

Scope: requests, retries, the order of a batch, reserving and settling costs, reading whole
numbers from a reply.
Out of scope: rubrics and the meaning of their numbers (`language_model.py`, which decides
releases; the gate's blind judge, which reports), permission to ask (`terms.py`).

Each request contains one answer instead of two, because language models prefer the first of two
(https://arxiv.org/abs/2306.05685, section 3.3). The order depends only on the texts, so no version
comes first, and a provider that drifts during the batch favours none.
A batch is sent only if the account can pay for all of it: a partial batch of ratings is useless,
and the next attempt would pay for it again.
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from twin_resources.access.named_model import pause_s
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest
from twin_resources.quality.judges.terms import FREE, JudgeTerms

ASKING_VERSION = "asking-2"  # increase when a rating could change; 2 added the schema
TRIES = 3  # per answer, if a reply cannot be read
REQUESTS = 3  # per try, if the provider fails; each has its own reservation
AT_ONCE = 4
_FIRST_PAUSE_S = 0.5
_PASSING = frozenset({408, 409, 429})  # retried, as is every 5xx
_AROUND_A_REQUEST = 64  # tokens that a provider may add
LOWEST, HIGHEST = 1, 5
_OBJECT = re.compile(r"\{[^{}]*\}")

Rating = TypeVar("Rating")


@dataclass(frozen=True)
class JudgeUsage:
    """The calls, unreadable replies and cost of a judge so far.

    `usd` covers only models with a price in LiteLLM. It includes the possible cost of failed
    requests.
    """

    calls: int
    unreadable: int
    usd: float


@dataclass(frozen=True)
class Rubric(Generic[Rating]):
    """The prompt for rating one answer, and the format of its reply.

    Attributes:
        prompt: the template with `{question}`, `{passages}`, `{answer}` and the fields of `shown`.
        names: the keys of the whole numbers, 1 to 5, in the JSON object of a reply.
        rating: converts these numbers, in the order of `names`, into a rating.
        most_tokens: the most tokens of a reply.
        shown: (field, text) that the prompt shows with every answer.
    """

    prompt: str
    names: tuple[str, ...]
    rating: Callable[[tuple[int, ...]], Rating]
    most_tokens: int
    shown: tuple[tuple[str, str], ...] = ()

    def read(self, reply: str) -> Rating | None:
        """Return the rating in a reply, or None if it cannot be read."""
        numbers = whole_numbers(reply, self.names)
        return None if numbers is None else self.rating(numbers)

    def response_format(self) -> dict[str, Any]:
        """Return the reply's JSON schema, which a server that supports schemas enforces."""
        scale = {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))}
        schema = {
            "type": "object",
            "properties": dict.fromkeys(self.names, scale),
            "required": list(self.names),
            "additionalProperties": False,
        }
        named = {"name": "rating", "strict": True, "schema": schema}
        return {"type": "json_schema", "json_schema": named}

    def of(self, one: JudgedAnswer) -> str:
        """Return the message that asks for a rating of one answer."""
        return self.prompt.format(
            question=one.question.strip(),
            passages="\n\n".join(text.strip() for text in one.passages) or "(none)",
            answer=one.answer.strip(),
            **dict(self.shown),
        )


class RubricRater(Generic[Rating]):
    """Has a language model rate answers by a rubric.

    Args:
        model: a LiteLLM model name; LiteLLM reads its key and address from the environment.
        demanded: whether an answer without a rating after three tries is an error and ends the
            batch.
        terms: the model's budget, and how texts are redacted for it.
    """

    def __init__(
        self,
        model: str,
        rubric: Rubric[Rating],
        *,
        demanded: bool,
        terms: JudgeTerms = FREE,
        timeout_s: float = 60.0,
    ) -> None:
        self.model = model
        self._rubric = rubric
        self._terms = terms
        self._demanded = demanded
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._spent = JudgeUsage(0, 0, 0.0)
        self._by_schema = True  # until a server refuses it

    @property
    def spent(self) -> JudgeUsage:
        """Calls, unreadable replies and dollars since this object was created."""
        return self._spent

    def rate(self, answered: Sequence[JudgedAnswer]) -> dict[JudgedAnswer, Rating | None]:
        """Rate each answer that is not empty; equal answers are rated once.

        Raises:
            OverLimit: the account allows less than the most that the batch can cost. Nothing was
                sent, unless another process used the money during the batch.
            TwinError: the model cannot be reached, refuses or may not be asked, or a rating is
                missing although `demanded` is set.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks GitHub
        from openai import OpenAIError

        self._terms.require(self.model)
        to_rate = sorted({one for one in answered if one.answer.strip()}, key=_lot)
        if to_rate and self._terms.budget is not None:
            self._terms.budget.require(self.most_usd(to_rate))
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return dict(zip(to_rate, pool.map(self._ask, to_rate), strict=True))
        except OpenAIError as error:  # the base class of every LiteLLM error
            raise TwinError(
                f"have {self.model} rate {len(to_rate)} answers",
                found=str(error).splitlines()[0],
                next_step="check the name and its key, or unset TWIN_JUDGE_MODEL",
            ) from error

    def most_usd(self, answered: Sequence[JudgedAnswer]) -> float:
        """Return the most that one try per answer can cost; 0 for a free model."""
        if self._terms.budget is None:
            return 0.0
        return sum(self._most_usd(self._content(one)) for one in answered)

    @property
    def usd_left(self) -> float | None:
        """US dollars left in the account; None without a limit or for a free model."""
        return None if self._terms.budget is None else self._terms.budget.left()

    def _content(self, one: JudgedAnswer) -> str:
        shown = self._terms.shown
        return self._rubric.of(JudgedAnswer(shown(one.question), shown(one.answer), one.passages))

    def _ask(self, one: JudgedAnswer) -> Rating | None:
        content, answer_text = self._content(one), ""
        for attempt in range(TRIES):
            # repeating the same request would give the same unreadable reply
            reply = self._complete(content, temperature=0.0 if attempt == 0 else 0.5)
            answer_text = str(reply.choices[0].message.content or "") if reply.choices else ""
            rating = self._rubric.read(answer_text)
            self._count(unreadable=rating is None)
            if rating is not None:
                return rating
        if self._demanded:
            raise TwinError(
                f"have {self.model} rate an answer",
                found=f"no rating in {TRIES} tries, last {len(answer_text)} characters of "
                "something else",
                next_step="name a larger model in TWIN_JUDGE_MODEL; this one does not keep the "
                "format",
            )
        return None

    def _complete(self, content: str, *, temperature: float) -> Any:
        """Return one reply, with the schema enforced if the server accepts one.

        A model of 135M kept the format in none of 36 replies without the schema, in all with it.
        """
        import litellm

        by_schema = self._by_schema
        try:
            return self._requested(content, temperature=temperature, by_schema=by_schema)
        except litellm.BadRequestError:  # pyright: ignore[reportPrivateImportUsage]
            if not by_schema:
                raise
            self._by_schema = False  # some servers accept no schema
            return self._complete(content, temperature=temperature)

    def _requested(self, content: str, *, temperature: float, by_schema: bool) -> Any:
        """Return one reply; retry temporary failures, each as a request of its own."""
        from openai import OpenAIError

        for request in range(REQUESTS):
            try:
                return self._request(content, temperature=temperature, by_schema=by_schema)
            except OpenAIError as error:
                status = int(getattr(error, "status_code", 0) or 0)
                final = 400 <= status < 500 and status not in _PASSING
                if final or request == REQUESTS - 1:
                    raise
                time.sleep(pause_s(error, tries=request + 1, first_s=_FIRST_PAUSE_S))
        raise AssertionError("the last request returns or raises")

    def _request(self, content: str, *, temperature: float, by_schema: bool) -> Any:
        """Send one request; reserve its cost before, and settle it however the request ends."""
        from twin_resources.access.paid_budget import is_unbilled, provider_completion

        complete = provider_completion()
        budget = self._terms.budget
        most = 0.0 if budget is None else self._most_usd(content)
        held = None if budget is None else budget.reserve(most)
        usd = most  # a request that fails on the way may have been charged
        try:
            reply = complete(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                temperature=temperature,
                max_tokens=self._rubric.most_tokens,
                response_format=self._rubric.response_format() if by_schema else None,
                drop_params=True,  # omits the schema for a provider without schemas
                num_retries=0,
                max_retries=0,
                timeout=self._timeout_s,
            )
            usd = self._cost_of(reply, most)
            return reply
        except Exception as error:
            usd = 0.0 if is_unbilled(error) else most
            raise
        finally:
            self._count(usd=usd)
            if budget is not None and held is not None:
                budget.settle(held, usd)

    def _most_usd(self, content: str) -> float:
        """Return the highest possible cost of one request, including its schema."""
        from twin_resources.access.paid_budget import most_prompt_tokens, price_of

        messages = [{"role": "user", "content": content}]
        schema = len(json.dumps(self._rubric.response_format()))  # a token is at least one byte
        tokens = most_prompt_tokens(self.model, messages) + schema + _AROUND_A_REQUEST
        return price_of(self.model, prompt_tokens=tokens, answer_tokens=self._rubric.most_tokens)

    def _cost_of(self, reply: Any, most: float) -> float:
        """Return the cost of a reply, or the highest possible cost if it contains no usage."""
        from twin_resources.access.paid_budget import price_of

        if self._terms.budget is None:
            known = cast(dict[str, Any], getattr(reply, "_hidden_params", {}))
            return float(known.get("response_cost") or 0.0)
        usage = getattr(reply, "usage", None)
        prompt = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer = int(getattr(usage, "completion_tokens", 0) or 0)
        if not prompt + answer:
            return most
        return price_of(self.model, prompt_tokens=prompt, answer_tokens=answer, usage=usage)

    def _count(self, *, usd: float | None = None, unreadable: bool = False) -> None:
        """Count a finished request (if `usd` is given), and an unreadable reply."""
        with self._lock:
            self._spent = JudgeUsage(
                self._spent.calls + (usd is not None),
                self._spent.unreadable + unreadable,
                self._spent.usd + (usd or 0.0),
            )


def whole_numbers(text: str, names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers with these names in a reply with exactly one JSON object.

    The result is None unless each of them is a whole number from 1 to 5.
    """
    objects = _OBJECT.findall(text)
    if len(objects) != 1:
        return None
    try:
        document: dict[str, Any] = json.loads(objects[0])
    except ValueError:
        return None
    values: list[int] = []
    for name in names:
        value = document.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        if not LOWEST <= value <= HIGHEST:
            return None
        values.append(value)
    return tuple(values)


def as_score(number: int) -> float:
    """Map a rating from 1 to 5 to a score from 0 to 1."""
    return (number - LOWEST) / (HIGHEST - LOWEST)


def _lot(one: JudgedAnswer) -> str:
    return digest("order", one.question, one.answer, one.passages)
