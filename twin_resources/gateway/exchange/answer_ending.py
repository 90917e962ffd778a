"""LiteLLM's answers and streams: ended at a sentence, before a loop, without what is unsupported.

Scope: carrying what `stop_criteria.py` and `supported_prose.py` show into the objects that
LiteLLM sends on, and the finish reason. Out of scope: where a text ends
(`stop_criteria.py`), what is supported (`supported_prose.py`), which answers it is done to
(`RequestRecord.ends_at_sentence`), LiteLLM's hooks (`plugin.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.stop_criteria import MARK, ProseEnd, whole_answer


def end_prose(answering: RequestRecord, response: Any) -> None:
    """End an answer in one piece at a sentence and before a loop."""
    if not answering.ends_at_sentence or not response.choices:
        return
    choice = response.choices[0]
    written = choice.message.content or ""
    cut_off = choice.finish_reason == "length"
    ended = whole_answer(written, cut_off=cut_off)
    if ended.looped:
        answering.repeated_itself()
    if cut_off or ended.looped:
        choice.finish_reason = _reason_of(ended.text)
    if ended.text != written:
        choice.message.content = answering.shown = ended.text


async def prose_ended(
    answering: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """A stream's chunks, ended at a sentence and before a loop.

    What the model goes on to write in a loop is read and not shown: LiteLLM writes a trace, and the
    server tells the tokens, only at its end, which the author's token limit bounds.
    """
    if not answering.ends_at_sentence:
        async for chunk in chunks:
            yield chunk
        return
    limit = int(answering.exchange.sampling["max_tokens"])
    ending, begun = ProseEnd(limit=limit), answering.begun_anew
    shown = ""
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is None:
                continue
            text = choice.delta.content or ""
            held = ""
            if answering.begun_anew != begun:
                # Another version, or the same one, restarts, and may well say the same.
                held = ending.finish(cut_off=False)
                ending, begun = ProseEnd(limit=limit), answering.begun_anew
            held += ending.feed(text)
            if choice.finish_reason:
                cut_off = choice.finish_reason == "length"
                held += ending.finish(cut_off=cut_off)
                if ending.looped:
                    answering.repeated_itself()
                if cut_off or ending.looped:
                    choice.finish_reason = _reason_of(shown + held)
            shown += held
            if choice.finish_reason:
                # Always: LiteLLM puts the trace's answer together from these very chunks.
                answering.shown = shown
            if choice.finish_reason and held:
                # Ahead of the chunk with the reason, in which some clients read no text.
                yield chunk_before(chunk, held)
                held = ""
            choice.delta.content = held or (None if choice.finish_reason else "")
        yield chunk


def _reason_of(shown: str) -> str:
    """`stop`: the gateway's own limit ended the answer at a sentence, and nothing is missing that
    the client could ask for. With `length` OpenAI's stream helper raises."""
    return "length" if not shown or shown.rstrip().endswith(MARK) else "stop"


async def support_answer(answering: RequestRecord, response: Any) -> None:
    """Leave out of an answer in one piece what the posts do not support."""
    judged = answering.prose.judged
    if judged is None or not response.choices:
        return
    message = response.choices[0].message
    written = message.content or ""
    shown = (await judged.feed(written, ended=True)).strip()
    if shown != written:
        message.content = answering.shown = shown
    if not shown:
        answering.stands_alone()


async def supported_stream(
    answering: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """A stream's chunks with what the posts support, sentence by sentence."""
    judged = answering.prose.judged
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
            text = await judged.feed(choice.delta.content or "", ended=ended)
            text = text if shown else text.lstrip()
            shown += text
            if ended:
                answering.shown = shown
            if ended and text:
                # Ahead of the chunk with the reason, in which some clients read no text.
                yield chunk_before(chunk, text)
                text = ""
            choice.delta.content = text or (None if ended else "")
        yield chunk


async def headed_stream(
    answering: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """A stream's chunks with the heading of judged prose before its first word."""
    judged, headed = answering.prose.judged is not None, False
    async for chunk in chunks:
        for choice in chunk.choices if judged else ():
            if choice.delta is not None and choice.delta.content and not headed:
                choice.delta.content, headed = f"{answering.heading}{choice.delta.content}", True
            if choice.finish_reason and not headed:
                answering.stands_alone()
        yield chunk


def chunk_before(chunk: Any, text: str) -> Any:
    """A chunk with text and without an end, to go out ahead of one that has an end."""
    before = chunk.model_copy(deep=True)
    before.choices[0].finish_reason = None
    before.choices[0].delta.content = text
    if getattr(before, "usage", None) is not None:
        before.usage = None
    return before
