"""Test that pieces from a provider are counted even if the reader does not read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from twin_resources.gateway.hooks.prefetch import PrefetchStream


async def send_pieces(
    piece_count: int, *, pause_s: float = 0.0, should_fail: bool = False
) -> AsyncGenerator[int]:
    for number in range(piece_count):
        await asyncio.sleep(pause_s)
        yield number
    if should_fail:
        raise ConnectionError("broke off")


async def test_the_reader_gets_all_pieces_in_order() -> None:
    received: list[int] = []
    stream = PrefetchStream(send_pieces(5), received.append)
    assert [piece async for piece in stream] == received == [0, 1, 2, 3, 4]
    assert [piece async for piece in stream] == []
    await stream.aclose()


async def test_closing_the_stream_counts_sent_pieces_and_stops_the_source() -> None:
    received: list[int] = []
    source = send_pieces(1000, pause_s=0.002)
    stream = PrefetchStream(source, received.append)
    assert await anext(stream) == 0
    async with asyncio.timeout(60):
        while len(received) <= 5:
            await asyncio.sleep(0.001)
    received_before = len(received)
    await stream.aclose()
    assert received_before < len(received) < 500, (
        "pieces in transit are counted, then the source is closed"
    )
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_a_cancelled_read_does_not_end_the_stream() -> None:
    received: list[int] = []
    stream = PrefetchStream(send_pieces(3, pause_s=0.02), received.append)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert [piece async for piece in stream] == [0, 1, 2]


async def test_an_error_of_the_source_is_raised_after_its_pieces() -> None:
    received: list[int] = []
    stream = PrefetchStream(send_pieces(2, should_fail=True), received.append)
    assert [await anext(stream), await anext(stream)] == [0, 1]
    with pytest.raises(ConnectionError, match="broke off"):
        await anext(stream)
    await stream.aclose()
    assert received == [0, 1]
