"""Test the queue of questions that wait for their passages."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.passage_finder import PassageFinder, RetrievedPassages
from twin_resources.models.retrieval.retrieval import RetrievalResult


class BlockedRetriever:
    """A retriever that waits for an event and finds nothing."""

    embedder_revision = "made"

    def __init__(self) -> None:
        self.may_continue = Event()
        self.texts: list[str] = []

    def retrieve(self, author: str, text: str, *, token_budget: int) -> RetrievalResult:
        del author, token_budget
        self.texts.append(text)
        self.may_continue.wait()
        return RetrievalResult((), None)


def start_search(finder: PassageFinder, text: str) -> asyncio.Task[RetrievedPassages]:
    return asyncio.create_task(finder.find("ann", [text], token_budget=100))


def create_finder(retriever: BlockedRetriever, **options: Any) -> PassageFinder:
    return PassageFinder(lambda: retriever, **options)  # type: ignore[arg-type,return-value]


async def test_questions_beyond_the_queue_limit_are_refused() -> None:
    retriever = BlockedRetriever()
    finder = create_finder(retriever, max_waiting=5)
    searches = [start_search(finder, str(number)) for number in range(8)]
    refused = [
        task for task in await _wait_for(searches, 3) if isinstance(task.exception(), RefusedError)
    ]
    assert len(refused) == 3
    error = refused[0].exception()
    assert isinstance(error, RefusedError)
    assert (error.status, error.code, error.retry_after_s) == (429, "too_many_waiting", None)
    retriever.may_continue.set()
    results = [await search for search in searches if search not in refused]
    assert results == [RetrievedPassages()] * 5
    assert sorted(retriever.texts) == ["0", "1", "2", "3", "4"]
    assert await start_search(finder, "again") == RetrievedPassages()


async def test_a_cancelled_question_leaves_the_queue() -> None:
    retriever = BlockedRetriever()
    finder = create_finder(retriever, max_waiting=3)
    first, second, third = (start_search(finder, str(number)) for number in range(3))
    while len(retriever.texts) < 2:
        await asyncio.sleep(0)
    third.cancel()
    await asyncio.wait({third})
    fourth = start_search(finder, "3")
    retriever.may_continue.set()
    await asyncio.gather(first, second, fourth)
    assert sorted(retriever.texts) == ["0", "1", "3"]


async def _wait_for(
    tasks: list[asyncio.Task[RetrievedPassages]], number: int
) -> list[asyncio.Task[RetrievedPassages]]:
    """Wait until this number of tasks is done, and return them."""
    while len(done := [task for task in tasks if task.done()]) < number:
        await asyncio.sleep(0)
    return done
