"""Questions that wait for their passages, and the end of their queue."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

import pytest

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.found_passages import FoundPassages, PassageFinder
from twin_resources.models.retrieval.retrieval import RetrievalResult


class Held:
    """Finds nothing, as soon as it may."""

    embedder_revision = "made"

    def __init__(self) -> None:
        self.may = Event()
        self.asked: list[str] = []

    def retrieve(
        self, author: str, text: str, *, token_budget: int, with_tokens: bool
    ) -> RetrievalResult:
        del author, token_budget
        self.asked.append(text)
        self.may.wait()
        return RetrievalResult((), None)


def find(passages: PassageFinder, text: str) -> asyncio.Task[FoundPassages]:
    return asyncio.create_task(passages.find("ann", [text], token_budget=100))


def passages_of(held: Held, **terms: Any) -> PassageFinder:
    return PassageFinder(lambda: held, **terms)  # type: ignore[arg-type,return-value]


async def test_a_question_that_finds_the_queue_full_is_refused_and_all_others_are_answered() -> (
    None
):
    held = Held()
    passages = passages_of(held, max_waiting=5)
    questions = [find(passages, str(number)) for number in range(8)]
    refused = [
        one for one in await _soon(questions, 3) if isinstance(one.exception(), RefusedError)
    ]
    assert len(refused) == 3
    error = refused[0].exception()
    assert isinstance(error, RefusedError)
    assert (error.status, error.code, error.retry_after_s) == (429, "too_many_waiting", 1)
    held.may.set()
    answered = [await question for question in questions if question not in refused]
    assert answered == [FoundPassages()] * 5
    assert sorted(held.asked) == ["0", "1", "2", "3", "4"]
    assert await find(passages, "again") == FoundPassages()


async def test_a_reader_who_leaves_the_queue_makes_room_and_is_not_worked_for() -> None:
    held = Held()
    passages = passages_of(held, max_waiting=3)
    first, second, third = (find(passages, str(number)) for number in range(3))
    while len(held.asked) < 2:
        await asyncio.sleep(0)
    third.cancel()
    await asyncio.wait({third})
    fourth = find(passages, "3")
    held.may.set()
    await asyncio.gather(first, second, fourth)
    assert sorted(held.asked) == ["0", "1", "3"]


async def test_who_is_refused_is_told_when_by_what_was_worked_off() -> None:
    held = Held()
    passages = passages_of(held, max_waiting=8)
    waiting = [find(passages, str(number)) for number in range(8)]
    passages._mean_seconds = 2.5  # of one question, on two threads
    with pytest.raises(RefusedError) as caught:
        await find(passages, "one more")
    assert caught.value.retry_after_s == 10
    held.may.set()
    await asyncio.gather(*waiting)


async def _soon(
    tasks: list[asyncio.Task[FoundPassages]], number: int
) -> list[asyncio.Task[FoundPassages]]:
    """The tasks that are done, once so many are."""
    while len(done := [task for task in tasks if task.done()]) < number:
        await asyncio.sleep(0)
    return done
