"""LiteLLM's answers and streams, ended at a sentence and before a loop.

Belongs here: carrying what `stop_criteria.py` shows into the objects that LiteLLM sends on, and the
finish reason. Does not belong here: where a text ends (`stop_criteria.py`), which answers it is
done to (`RequestRecord.ends_at_sentence`), LiteLLM's hooks (`plugin.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from twin_resources.gateway.request_record import RequestRecord
from twin_resources.gateway.stop_criteria import MARK, ProseEnd, whole_answer


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
    limit = int(answering.sampling["max_tokens"])
    ending, begun = ProseEnd(limit=limit), answering.begun_anew
    shown = ""
    async for chunk in chunks:
        for choice in chunk.choices:
            if choice.delta is None:
                continue
            text = choice.delta.content or ""
            held = ""
            if answering.begun_anew != begun:
                # Another version, or the same one, begins anew, and may well say the same.
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
                before = chunk.model_copy(deep=True)
                before.choices[0].finish_reason = None
                before.choices[0].delta.content = held
                if getattr(before, "usage", None) is not None:
                    before.usage = None
                yield before
                held = ""
            choice.delta.content = held or (None if choice.finish_reason else "")
        yield chunk


def _reason_of(shown: str) -> str:
    """`stop`: the gateway's own limit ended the answer at a sentence, and nothing is missing that
    the client could ask for. With `length` OpenAI's stream helper raises."""
    return "length" if not shown or shown.rstrip().endswith(MARK) else "stop"
