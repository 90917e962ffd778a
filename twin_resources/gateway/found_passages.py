"""Retrieval on the request path: off the event loop, and behind a queue that has an end.

Scope: the threads, the queue, and the clauses that say why an answer rests on no passage, or
quotes nothing.
Out of scope: how passages are found (`retrieval/retrieval.py`) and shown
(`prompt/templates.py`), how quotations are chosen (`quotes/quoter.py`).

Under load a question waits its turn, or is refused where the queue is full. It is never answered
without the posts: after a time limit of 3 s 603 of 780 answers had none, all of them with 200.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.access.refusals import Refused
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.errors import TwinError
from twin_resources.gateway.front_desk import sure_language
from twin_resources.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.quotes.quoter import Quoted, Quoter
    from twin_resources.models.retrieval.retrieval import Passage, RetrievalResult, Retriever
    from twin_resources.quality.judges.sentence_support import SentenceSupport

# About four times what one model server may have under way; worked off at 8 to 17 CPU-ms each.
MAX_WAITING = 256
_THREADS = 2
_RETRY_S = 5.0
_WEIGHT = 0.1  # of the newest question in the mean of how long one takes


@dataclass(frozen=True)
class FoundPassages:
    """What the author's posts hold for a question.

    Attributes:
        passages: for the prompt, best first.
        missing: why there are none; empty: all is well.
        nearest: a passage of each of the posts found first.
        quoted: what may be quoted; None: nobody asked for it.
        vector: the question's, of length 1; None: it was not embedded.
        embedder: revision of who made it.
    """

    passages: tuple[Passage, ...] = ()
    missing: str = ""
    nearest: tuple[Passage, ...] = ()
    quoted: Quoted | None = None
    vector: np.ndarray | None = field(default=None, compare=False)
    embedder: str = ""

    def rank(self) -> tuple[bool, float]:
        """What decides between two searches: whether it may be quoted, then how near it lies."""
        if self.quoted is None:
            return False, self.closeness
        return bool(self.quoted.quotes), self.quoted.best

    @property
    def closeness(self) -> float:
        """Cosine of the best passage that the prompt shows; 0 without one."""
        return max((passage.cosine for passage in self.passages), default=0.0)


@dataclass
class Passages:
    """Finds passages for questions, and what to quote; opens both at the first one.

    Attributes:
        open_retriever: makes the retriever; may raise, and is asked again after some seconds.
        open_quoter: makes the quoter for the retriever's embedder; None: nothing is quoted.
        most_waiting: questions that wait or are worked on; the next one is refused.
    """

    open_retriever: Callable[[], Retriever]
    open_quoter: Callable[[Retriever], Quoter] | None = None
    most_waiting: int = MAX_WAITING
    _waiting: int = 0
    _seconds: float = 0.0  # that a question takes, the mean of the last ones
    _quoter: Quoter | None = None
    _retriever: Retriever | None = None
    _failed_at: float = -_RETRY_S
    _lock: Lock = field(default_factory=Lock)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="retrieval")
    )

    async def find(
        self,
        author: str,
        searches: Sequence[str],
        *,
        token_budget: int,
        with_quotes: bool = False,
        shown: str = "",
    ) -> FoundPassages:
        """What is found for a question; a failure is a clause of what is found.

        Args:
            searches: `ChatRequest.searches`; the one whose result is nearer is taken.
            token_budget: most tokens of the passages together (`Author.context_tokens`).
            with_quotes: look for quotations too.
            shown: earlier answers of the conversation; what they quote comes behind the rest.

        Raises:
            Refused: 429 as many questions wait as may.
        """
        if self._waiting >= self.most_waiting:
            raise self._full()
        self._waiting += 1
        try:
            # A reader who leaves meanwhile cancels this, and what has not begun leaves the queue.
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._measured, author, searches, token_budget, with_quotes, shown
            )
        except Exception as error:  # noqa: BLE001 - an answer without passages beats none; it is told and logged
            sys.stderr.write(f"retrieval for {author} failed: {type(error).__name__}: {error}\n")
            return FoundPassages(missing=f"retrieval failed ({type(error).__name__})")
        finally:
            self._waiting -= 1

    def _full(self) -> Refused:
        """The refusal; when to ask again goes by what was worked off lately."""
        wait_s = max(1, math.ceil(self._waiting * self._seconds / _THREADS))
        return Refused(
            429,
            "too_many_waiting",
            tried="look for passages",
            found=f"{self._waiting} questions that wait for theirs, as many as may",
            next_step=f"ask again in {wait_s} s, with fewer at a time",
            retry_after_s=wait_s,
        )

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the threads of retrieval."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def sentence_judge(self, revision: str) -> SentenceSupport | None:
        """The judge of sentences for one answer, which embeds no text twice; None: the embedder is
        not open, or it is another judge's."""
        from twin_resources.quality.judges.judge import embed_each_once
        from twin_resources.quality.judges.sentence_support import SentenceSupport

        if self._retriever is None:
            return None
        embedder = self._retriever.embedder_revision
        judge = SentenceSupport(embed_each_once(self._retriever.embed), embedder=embedder)
        return judge if judge.revision == revision else None

    def warm_up(self, author: str) -> None:
        """Load the embedder and the search before the first question; any slug will do."""
        self._retrieve(author, ["warm up"], CONTEXT_TOKENS, with_quotes=True)

    def look_up(
        self, author: str, searches: Sequence[str], *, with_quotes: bool, shown: str = ""
    ) -> FoundPassages:
        """As `find`, in the caller's thread; what fails is raised."""
        return self._retrieve(author, searches, CONTEXT_TOKENS, with_quotes, shown)

    def _measured(
        self, author: str, searches: Sequence[str], token_budget: int, with_quotes: bool, shown: str
    ) -> FoundPassages:
        began = time.monotonic()
        found_passages = self._retrieve(author, searches, token_budget, with_quotes, shown)
        took = time.monotonic() - began
        self._seconds += _WEIGHT * (took - self._seconds) if self._seconds else took
        return found_passages

    def _retrieve(
        self,
        author: str,
        searches: Sequence[str],
        token_budget: int,
        with_quotes: bool,
        shown: str = "",
    ) -> FoundPassages:
        retriever = self._open()
        found = [
            self._found(
                author,
                search,
                retriever.retrieve(
                    author, search, token_budget=token_budget, with_tokens=with_quotes
                ),
                retriever if with_quotes else None,
                shown,
            )
            for search in searches
        ]
        return max(found, key=FoundPassages.rank)  # of equals the question by itself

    def _found(
        self,
        author: str,
        search: str,
        retrieved: RetrievalResult,
        quotes_by: Retriever | None,
        shown: str,
    ) -> FoundPassages:
        reason = "" if retrieved.passages else retrieved.reason
        missing = f"no passages: {reason}" if reason else ""
        passages = FoundPassages(
            retrieved.passages,
            missing,
            retrieved.nearest,
            vector=retrieved.vector,
            embedder=retrieved.embedder,
        )
        if quotes_by is None or self.open_quoter is None or reason or retrieved.vector is None:
            return passages
        if self._quoter is None:
            self._quoter = self.open_quoter(quotes_by)
        posts = [passage.document_id for passage in retrieved.nearest]
        made_by, vector, tokens = retrieved.embedder, retrieved.vector, retrieved.tokens
        # While a home is embedded again, chunks and paragraphs may be of two embedders.
        calibrated = self._quoter.embedder_of(author)
        if calibrated != made_by and (embedder := quotes_by.embedder_of(calibrated)):
            made_by, (vector, tokens) = calibrated, embedder.embed_question(search)
        quoted = self._quoter.quote(
            author,
            vector,
            posts,
            tokens=tokens,
            embedder=made_by,
            shown=shown,
            language=sure_language(search),
        )
        return replace(passages, quoted=quoted)

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
        from twin_resources.models.embedder.embedder import load_embedder, load_revision
        from twin_resources.models.retrieval.reranker import load_reranker
        from twin_resources.models.retrieval.retrieval import Retriever

        # One thread a question: with all of them it costs 13-17 CPU-ms in place of 8, because they
        # wait for each other in a busy loop, and several questions share the cores anyway. No card:
        # this process never imports torch.
        embedder = load_embedder(settings, threads=1, on_card=False)
        return Retriever(
            settings.tables_base,
            embedder,
            reranker=load_reranker(settings),
            other=lambda revision: load_revision(settings, revision),
        )

    def open_quoter(retriever: Retriever) -> Quoter:
        from twin_resources.models.quotes.quoter import Quoter

        return Quoter(settings.tables_base, retriever.embedder_revision)

    return Passages(open_retriever, open_quoter)
