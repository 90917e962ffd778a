"""A whole answer of the own model that the paid one answers anew where it scores low.

Belongs here: what is prepared for that before the own model answers, and which of the two calls
the trace is of. Does not belong here: the threshold and its certificate (`router/cascade.py`), the
score (`router/answer_score.py`), calling a model (`plugin.py`).

Only for answers that nobody reads while they are written: a stream cannot be taken back. LiteLLM
logs each of the two calls when it likes, so both wait until it is known whose answer went out.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twin_resources.router.answer_score import answer_score
from twin_resources.router.cascade import asks_again

if TYPE_CHECKING:
    from twin_resources.gateway.routing.decision import RouteDecision
    from twin_resources.router.fixed_order import PriceStep

Log = Callable[[], Awaitable[None]]


@dataclass
class Cascade:
    """The second answer, prepared.

    Attributes:
        step: certified; `asks_again` reads it.
        paid: who answers anew.
        template: hash of its prompt's.
        messages: its prompt, as the provider may see it.
        provider, provider_saw: its name, and what that shows of the request.
        held_back: why it is shown less than there is; empty: all.
    """

    step: PriceStep
    paid: RouteDecision
    template: str
    messages: Sequence[Mapping[str, str]]
    provider: str
    provider_saw: str
    held_back: str = ""
    _answered_by: str | None = None
    _waiting: list[tuple[str, Log]] = field(default_factory=list[tuple[str, Log]])

    def verdict(self, answer: str, passages: Sequence[str]) -> tuple[bool, str]:
        """Whether an own answer is asked for again, and why, one clause."""
        score = answer_score(answer, passages)
        again = asks_again(self.step, score)
        how = "asked again" if again else "kept"
        return again, f"own answer scores {score:.3f}, threshold {-self.step.weight:.3f}: {how}"

    def may_log(self, server_key: str, log: Log) -> bool:
        """Whether a call is to be logged now; else `log` is kept for `release`."""
        if self._answered_by is None:
            self._waiting.append((server_key, log))
        return self._answered_by == server_key

    async def release(self, server_key: str) -> None:
        """Whose answer went out is known: its call is logged, the other is not."""
        if self._answered_by is not None:
            return
        self._answered_by = server_key
        for called, log in self._waiting:
            if called == server_key:
                await log()
        self._waiting.clear()
