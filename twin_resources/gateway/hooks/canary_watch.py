"""Watch the requests of a version on a ramp, and take it back when it fails.

It is taken back at its fifth error among its last twenty requests. An error is a request that it
did not answer, or not within `TIMEOUT_S`, and that the stable version answered; a machine that is
down thus takes nothing back. First this process sends it no further requests. Then the registry
rolls it back and rewrites the policy for the other processes, which is retried until it succeeds.
Each gateway process watches its own requests.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DatabaseError

from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.exchange import RequestRecord

ACTOR = "gateway"
RETRY_INTERVAL_S = 1.0
TIMEOUT_S = 30.0  # then the stable version answers
MAX_ERRORS, WATCHED_REQUESTS = 5, 20
# Called with (author, version, reason); rolls the version back in the registry and blocks.
RollbackCallback = Callable[[str, int, str], None]


@dataclass
class CanaryWatch:
    """The last outcomes of each version on a ramp, in one gateway process.

    Attributes:
        live_config: removes a version that is taken back from its snapshot.
        roll_back: rolls the version back in the registry.
        errors: by server key, whether each of the last requests was an error.
    """

    live_config: LiveConfig
    roll_back: RollbackCallback
    errors: dict[str, deque[bool]] = field(default_factory=dict[str, deque[bool]])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def count_request(self, record: RequestRecord, *, is_answered: bool) -> None:
        """Count a finished request.

        Args:
            is_answered: whether an answer was sent, by any version.
        """
        decision = record.replaced_decision or record.decision
        if record.is_fixed or not is_answered or decision.route != "canary":
            return  # a fixed sentence, a disconnect, or a question that no version could answer
        if record.exchange.fallback is None and not record.is_fallback:
            return  # a client that named the version decides nothing for the other readers
        key = decision.server_key
        errors = self.errors.setdefault(key, deque(maxlen=WATCHED_REQUESTS))
        errors.append(record.replaced_decision is not None)
        if sum(errors) == MAX_ERRORS and errors[-1]:
            reason = (
                f"errors: {MAX_ERRORS} of its last {len(errors)} requests failed where the stable "
                "version answered"
            )
            self.live_config.stop_canary(key)
            sys.stderr.write(f"canary {key} is stopped: {reason}\n")
            version = int(decision.version.removeprefix("v"))
            task = asyncio.get_running_loop().create_task(
                self._roll_back(key, record.chat_request.author, version, reason)
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
                self.errors.pop(key, None)  # a later canary of this key starts afresh
                return
