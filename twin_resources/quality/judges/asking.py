"""Ask a language model to rate answers, within a budget.

Scope: requests, retries, the order of a batch, reserving and settling costs, parsing ratings.
Out of scope: rubrics and the meaning of their ratings (`language_model.py`, which decides releases;
the gate's blind judge, which reports), permission to send texts to a model (`terms.py`).

Each request contains one answer instead of two, because language models prefer the first of two
(https://arxiv.org/abs/2306.05685, section 3.3). The order depends only on the texts, so no version
comes first, and a provider that drifts during the batch favours no version. A batch is sent only if
the account can pay for all of it: partial ratings are useless, and the next attempt would pay for
them again.
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

from twin_resources.access.named_model import retry_delay_s
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest
from twin_resources.quality.judges.terms import FREE_TERMS, JudgeTerms

RATING_VERSION = "asking-2"  # increase this if ratings could change; 2 added the schema
MAX_ATTEMPTS = 3  # per answer, if a reply cannot be parsed
MAX_REQUESTS = 3  # per attempt, if the provider fails; each request has its own reservation
MAX_CONCURRENT_REQUESTS = 4
_FIRST_PAUSE_S = 0.5
_RETRYABLE_STATUSES = frozenset({408, 409, 429})  # in addition to every 5xx
_OVERHEAD_TOKENS = 64  # tokens that a provider may add
MIN_RATING, MAX_RATING = 1, 5
_OBJECT = re.compile(r"\{[^{}]*\}")

Rating = TypeVar("Rating")


@dataclass(frozen=True)
class JudgeUsage:
    """The number of calls and unreadable replies, and the cost of a judge.

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
        prompt: template with the fields `{question}`, `{passages}`, `{answer}` and those of
            `extra_fields`.
        keys: keys of the whole numbers, 1 to 5, in the JSON object of a reply.
        to_rating: function that converts these numbers, in the order of `keys`, into a rating.
        max_reply_tokens: maximum number of tokens of a reply.
        extra_fields: additional fields of the prompt and their texts, the same for every answer.
    """

    prompt: str
    keys: tuple[str, ...]
    to_rating: Callable[[tuple[int, ...]], Rating]
    max_reply_tokens: int
    extra_fields: tuple[tuple[str, str], ...] = ()

    def parse(self, reply: str) -> Rating | None:
        """Return the rating in a reply, or None if it cannot be parsed."""
        numbers = parse_ratings(reply, self.keys)
        return None if numbers is None else self.to_rating(numbers)

    def response_format(self) -> dict[str, Any]:
        """Return the JSON schema of a reply for servers that enforce schemas."""
        scale = {"type": "integer", "enum": list(range(MIN_RATING, MAX_RATING + 1))}
        schema = {
            "type": "object",
            "properties": dict.fromkeys(self.keys, scale),
            "required": list(self.keys),
            "additionalProperties": False,
        }
        named_schema = {"name": "rating", "strict": True, "schema": schema}
        return {"type": "json_schema", "json_schema": named_schema}

    def render(self, judged_answer: JudgedAnswer) -> str:
        """Return the message that asks for a rating of one answer."""
        return self.prompt.format(
            question=judged_answer.question.strip(),
            passages="\n\n".join(text.strip() for text in judged_answer.passages) or "(none)",
            answer=judged_answer.answer.strip(),
            **dict(self.extra_fields),
        )


class RubricRater(Generic[Rating]):
    """A rater that asks a language model to rate answers by a rubric.

    Args:
        model: LiteLLM model name; LiteLLM reads the key and the address from the environment.
        rubric: prompt and reply format.
        required: whether an answer without a rating after three attempts is an error that ends the
            batch.
        terms: budget of the model, and how texts are redacted for it.
    """

    def __init__(
        self,
        model: str,
        rubric: Rubric[Rating],
        *,
        required: bool,
        terms: JudgeTerms = FREE_TERMS,
        timeout_s: float = 60.0,
    ) -> None:
        self.model = model
        self._rubric = rubric
        self._terms = terms
        self._required = required
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._usage = JudgeUsage(0, 0, 0.0)
        self._uses_schema = True  # until a server refuses it

    @property
    def usage(self) -> JudgeUsage:
        """The usage since this object was created."""
        return self._usage

    def rate(self, answers: Sequence[JudgedAnswer]) -> dict[JudgedAnswer, Rating | None]:
        """Rate each nonempty answer; equal answers are rated once.

        Raises:
            OverLimitError: the account cannot pay the maximum cost of the batch. Nothing was sent,
                unless another process used the money during the batch.
            TwinError: the model cannot be reached, refuses or must not be called, or a rating is
                missing although `required` is set.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # do not query GitHub
        from openai import OpenAIError

        self._terms.require(self.model)
        distinct_answers = sorted(
            {answer for answer in answers if answer.answer.strip()}, key=_order_key
        )
        if distinct_answers and self._terms.budget is not None:
            self._terms.budget.check_available(self.max_cost_usd(distinct_answers))
        try:
            with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
                return dict(
                    zip(
                        distinct_answers, pool.map(self._rate_answer, distinct_answers), strict=True
                    )
                )
        except OpenAIError as error:  # the base class of every LiteLLM error
            raise TwinError(
                f"have {self.model} rate {len(distinct_answers)} answers",
                found=str(error).splitlines()[0],
                next_step="check the model's name and key, or unset TWIN_JUDGE_MODEL",
            ) from error

    def max_cost_usd(self, answers: Sequence[JudgedAnswer]) -> float:
        """Return the maximum cost of one attempt per answer; 0 for a free model."""
        if self._terms.budget is None:
            return 0.0
        return sum(self._max_request_cost_usd(self._render_prompt(answer)) for answer in answers)

    @property
    def remaining_usd(self) -> float | None:
        """US dollars left in the account; None without a limit or for a free model."""
        return None if self._terms.budget is None else self._terms.budget.remaining_usd()

    def _render_prompt(self, judged_answer: JudgedAnswer) -> str:
        redact = self._terms.redact_if_required
        return self._rubric.render(
            JudgedAnswer(
                redact(judged_answer.question), redact(judged_answer.answer), judged_answer.passages
            )
        )

    def _rate_answer(self, judged_answer: JudgedAnswer) -> Rating | None:
        content, reply_text = self._render_prompt(judged_answer), ""
        for attempt in range(MAX_ATTEMPTS):
            # At temperature 0, the same request would give the same unreadable reply again.
            reply = self._complete(content, temperature=0.0 if attempt == 0 else 0.5)
            reply_text = str(reply.choices[0].message.content or "") if reply.choices else ""
            rating = self._rubric.parse(reply_text)
            self._record_usage(unreadable=rating is None)
            if rating is not None:
                return rating
        if self._required:
            raise TwinError(
                f"have {self.model} rate an answer",
                found=f"no rating in {MAX_ATTEMPTS} attempts; the last reply had "
                f"{len(reply_text)} characters",
                next_step="set a larger model in TWIN_JUDGE_MODEL; this one does not follow the "
                "format",
            )
        return None

    def _complete(self, content: str, *, temperature: float) -> Any:
        """Return one reply, with the schema enforced if the server accepts a schema.

        Of 36 replies, a 135M model kept the format in none without the schema and in all with it.
        """
        import litellm

        uses_schema = self._uses_schema
        try:
            return self._request_with_retries(
                content, temperature=temperature, uses_schema=uses_schema
            )
        except litellm.BadRequestError:  # pyright: ignore[reportPrivateImportUsage]
            if not uses_schema:
                raise
            self._uses_schema = False  # some servers do not accept a schema
            return self._complete(content, temperature=temperature)

    def _request_with_retries(self, content: str, *, temperature: float, uses_schema: bool) -> Any:
        """Return one reply; retry temporary failures with separate requests."""
        from openai import OpenAIError

        for attempt in range(MAX_REQUESTS):
            try:
                return self._request(content, temperature=temperature, uses_schema=uses_schema)
            except OpenAIError as error:
                status = int(getattr(error, "status_code", 0) or 0)
                is_permanent = 400 <= status < 500 and status not in _RETRYABLE_STATUSES
                if is_permanent or attempt == MAX_REQUESTS - 1:
                    raise
                time.sleep(
                    retry_delay_s(error, attempts=attempt + 1, initial_delay_s=_FIRST_PAUSE_S)
                )
        raise AssertionError("the last request returns or raises")

    def _request(self, content: str, *, temperature: float, uses_schema: bool) -> Any:
        """Reserve the cost of one request, send it, and settle the cost even if it fails."""
        from twin_resources.access.paid_budget import is_unbilled, provider_completion

        send_completion = provider_completion()
        budget = self._terms.budget
        max_usd = 0.0 if budget is None else self._max_request_cost_usd(content)
        reservation = None if budget is None else budget.reserve(max_usd)
        usd = max_usd  # a failed request may have been charged
        try:
            reply = send_completion(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                temperature=temperature,
                max_tokens=self._rubric.max_reply_tokens,
                response_format=self._rubric.response_format() if uses_schema else None,
                drop_params=True,  # omit the schema for a provider without schema support
                num_retries=0,
                max_retries=0,
                timeout=self._timeout_s,
            )
            usd = self._reply_cost_usd(reply, max_usd)
            return reply
        except Exception as error:
            usd = 0.0 if is_unbilled(error) else max_usd
            raise
        finally:
            self._record_usage(usd=usd)
            if budget is not None and reservation is not None:
                budget.settle(reservation, usd)

    def _max_request_cost_usd(self, content: str) -> float:
        """Return the maximum cost of one request, including its schema."""
        from twin_resources.access.paid_budget import answer_price_usd, max_prompt_tokens

        messages = [{"role": "user", "content": content}]
        schema_tokens = len(
            json.dumps(self._rubric.response_format())
        )  # a token is at least one byte
        tokens = max_prompt_tokens(self.model, messages) + schema_tokens + _OVERHEAD_TOKENS
        return answer_price_usd(
            self.model, prompt_tokens=tokens, answer_tokens=self._rubric.max_reply_tokens
        )

    def _reply_cost_usd(self, reply: Any, max_usd: float) -> float:
        """Return the cost of a reply, or `max_usd` if the reply does not report usage."""
        from twin_resources.access.paid_budget import answer_price_usd

        if self._terms.budget is None:
            hidden_params = cast(dict[str, Any], getattr(reply, "_hidden_params", {}))
            return float(hidden_params.get("response_cost") or 0.0)
        usage = getattr(reply, "usage", None)
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        answer_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        if not prompt_tokens + answer_tokens:
            return max_usd
        return answer_price_usd(
            self.model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, usage=usage
        )

    def _record_usage(self, *, usd: float | None = None, unreadable: bool = False) -> None:
        """Count a finished request (if `usd` is given) or an unreadable reply."""
        with self._lock:
            self._usage = JudgeUsage(
                self._usage.calls + (usd is not None),
                self._usage.unreadable + unreadable,
                self._usage.usd + (usd or 0.0),
            )


def parse_ratings(text: str, keys: Sequence[str]) -> tuple[int, ...] | None:
    """Return the ratings with these keys in a reply with exactly one JSON object.

    The result is None unless every rating is a whole number from 1 to 5.
    """
    objects = _OBJECT.findall(text)
    if len(objects) != 1:
        return None
    try:
        document: dict[str, Any] = json.loads(objects[0])
    except ValueError:
        return None
    values: list[int] = []
    for name in keys:
        value = document.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        if not MIN_RATING <= value <= MAX_RATING:
            return None
        values.append(value)
    return tuple(values)


def rating_to_score(number: int) -> float:
    """Map a rating from 1 to 5 to a score from 0 to 1."""
    return (number - MIN_RATING) / (MAX_RATING - MIN_RATING)


def _order_key(judged_answer: JudgedAnswer) -> str:
    return digest("order", judged_answer.question, judged_answer.answer, judged_answer.passages)
