"""Watch the requests of canaries and stop a failing canary at once.

Scope: converting finished requests to values for the breaker, and executing its decision.
Out of scope: the test (`breaker.py`), LiteLLM's hooks (`plugin.py`), changing the version's state
(`registry/registry.py`; the actor is `gateway`).

A canary is stopped in two steps. First, this process sends it no further requests. Then the
registry rolls the canary back and rewrites the policy for the other processes. If the second step
fails (a locked store, a full disk), it is retried every second, and the first step stays in effect.
Each gateway process watches its own requests.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DatabaseError

from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks.breaker import Breaker, Cause, StableAnswer, StableWindow
from twin_resources.gateway.routing.decision import RouteDecision

ACTOR = "gateway"
RETRY_INTERVAL_S = 1.0
# A canary may take twice the time after which it counts as slow; then the stable version answers.
TIMEOUT_FACTOR = 2.0
# Called with (author, version, reason); rolls the version back in the registry and blocks.
RollbackCallback = Callable[[str, int, str], None]


@dataclass
class CanaryWatch:
    """The breakers of one gateway process.

    Attributes:
        live_config: removes a stopped canary from its snapshot.
        roll_back: rolls the canary back in the registry.
        clock: returns monotonic seconds.
        breakers: breakers by server key of the canary.
        windows: windows of the stable version by author.
    """

    live_config: LiveConfig
    roll_back: RollbackCallback
    clock: Callable[[], float] = time.monotonic
    breakers: dict[str, Breaker] = field(default_factory=dict[str, Breaker])
    windows: dict[str, StableWindow] = field(default_factory=dict[str, StableWindow])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def timeout_s(self, author: str) -> float:
        """Return the seconds after which the stable version answers in place of the canary."""
        return TIMEOUT_FACTOR * self._window(author).slow_threshold_s()

    def count_request(self, record: RequestRecord, *, is_answered: bool) -> None:
        """Count a finished request.

        Args:
            record: the record of the request.
            is_answered: whether an answer was sent, by any version.
        """
        author, seconds = record.chat_request.author, record.cost.seconds
        first_decision = record.replaced_decision or record.decision
        if record.is_fixed or not is_answered:
            return  # a fixed sentence, a disconnect, or a question that no version could answer
        if first_decision.route == "stable":
            window = self._window(author)
            self.windows[author] = window.with_answer(StableAnswer(self.clock(), seconds))
        elif first_decision.route == "canary" and record.fallback is not None:
            has_failed = record.replaced_decision is not None
            self._count_outcome(record, first_decision, "errors", is_bad=has_failed)
            if not has_failed:
                is_slow = seconds > self._window(author).slow_threshold_s()
                self._count_outcome(record, first_decision, "latency", is_bad=is_slow)

    def count_findings(self, record: RequestRecord) -> None:
        """Count the findings of `safety.py` in an answer."""
        author, is_unsafe = record.chat_request.author, bool(record.safety_findings)
        if record.decision.route == "canary" and record.fallback is not None:
            self._count_outcome(record, record.decision, "safety", is_bad=is_unsafe)
        elif record.decision.route == "stable" and is_unsafe:
            self.windows[author] = self._window(author).with_newest_unsafe()

    def _count_outcome(
        self, record: RequestRecord, canary: RouteDecision, cause: Cause, *, is_bad: bool
    ) -> None:
        key, author = canary.server_key, record.chat_request.author
        old_breaker = self.breakers.get(key, Breaker())
        new_breaker = old_breaker.with_outcome(cause, is_bad, stable=self._window(author))
        self.breakers[key] = new_breaker
        if old_breaker.tripped_cause is None and new_breaker.tripped_cause is not None:
            self.live_config.stop_canary(key)
            sys.stderr.write(f"canary {key} is stopped: {new_breaker.reason}\n")
            task = asyncio.get_running_loop().create_task(
                self._roll_back(
                    key, author, int(canary.version.removeprefix("v")), new_breaker.reason
                )
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _roll_back(self, key: str, author: str, version: int, reason: str) -> None:
        while True:
            try:
                await asyncio.to_thread(self.roll_back, author, version, reason)
            except (TwinError, DatabaseError, OSError) as error:
                sys.stderr.write(
                    f"canary {key}: the rollback failed and will be retried: {error}\n"
                )
                await asyncio.sleep(RETRY_INTERVAL_S)
            else:
                self.breakers.pop(key, None)  # a later canary of this key starts afresh
                return

    def _window(self, author: str) -> StableWindow:
        return self.windows.get(author, StableWindow())
