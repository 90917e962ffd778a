"""End LiteLLM's answers and streams at a sentence, and remove loops and unsupported prose.

Scope: writing the text of `stop_criteria.py` and `supported_prose.py` into the objects that LiteLLM
sends, and the finish reason. Out of scope: where a text ends (`stop_criteria.py`), which prose is
supported (`supported_prose.py`), which answers are truncated (`request_record.py`), LiteLLM's hooks
(`plugin.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.stop_criteria import ELLIPSIS, ProseTruncator


def truncate_response(record: RequestRecord, response: Any) -> None:
    """End a complete answer at a sentence and before a loop."""
    if not record.should_end_at_sentence or not response.choices:
        return
    choice = response.choices[0]
    original_text = choice.message.content or ""
    is_cut_off = choice.finish_reason == "length"
    truncator = ProseTruncator(limit=0)
    text = truncator.feed(original_text)
    text += truncator.finish(cut_off=is_cut_off)
    if truncator.is_looping:
        record.record_repetition()
    if is_cut_off or truncator.is_looping:
        choice.finish_reason = _finish_reason(text)
    if text != original_text:
        choice.message.content = record.shown_text = text


def truncate_stream(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Return a stream's chunks, ended at a sentence and before a loop.

    The text after a detected loop is consumed but not shown, because LiteLLM writes a trace and
    the server reports its tokens only at the end of the stream. The author's token limit bounds the
    length of the stream.
    """
    if not record.should_end_at_sentence:
        return chunks
    limit = int(record.exchange.sampling["max_tokens"])
    truncator, restart_count = ProseTruncator(limit=limit), record.restart_count
    shown_text = ""

    async def truncate(choice: Any) -> str:
        nonlocal truncator, restart_count, shown_text
        text = ""
        if record.restart_count != restart_count:
            # The same or a different version starts again and may repeat the text.
            text = truncator.finish(cut_off=False)
            truncator, restart_count = ProseTruncator(limit=limit), record.restart_count
        text += truncator.feed(choice.delta.content or "")
        if choice.finish_reason:
            is_cut_off = choice.finish_reason == "length"
            text += truncator.finish(cut_off=is_cut_off)
            if truncator.is_looping:
                record.record_repetition()
            if is_cut_off or truncator.is_looping:
                choice.finish_reason = _finish_reason(shown_text + text)
            # Set on every answer: LiteLLM assembles the trace's answer from these chunks.
            record.shown_text = shown_text + text
        shown_text += text
        return text

    return filter_stream(chunks, truncate)


def _finish_reason(shown_text: str) -> str:
    """Return `stop` if the answer ends at a sentence, else `length`.

    An answer that ends at a sentence counts as complete, because the client cannot request the rest
    and OpenAI's stream helper raises an error on `length`.
    """
    return "length" if not shown_text or shown_text.rstrip().endswith(ELLIPSIS) else "stop"


async def remove_unsupported_sentences(record: RequestRecord, response: Any) -> None:
    """Remove the sentences that the posts do not support from a complete answer."""
    sentences = record.prose_note.supported_sentences
    if sentences is None or not response.choices:
        return
    message = response.choices[0].message
    original_text = message.content or ""
    shown_text = (await sentences.feed(original_text, is_final=True)).strip()
    if shown_text != original_text:
        message.content = record.shown_text = shown_text
    if not shown_text:
        record.record_unsupported_prose()


def stream_supported_sentences(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Return a stream's chunks with only the sentences that the posts support."""
    sentences = record.prose_note.supported_sentences
    if sentences is None:
        return chunks
    shown_text = ""

    async def keep_supported(choice: Any) -> str:
        nonlocal shown_text
        is_last = bool(choice.finish_reason)
        text = await sentences.feed(choice.delta.content or "", is_final=is_last)
        text = text if shown_text else text.lstrip()
        shown_text += text
        if is_last:
            record.shown_text = shown_text
        return text

    return filter_stream(chunks, keep_supported)


async def stream_with_heading(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks with the line that names the writer before the first word of prose.

    The line is sent with that word, so that no label stands above nothing.
    """
    has_heading = False
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is not None and choice.delta.content and not has_heading:
                choice.delta.content, has_heading = f"{record.heading}{choice.delta.content}", True
            if choice.finish_reason and not has_heading:
                record.record_unsupported_prose()
        yield chunk


async def filter_stream(
    chunks: AsyncGenerator[Any, None], select_text: Callable[[Any], Awaitable[str]]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks with a part of their text.

    Args:
        select_text: returns the text to show for a choice, and may change its finish reason.
    """
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is None:
                continue
            text = await select_text(choice)
            if choice.finish_reason and text:
                # Sent separately, because some clients ignore the text of the last chunk.
                yield _text_chunk(chunk, text)
                text = ""
            choice.delta.content = text or (None if choice.finish_reason else "")
        yield chunk


def _text_chunk(chunk: Any, text: str) -> Any:
    """Return a chunk with this text and no finish reason, to be sent before the last chunk."""
    extra_chunk = chunk.model_copy(deep=True)
    extra_chunk.choices[0].finish_reason = None
    extra_chunk.choices[0].delta.content = text
    if getattr(extra_chunk, "usage", None) is not None:
        extra_chunk.usage = None
    return extra_chunk
