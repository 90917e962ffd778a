"""Retrieval on the request path: off the event loop, bounded in time, and never the end of an
answer.

Belongs here: the thread, the time limit, and the clause that says why an answer rests on no
passage.
Does not belong here: how passages are found (`retrieval/retrieval.py`) and shown (`prompt.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.retrieval.retrieval import Passage, Retriever

TIMEOUT_S = 3.0
_THREADS = 2
_RETRY_S = 5.0


@dataclass
class Passages:
    """Finds passages for questions; opens the retriever at the first one.

    Attributes:
        open_retriever: makes the retriever; may raise, and is asked again after some seconds.
        timeout_s: how long a question waits for its passages.
    """

    open_retriever: Callable[[], Retriever]
    timeout_s: float = TIMEOUT_S
    _retriever: Retriever | None = None
    _failed_at: float = -_RETRY_S
    _lock: Lock = field(default_factory=Lock)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="retrieval")
    )

    async def find(
        self, author: str, text: str, *, token_budget: int
    ) -> tuple[Sequence[Passage], str]:
        """The passages for a search text, best first, and why there are none (empty: all is
        well).

        Args:
            token_budget: most tokens of them together (`Author.context_tokens`).
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._retrieve, author, text, token_budget)
        try:
            return await asyncio.wait_for(work, self.timeout_s)
        except TimeoutError:
            return (), f"retrieval took longer than {self.timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - an answer without passages beats none; it is told and logged
            sys.stderr.write(f"retrieval for {author} failed: {type(error).__name__}: {error}\n")
            return (), f"retrieval failed ({type(error).__name__})"

    def warm_up(self, author: str) -> None:
        """Load the embedder and the search before the first question; any slug will do."""
        self._retrieve(author, "warm up", CONTEXT_TOKENS)

    def _retrieve(self, author: str, text: str, token_budget: int) -> tuple[Sequence[Passage], str]:
        found = self._open().retrieve(author, text, token_budget=token_budget)
        reason = "" if found.passages else found.reason
        return found.passages, f"no passages: {reason}" if reason else ""

    def _open(self) -> Retriever:
        with self._lock:
            if self._retriever is None:
                if time.monotonic() - self._failed_at < _RETRY_S:
                    raise TwinError(
                        "open the retriever",
                        found="that it could not be opened some seconds ago",
                        next_step="see the gateway's log",
                    )
                try:
                    self._retriever = self.open_retriever()
                except Exception:
                    self._failed_at = time.monotonic()
                    raise
            return self._retriever


def passages_of(settings: Settings) -> Passages:
    """Passages from the tables and the embedder of a home."""

    def open_retriever() -> Retriever:
        from twin_resources.embedder.embedder import load_embedder
        from twin_resources.retrieval.retrieval import Retriever

        return Retriever(settings.tables_base, load_embedder(settings))

    return Passages(open_retriever)
