"""What a provider has sent is counted, whether or not a reader takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from twin_resources.gateway.hooks.prefetch import ReadAheadStream


async def provider(
    pieces: int, *, pause_s: float = 0.0, breaks: bool = False
) -> AsyncGenerator[int]:
    for number in range(pieces):
        await asyncio.sleep(pause_s)
        yield number
    if breaks:
        raise ConnectionError("broke off")


async def test_the_reader_gets_every_piece_in_order_and_then_the_end() -> None:
    came: list[int] = []
    stream = ReadAheadStream(provider(5), came.append)
    assert [piece async for piece in stream] == came == [0, 1, 2, 3, 4]
    assert [piece async for piece in stream] == []
    await stream.aclose()


async def test_a_reader_who_leaves_has_what_was_sent_counted_and_the_rest_is_not_asked_for() -> (
    None
):
    came: list[int] = []
    source = provider(1000, pause_s=0.002)
    stream = ReadAheadStream(source, came.append)
    assert await anext(stream) == 0
    async with asyncio.timeout(60):
        while len(came) <= 5:  # the reader takes nothing meanwhile
            await asyncio.sleep(0.001)
    waited = len(came)
    await stream.aclose()
    assert waited < len(came) < 500, "what was on the way is counted, and then it ends"
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_a_reader_who_is_cancelled_while_he_waits_ends_nothing_by_that() -> None:
    came: list[int] = []
    stream = ReadAheadStream(provider(3, pause_s=0.02), came.append)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert [piece async for piece in stream] == [0, 1, 2]


async def test_a_stream_that_breaks_off_says_so_behind_its_pieces() -> None:
    came: list[int] = []
    stream = ReadAheadStream(provider(2, breaks=True), came.append)
    assert [await anext(stream), await anext(stream)] == [0, 1]
    with pytest.raises(ConnectionError, match="broke off"):
        await anext(stream)
    await stream.aclose()
    assert came == [0, 1]
