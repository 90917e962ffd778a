"""Read a paid stream ahead of the client, so that every received chunk is counted.

Scope: reading the stream in a separate task, and closing it after a disconnect.
Out of scope: the cost (`paid_budget.py`), calling the model (`compose.py`).

A provider charges for every chunk that it has sent. When the stream was read only at the client's
speed, chunks in the buffers at a disconnect were charged but not counted. For 400 mixed requests,
the recorded cost was 2 to 3 % below the bill. The answer's token limit bounds the queue.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

# Wait for chunks that the provider sent before it noticed the disconnect.
DRAIN_S = 0.02


@dataclass(frozen=True)
class _StreamEnd:
    """The end of the stream; `error` is set if it broke off."""

    error: Exception | None


class PrefetchStream:
    """An iterator over a stream, which reads the stream as fast as it arrives.

    Args:
        stream: the provider's stream.
        on_chunk: called with each chunk when it arrives, before it is yielded.
    """

    def __init__(self, stream: AsyncGenerator[Any, None], on_chunk: Callable[[Any], None]) -> None:
        self._stream = stream
        self._on_chunk = on_chunk
        self._chunks: asyncio.Queue[Any] = asyncio.Queue()
        self._read_task = asyncio.create_task(self._read())

    def __aiter__(self) -> PrefetchStream:
        return self

    async def __anext__(self) -> Any:
        chunk = await self._chunks.get()
        if not isinstance(chunk, _StreamEnd):
            return chunk
        self._chunks.put_nowait(chunk)  # every later read also finds the end
        raise chunk.error or StopAsyncIteration

    async def aclose(self) -> None:
        """Read the chunks that were already sent, and close the stream."""
        try:
            await asyncio.wait({self._read_task}, timeout=DRAIN_S)
        finally:
            self._read_task.cancel()
            await asyncio.wait({self._read_task})
            await self._stream.aclose()

    async def _read(self) -> None:
        error: Exception | None = None
        try:
            async for chunk in self._stream:
                self._on_chunk(chunk)
                self._chunks.put_nowait(chunk)
        except Exception as exception:  # noqa: BLE001 - `__anext__` raises it
            error = exception
        self._chunks.put_nowait(_StreamEnd(error))
