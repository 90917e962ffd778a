"""Answers under way: each piece is passed on, and who ends one closes its request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from twin_resources.errors import TwinError
from twin_resources.page.conversation import AnswersInProgress, PartialAnswer


class Answer:
    """An answer that tells whether it was closed."""

    def __init__(self, *, pause_s: float = 0.0, fails: bool = False) -> None:
        self.pause_s, self.fails, self.closed = pause_s, fails, False

    async def pieces(self) -> AsyncGenerator[PartialAnswer]:
        try:
            for number in range(3):
                await asyncio.sleep(self.pause_s)
                yield PartialAnswer("x" * number)
            if self.fails:
                raise TwinError("ask", found="no", next_step="wait")
        finally:
            self.closed = True


async def test_a_whole_answer_passes() -> None:
    answer, underway = Answer(), AnswersInProgress()
    found = [piece.text async for piece in underway.stream_until_stopped("s", answer.pieces())]
    assert found == ["", "x", "xx"]
    assert answer.closed


async def test_ending_closes_also_one_that_says_nothing() -> None:
    answer, underway = Answer(pause_s=600), AnswersInProgress()
    asyncio.get_running_loop().call_later(0.05, underway.stop, "s")
    async with asyncio.timeout(5):
        assert [piece async for piece in underway.stream_until_stopped("s", answer.pieces())] == []
    assert answer.closed


async def test_each_session_ends_its_own() -> None:
    mine, theirs, underway = Answer(pause_s=0.05), Answer(pause_s=600), AnswersInProgress()
    asyncio.get_running_loop().call_later(0.02, underway.stop, "theirs")

    async def read(session: str, answer: Answer) -> int:
        return len(
            [piece async for piece in underway.stream_until_stopped(session, answer.pieces())]
        )

    async with asyncio.timeout(5):
        assert await asyncio.gather(read("mine", mine), read("theirs", theirs)) == [3, 0]
    underway.stop("mine")  # nothing is under way: no error


async def test_a_failure_reaches_the_reader() -> None:
    answer, underway = Answer(fails=True), AnswersInProgress()
    with pytest.raises(TwinError, match="no"):
        [piece async for piece in underway.stream_until_stopped("s", answer.pieces())]
    assert answer.closed
