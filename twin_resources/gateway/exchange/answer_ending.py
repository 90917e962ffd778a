"""End LiteLLM's answers and streams at a sentence, and leave out loops and unsupported prose.

Scope: writing the text of `stop_criteria.py` and `supported_prose.py` into the objects that
LiteLLM sends, and the finish reason. Out of scope: where a text ends (`stop_criteria.py`),
which prose is supported (`supported_prose.py`), which answers are ended
(`RequestRecord.ends_at_sentence`), LiteLLM's hooks (`plugin.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.stop_criteria import ELLIPSIS, ProseTruncator, truncate_answer


def end_prose(record: RequestRecord, response: Any) -> None:
    """End a complete answer at a sentence and before a loop."""
    if not record.ends_at_sentence or not response.choices:
        return
    choice = response.choices[0]
    written = choice.message.content or ""
    cut_off = choice.finish_reason == "length"
    ended = truncate_answer(written, cut_off=cut_off)
    if ended.is_looping:
        record.record_repetition()
    if cut_off or ended.is_looping:
        choice.finish_reason = _finish_reason(ended.text)
    if ended.text != written:
        choice.message.content = record.shown_text = ended.text


async def truncate_stream(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks, ended at a sentence and before a loop.

    The rest of a loop is read and not shown, because LiteLLM writes a trace and the server reports
    its tokens only at the end of the stream. The author's token limit bounds the length of the
    stream.
    """
    if not record.ends_at_sentence:
        async for chunk in chunks:
            yield chunk
        return
    limit = int(record.exchange.sampling["max_tokens"])
    ending, known_restarts = ProseTruncator(limit=limit), record.restarts
    shown = ""
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is None:
                continue
            text = choice.delta.content or ""
            pending = ""
            if record.restarts != known_restarts:
                # A version restarts, the same or a different one, and may write the same text
                # again.
                pending = ending.finish(cut_off=False)
                ending, known_restarts = ProseTruncator(limit=limit), record.restarts
            pending += ending.feed(text)
            if choice.finish_reason:
                cut_off = choice.finish_reason == "length"
                pending += ending.finish(cut_off=cut_off)
                if ending.is_looping:
                    record.record_repetition()
                if cut_off or ending.is_looping:
                    choice.finish_reason = _finish_reason(shown + pending)
            shown += pending
            if choice.finish_reason:
                # Set on every answer: LiteLLM assembles the trace's answer from these chunks.
                record.shown_text = shown
            if choice.finish_reason and pending:
                # Sent before the chunk with the reason, whose text some clients do not read.
                yield text_chunk(chunk, pending)
                pending = ""
            choice.delta.content = pending or (None if choice.finish_reason else "")
        yield chunk


def _finish_reason(shown: str) -> str:
    """Return `stop` where the gateway's own limit ended the answer at a sentence.

    The client could not ask for any more text, and OpenAI's stream helper raises on `length`.
    """
    return "length" if not shown or shown.rstrip().endswith(ELLIPSIS) else "stop"


async def remove_unsupported_sentences(record: RequestRecord, response: Any) -> None:
    """Remove the sentences that the posts do not support from a complete answer."""
    judged = record.prose_note.supported_sentences
    if judged is None or not response.choices:
        return
    message = response.choices[0].message
    written = message.content or ""
    shown = (await judged.feed(written, is_final=True)).strip()
    if shown != written:
        message.content = record.shown_text = shown
    if not shown:
        record.record_unsupported_prose()


async def stream_supported_sentences(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks with only the sentences that the posts support."""
    judged = record.prose_note.supported_sentences
    if judged is None:
        async for chunk in chunks:
            yield chunk
        return
    shown = ""
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is None:
                continue
            ended = bool(choice.finish_reason)
            text = await judged.feed(choice.delta.content or "", is_final=ended)
            text = text if shown else text.lstrip()
            shown += text
            if ended:
                record.shown_text = shown
            if ended and text:
                # Sent before the chunk with the reason, whose text some clients do not read.
                yield text_chunk(chunk, text)
                text = ""
            choice.delta.content = text or (None if ended else "")
        yield chunk


async def stream_with_heading(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks with the heading of judged prose before its first word."""
    judged, headed = record.prose_note.supported_sentences is not None, False
    async for chunk in chunks:
        for choice in chunk.choices if judged else ():
            if choice.delta is not None and choice.delta.content and not headed:
                choice.delta.content, headed = f"{record.heading}{choice.delta.content}", True
            if choice.finish_reason and not headed:
                record.record_unsupported_prose()
        yield chunk


def text_chunk(chunk: Any, text: str) -> Any:
    """Return a chunk with this text and no finish reason, to be sent before the last chunk."""
    before = chunk.model_copy(deep=True)
    before.choices[0].finish_reason = None
    before.choices[0].delta.content = text
    if getattr(before, "usage", None) is not None:
        before.usage = None
    return before
