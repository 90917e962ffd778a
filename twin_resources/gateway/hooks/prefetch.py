"""A paid stream is read as it comes, whoever reads the answer: what has come is on the bill.

Scope: reading it in a task of its own, and its end when the reader has left.
Out of scope: what it costs (`paid_budget.py`), LiteLLM's hooks (`plugin.py`).

A provider charges what it has sent. Where the stream was read only as fast as the reader took it,
what lay in the buffers when he left was charged and not counted: the account was 2 to 3 % below the
bill of 400 mixed requests. A paid answer is bounded by its tokens, and so is what waits here.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

# What was sent before the provider can hear that nobody reads on.
ON_THE_WAY_S = 0.02


@dataclass(frozen=True)
class _End:
    """The stream is over; `error`: it broke off."""

    error: Exception | None


class ReadAhead:
    """The same stream, read at once.

    Args:
        stream: of the provider.
        came: called with each piece as it comes, before anybody gets it.
    """

    def __init__(self, stream: AsyncGenerator[Any, None], came: Callable[[Any], None]) -> None:
        self._stream = stream
        self._came = came
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    def __aiter__(self) -> ReadAhead:
        return self

    async def __anext__(self) -> Any:
        piece = await self._pieces.get()
        if not isinstance(piece, _End):
            return piece
        self._pieces.put_nowait(piece)  # it stays the end
        raise piece.error or StopAsyncIteration

    async def aclose(self) -> None:
        """Close the stream; what is on the way already is read before."""
        try:
            await asyncio.wait({self._reading}, timeout=ON_THE_WAY_S)
        finally:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            await self._stream.aclose()

    async def _read(self) -> None:
        error: Exception | None = None
        try:
            async for piece in self._stream:
                self._came(piece)
                self._pieces.put_nowait(piece)
        except Exception as found:  # noqa: BLE001 - whoever reads on gets it
            error = found
        self._pieces.put_nowait(_End(error))
