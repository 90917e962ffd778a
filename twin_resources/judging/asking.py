"""Asking a language model to rate answers: in which order, how often, what it costs.

Belongs here: requests, retries of what cannot be read, the pile's order, the account, reading whole
numbers from a reply.
Does not belong here: a rubric and what its numbers mean (`language_model.py`, on which releases
rest; the gate's blind judge, which reports).

One answer a request, not two beside each other: language models prefer the first of two
(https://arxiv.org/abs/2306.05685, section 3.3). The order follows from the texts alone, so that
nobody's answers come first and a provider that drifts during the batch favours nobody.
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from twin_resources.errors import TwinError
from twin_resources.judging.judge import Answered, digest

TRIES = 3  # of an answer that cannot be read; LiteLLM itself tries again on failures
AT_ONCE = 4
LOWEST, HIGHEST = 1, 5
_OBJECT = re.compile(r"\{[^{}]*\}")

Rating = TypeVar("Rating")


@dataclass(frozen=True)
class Spent:
    """What a judge has used so far; `usd` counts only models whose price LiteLLM knows."""

    calls: int
    unreadable: int
    usd: float


@dataclass(frozen=True)
class Rubric(Generic[Rating]):
    """How one answer is asked about.

    Attributes:
        prompt: with `{question}`, `{passages}`, `{answer}` and whatever `shown` fills in.
        shown: what the prompt shows of every answer alike.
        read: a rating from a reply; None: it cannot be read.
        most_tokens: of a reply.
    """

    prompt: str
    read: Callable[[str], Rating | None]
    most_tokens: int
    shown: tuple[tuple[str, str], ...] = ()

    def of(self, one: Answered) -> str:
        """The message about one answer."""
        return self.prompt.format(
            question=one.question.strip(),
            passages="\n\n".join(text.strip() for text in one.passages) or "(none)",
            answer=one.answer.strip(),
            **dict(self.shown),
        )


class Rater(Generic[Rating]):
    """Has a language model rate answers by a rubric.

    Args:
        model: a LiteLLM model name; its key and address come from the environment, as LiteLLM says.
        demanded: an answer without a rating after three tries is an error, and ends the batch.
    """

    def __init__(
        self, model: str, rubric: Rubric[Rating], *, demanded: bool, timeout_s: float = 60.0
    ) -> None:
        self.model = model
        self._rubric = rubric
        self._demanded = demanded
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._spent = Spent(0, 0, 0.0)

    @property
    def spent(self) -> Spent:
        """Calls, unreadable replies and dollars since this object was made."""
        return self._spent

    def rate(self, answered: Sequence[Answered]) -> dict[Answered, Rating | None]:
        """The rating of each answer that is not empty; the same one is asked about once.

        Raises:
            TwinError: the model cannot be reached or refuses, or `demanded` and one is missing.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks up GitHub
        from openai import OpenAIError

        asked = sorted({one for one in answered if one.answer.strip()}, key=_lot)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return dict(zip(asked, pool.map(self._ask, asked), strict=True))
        except OpenAIError as error:  # every LiteLLM error is one
            raise TwinError(
                f"have {self.model} rate {len(asked)} answers",
                found=str(error).splitlines()[0],
                next_step="check the name and its key, or unset TWIN_JUDGE_MODEL",
            ) from error

    def _ask(self, one: Answered) -> Rating | None:
        import litellm

        litellm.telemetry = False  # pyright: ignore[reportAttributeAccessIssue]
        complete: Any = litellm.completion
        content, said = self._rubric.of(one), ""
        for attempt in range(TRIES):
            reply = complete(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                # the same request twice would give the same unreadable answer
                temperature=0.0 if attempt == 0 else 0.5,
                max_tokens=self._rubric.most_tokens,
                num_retries=2,
                timeout=self._timeout_s,
            )
            said = str(reply.choices[0].message.content or "")
            rating = self._rubric.read(said)
            self._count(reply, readable=rating is not None)
            if rating is not None:
                return rating
        if self._demanded:
            raise TwinError(
                f"have {self.model} rate an answer",
                found=f"no rating in {TRIES} tries, last {len(said)} characters of something else",
                next_step="name a larger model in TWIN_JUDGE_MODEL; this one does not keep the "
                "format",
            )
        return None

    def _count(self, reply: Any, *, readable: bool) -> None:
        cost = cast(dict[str, Any], getattr(reply, "_hidden_params", {})).get("response_cost")
        with self._lock:
            self._spent = Spent(
                self._spent.calls + 1,
                self._spent.unreadable + (not readable),
                self._spent.usd + float(cost or 0.0),
            )


def whole_numbers(said: str, names: Sequence[str]) -> tuple[int, ...] | None:
    """The numbers by these names in a reply that holds exactly one JSON object; None unless each is
    a whole number from 1 to 5."""
    objects = _OBJECT.findall(said)
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
    """1 to 5 as 0 to 1."""
    return (number - LOWEST) / (HIGHEST - LOWEST)


def _lot(one: Answered) -> str:
    return digest("order", one.question, one.answer, one.passages)
