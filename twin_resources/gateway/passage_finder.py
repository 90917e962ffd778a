"""Retrieve passages for a request in threads, behind a bounded queue.

Under load, a question waits in the queue, or is refused if the queue is full. There is no time
limit: with a limit of 3 s, 603 of 780 answers had no passages, all with status 200.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from twin_resources.access.refusals import RefusedError
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.errors import TwinError
from twin_resources.prompt.shown_passages import Excerpt, PromptPassage
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE, Template
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.newest_versions import NewestVersions, read_newest_version

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.quotes.quoter import Quote, QuoteResult
    from twin_resources.models.retrieval.date_ranges import DateRange
    from twin_resources.models.retrieval.page_ranking import Page
    from twin_resources.models.retrieval.question_rules import QuestionRules
    from twin_resources.models.retrieval.retrieval import Passage, RetrievalResult, Retriever
    from twin_resources.quality.judges.sentence_support import SentenceSupport

Result = TypeVar("Result")

# About four times the limit of one model server; each question takes 8 to 17 ms of CPU time.
MAX_WAITING = 256
# What a model of 1.5 billion parameters reads in 15 seconds on two cores.
MAX_PROMPT_QUOTES, MAX_QUOTED_CHARACTERS = 2, 1200
_THREAD_COUNT = 2
_RETRY_S = 5.0


@dataclass(frozen=True)
class RetrievedPassages:
    """The result of retrieval for a question.

    Attributes:
        passages: passages for the prompt, best first.
        missing_reason: reason that there are no passages; empty if there is no problem.
        nearest: one passage of each of the nearest posts.
        quote_result: the quotations; None if none were requested.
        vector: embedding of the question, of norm 1; None if it was not embedded.
        embedder: revision of the embedder that computed `vector`.
        is_declined: whether the author's rule is to answer no such question (`question_rules.py`).
        date_range: the dates of posts that the question names, or None.
        is_outside_range: whether nothing in that range answers, so that all posts were searched.
    """

    passages: tuple[Passage, ...] = ()
    missing_reason: str = ""
    nearest: tuple[Passage, ...] = ()
    quote_result: QuoteResult | None = None
    vector: np.ndarray | None = field(default=None, compare=False)
    embedder: str = ""
    is_declined: bool = False
    date_range: DateRange | None = None
    is_outside_range: bool = False

    def for_prompt(self, template: Template, quotes: Sequence[Quote]) -> Sequence[Excerpt]:
        """Return what a prompt of the template shows, best first.

        A model that was not trained on the posts chooses among whole paragraphs: the quotations,
        each with the sentences that end within `MAX_QUOTED_CHARACTERS`.

        Args:
            quotes: the quotations that the answer shows, which its trace names.
        """
        # Without passages, the author has not agreed to send any to the model's provider.
        if template is not ANSWER_MODEL_TEMPLATE or not quotes or not self.passages:
            return self.passages
        return [
            PromptPassage(
                quote.document_id,
                quote.title,
                _first_sentences(quote.text, MAX_QUOTED_CHARACTERS),
                quote.published_at,
            )
            for quote in quotes[:MAX_PROMPT_QUOTES]
        ]

    @property
    def closeness(self) -> float:
        """Cosine similarity of the best passage in the prompt; 0 without passages."""
        return max((passage.cosine for passage in self.passages), default=0.0)


def _first_sentences(text: str, max_characters: int) -> str:
    """Return the whole sentences within a length, at least the first one."""
    from twin_resources.quality.judges.support import sentence_spans

    end = 0
    for span in sentence_spans(text):
        if end and end + len(span.rstrip()) > max_characters:
            break
        end += len(span)
    return text[:end].rstrip()


@dataclass
class PassageFinder:
    """A finder of passages and quotations that opens its retriever when first used.

    Attributes:
        open_retriever: opens the retriever. If it raises, it is called again after some seconds.
        choose_quotes: chooses the quotations; None means `quoter.choose_quotes`.
        max_waiting: maximum number of questions that wait or are processed; more are refused.
        rules: what authors decided about questions, or None.
    """

    open_retriever: Callable[[], Retriever]
    choose_quotes: Callable[..., QuoteResult] | None = None
    max_waiting: int = MAX_WAITING
    rules: QuestionRules | None = None
    _waiting_count: int = 0
    _retriever: Retriever | None = None
    _failed_at: float = -_RETRY_S
    _lock: Lock = field(default_factory=Lock)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREAD_COUNT, thread_name_prefix="retrieval")
    )

    async def find(
        self,
        author: str,
        search_texts: Sequence[str],
        *,
        token_budget: int,
        with_quotes: bool = False,
        earlier_answers: tuple[str, ...] = (),
        page: Page | None = None,
        has_dates: bool = True,
    ) -> RetrievedPassages:
        """Find passages for a question; a failure is reported in the result's `missing_reason`.

        Args:
            author: slug of the author.
            search_texts: see `ChatRequest.search_texts`.
            token_budget: limit on the tokens of all passages (`Author.context_tokens`).
            with_quotes: whether to choose quotations too.
            earlier_answers: earlier answers of the conversation, oldest first, which change the
                ranking (`follow_ups.py`).
            page: the page on which the reader asks, whose post comes first (`page_ranking.py`).
            has_dates: whether the question may name a range of dates (`date_ranges.py`).

        Raises:
            RefusedError: 429 if the queue is full.
        """
        retrieve = partial(
            self._retrieve,
            author,
            search_texts,
            token_budget=token_budget,
            with_quotes=with_quotes,
            earlier_answers=earlier_answers,
            page=page,
            has_dates=has_dates,
        )
        with self._wait_in_queue():
            try:
                # A disconnect cancels this task; a question that has not started leaves the queue.
                return await self.run_in_thread(retrieve)
            except Exception as error:  # noqa: BLE001 - logged, and reported with the answer
                name = type(error).__name__
                sys.stderr.write(f"retrieval for {author} failed: {name}: {error}\n")
                return RetrievedPassages(missing_reason=f"retrieval failed ({name})")

    async def call_retriever(self, function: Callable[[Retriever], Result]) -> Result:
        """Call a function with the retriever, in the same queue and threads as questions.

        Raises:
            RefusedError: 429 if the queue is full.
        """
        with self._wait_in_queue():
            return await self.run_in_thread(lambda: function(self._open_retriever()))

    @contextmanager
    def _wait_in_queue(self) -> Generator[None]:
        if self._waiting_count >= self.max_waiting:
            message = f"{self._waiting_count} questions wait for a search; try again in a moment."
            raise RefusedError(429, "too_many_waiting", message)
        self._waiting_count += 1
        try:
            yield
        finally:
            self._waiting_count -= 1

    async def run_in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the retrieval threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def create_sentence_judge(self, revision: str) -> SentenceSupport | None:
        """Return a judge of sentence support for one answer; it embeds each text only once.

        Returns:
            The judge, or None if the embedder is not open or has a different revision.
        """
        from twin_resources.quality.judges.judge import cache_embeddings
        from twin_resources.quality.judges.sentence_support import SentenceSupport

        if self._retriever is None:
            return None
        embedder = self._retriever.embedder_revision
        judge = SentenceSupport(cache_embeddings(self._retriever.embed), embedder=embedder)
        return judge if judge.revision == revision else None

    def warm_up(self, author: str) -> None:
        """Open the retriever and load its models before the first question; any slug works."""
        self._retrieve(author, ["warm up"], token_budget=CONTEXT_TOKENS, with_quotes=True)

    def _retrieve(
        self,
        author: str,
        search_texts: Sequence[str],
        *,
        token_budget: int,
        with_quotes: bool,
        earlier_answers: tuple[str, ...] = (),
        page: Page | None = None,
        has_dates: bool = True,
    ) -> RetrievedPassages:
        from twin_resources.models.quotes.quoter import MIN_EVIDENCE, choose_quotes
        from twin_resources.models.retrieval.date_ranges import find_date_range
        from twin_resources.models.retrieval.follow_ups import rank_follow_up
        from twin_resources.models.retrieval.page_ranking import rank_page_first
        from twin_resources.models.retrieval.retrieval import MAX_PASSAGES
        from twin_resources.models.retrieval.selection import select_hits

        retriever = self._open_retriever()

        def search(texts: Sequence[str], **dates: Any) -> tuple[RetrievalResult, RetrievalResult]:
            results = [
                retriever.retrieve(author, text, token_budget=token_budget, **dates)
                for text in texts
            ]
            # If they tie, `max` returns the first, which is for the question alone.
            retrieval = max(results, key=lambda result: result.evidence)
            ranked = retrieval.ranked
            if earlier_answers or len(results) > 1:
                ranked = rank_follow_up(
                    texts[0], [result.ranked for result in results], earlier_answers
                )
            if page is not None:
                ranked = rank_page_first(
                    ranked, page, min_evidence=MIN_EVIDENCE, earlier_answers=earlier_answers
                )
            if ranked is not retrieval.ranked:
                passages = select_hits(ranked, limit=MAX_PASSAGES, token_budget=token_budget)
                retrieval = replace(retrieval, ranked=ranked, passages=passages)
            return retrieval, results[0]

        question, is_outside = search_texts[0], False
        date_range = (
            find_date_range(question, datetime.now(UTC).date(), author=author)
            if has_dates
            else None
        )
        if date_range is None:
            retrieval, alone = search(search_texts)
        else:
            retrieval, alone = search(
                [text.replace(question, date_range.question) for text in search_texts],
                published_after=date_range.published_after,
                published_before=date_range.published_before,
            )
            if retrieval.evidence < MIN_EVIDENCE:
                everywhere = search(search_texts)
                is_outside = not retrieval.ranked or everywhere[0].evidence >= MIN_EVIDENCE
                retrieval, alone = everywhere if is_outside else (retrieval, alone)
        is_declined = False
        if self.rules is not None:
            searched = retrieval
            retrieval, is_declined = self.rules.apply(
                retriever, author, alone, retrieval, token_budget=token_budget
            )
            if retrieval is not searched:  # the passage that the author names has any date
                date_range = None
        reason = "" if retrieval.passages else retrieval.reason
        quote_result = None
        if with_quotes and retrieval.vector is not None:
            read_following = partial(retriever.read_following, author)
            quote_result = (self.choose_quotes or choose_quotes)(retrieval, read_following)
        return RetrievedPassages(
            retrieval.passages,
            f"no passages: {reason}" if reason else "",
            retrieval.nearest,
            quote_result,
            vector=retrieval.vector,
            embedder=retrieval.embedder,
            is_declined=is_declined,
            date_range=date_range,
            is_outside_range=is_outside,
        )

    def _open_retriever(self) -> Retriever:
        with self._lock:
            if self._retriever is None:
                if time.monotonic() - self._failed_at < _RETRY_S:
                    raise TwinError(
                        "open the retriever",
                        found="it could not be opened a few seconds ago",
                        next_step="read the gateway's log",
                    )
                try:
                    self._retriever = self.open_retriever()
                except Exception:
                    self._failed_at = time.monotonic()
                    raise
            return self._retriever


def create_passage_finder(settings: Settings) -> PassageFinder:
    """Return a finder of passages in the tables of a home, with the home's embedder."""
    from twin_resources.models.retrieval.question_rules import QuestionRules

    find_version = read_newest_version
    if "://" in settings.tables_base:
        find_version = NewestVersions(lambda: open_home_state(settings)).find_version

    def open_retriever() -> Retriever:
        from twin_resources.models.embedder.embedder import load_embedder, load_revision
        from twin_resources.models.retrieval.retrieval import Retriever

        # One thread per question: with all threads, a question takes 13 to 17 ms of CPU time, not
        # 8, because the threads wait for each other in a busy loop. Concurrent questions use the
        # other cores anyway. No GPU, because this process never imports torch.
        embedder = load_embedder(settings, threads=1, allow_gpu=False)
        return Retriever(
            settings.tables_base,
            embedder,
            load_other_embedder=lambda revision: load_revision(settings, revision),
            find_version=find_version,
        )

    return PassageFinder(open_retriever, rules=QuestionRules(lambda: open_home_state(settings)))
