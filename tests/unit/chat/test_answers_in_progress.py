"""Test that each piece of an answer is passed on and that stopping it closes its request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from twin_resources.errors import TwinError
from twin_resources.page.gateway_client import AnswersInProgress, PartialAnswer


class FakeAnswer:
    """An answer that records whether it was closed."""

    def __init__(self, *, pause_s: float = 0.0, should_fail: bool = False) -> None:
        self.pause_s, self.should_fail, self.is_closed = pause_s, should_fail, False

    async def pieces(self) -> AsyncGenerator[PartialAnswer]:
        try:
            for number in range(3):
                await asyncio.sleep(self.pause_s)
                yield PartialAnswer("x" * number)
            if self.should_fail:
                raise TwinError("ask", found="no", next_step="wait")
        finally:
            self.is_closed = True


async def test_a_complete_answer_is_passed_on() -> None:
    answer, answers = FakeAnswer(), AnswersInProgress()
    texts = [piece.text async for piece in answers.stream_until_stopped("s", answer.pieces())]
    assert texts == ["", "x", "xx"]
    assert answer.is_closed


async def test_stopping_closes_an_answer_without_output() -> None:
    answer, answers = FakeAnswer(pause_s=600), AnswersInProgress()
    asyncio.get_running_loop().call_later(0.05, answers.stop, "s")
    async with asyncio.timeout(5):
        assert [piece async for piece in answers.stream_until_stopped("s", answer.pieces())] == []
    assert answer.is_closed


async def test_a_session_stops_only_its_own_answer() -> None:
    first, second, answers = FakeAnswer(pause_s=0.05), FakeAnswer(pause_s=600), AnswersInProgress()
    asyncio.get_running_loop().call_later(0.02, answers.stop, "theirs")

    async def read(session: str, answer: FakeAnswer) -> int:
        return len(
            [piece async for piece in answers.stream_until_stopped(session, answer.pieces())]
        )

    async with asyncio.timeout(5):
        assert await asyncio.gather(read("mine", first), read("theirs", second)) == [3, 0]
    answers.stop("mine")  # no error without an answer in progress


async def test_a_failure_reaches_the_reader() -> None:
    answer, answers = FakeAnswer(should_fail=True), AnswersInProgress()
    with pytest.raises(TwinError, match="no"):
        [piece async for piece in answers.stream_until_stopped("s", answer.pieces())]
    assert answer.is_closed
