"""Watches canaries request by request and stops one at once, before its readers have noticed much.

Scope: turning ended requests into values for the breaker, and carrying its decision out.
Out of scope: the test (`breaker.py`), LiteLLM's hooks (`plugin.py`), moving the version
(`registry/registry.py`; the actor is `gateway`).

A decision has two steps. This process sends the canary nothing from the next request on; then the
registry is told, which rewrites the policy for everyone else. The second step may fail (a locked
store, a full disk): it is tried again every second, and the first one holds meanwhile. Each gateway
process watches its own requests.
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
AGAIN_S = 1.0
# A canary gets twice the time after which it counts as slow; then the stable version answers.
PATIENCE = 2.0
# (author, version, reason) → the registry's move; blocks.
RollBack = Callable[[str, int, str], None]


@dataclass
class CanaryWatch:
    """The breakers of one gateway process.

    Attributes:
        live: whose snapshot loses a stopped canary.
        roll_back: tells the registry.
        clock: seconds, monotonic.
        breakers, windows: by server key of the canary, and by author.
    """

    live: LiveConfig
    roll_back: RollBack
    clock: Callable[[], float] = time.monotonic
    breakers: dict[str, Breaker] = field(default_factory=dict[str, Breaker])
    windows: dict[str, StableWindow] = field(default_factory=dict[str, StableWindow])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def timeout_s(self, author: str) -> float:
        """How long a canary may take before the stable version answers in its place."""
        return PATIENCE * self._window(author).slow_after()

    def ended(self, answering: RequestRecord, *, answered: bool) -> None:
        """A request is over.

        Args:
            answered: whether anybody's answer went out.
        """
        author, taken = answering.asked.author, answering.cost.seconds
        first = answering.drawn or answering.chosen
        if answering.is_fixed or not answered:
            return  # a fixed sentence, a reader who left, or a question that nobody could answer
        if first.route == "stable":
            window = self._window(author)
            self.windows[author] = window.after(StableAnswer(self.clock(), taken))
        elif first.route == "canary" and answering.fallback is not None:
            failed = answering.drawn is not None
            self._value(answering, first, "errors", bad=failed)
            if not failed:
                slow = taken > self._window(author).slow_after()
                self._value(answering, first, "latency", bad=slow)

    def judged_safe(self, answering: RequestRecord) -> None:
        """What `safety.py` found in an answer is known."""
        author, unsafe = answering.asked.author, bool(answering.findings)
        if answering.chosen.route == "canary" and answering.fallback is not None:
            self._value(answering, answering.chosen, "safety", bad=unsafe)
        elif answering.chosen.route == "stable" and unsafe:
            self.windows[author] = self._window(author).with_finding()

    def _value(
        self, answering: RequestRecord, canary: RouteDecision, cause: Cause, *, bad: bool
    ) -> None:
        key, author = canary.server_key, answering.asked.author
        before = self.breakers.get(key, Breaker())
        after = before.after(cause, bad, stable=self._window(author))
        self.breakers[key] = after
        if before.tripped is None and after.tripped is not None:
            self.live.stop_canary(key)
            sys.stderr.write(f"canary {key} is stopped: {after.reason}\n")
            task = asyncio.get_running_loop().create_task(
                self._tell(key, author, int(canary.version.removeprefix("v")), after.reason)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, key: str, author: str, version: int, reason: str) -> None:
        while True:
            try:
                await asyncio.to_thread(self.roll_back, author, version, reason)
            except (TwinError, DatabaseError, OSError) as error:
                sys.stderr.write(f"canary {key}: the registry was not told, again soon. {error}\n")
                await asyncio.sleep(AGAIN_S)
            else:
                self.breakers.pop(key, None)  # should it come again, it restarts
                return

    def _window(self, author: str) -> StableWindow:
        return self.windows.get(author, StableWindow())
