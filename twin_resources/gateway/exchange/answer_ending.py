"""Filter a model's prose while it grows: its end, its unsupported sentences, its guarded words.

Where a text ends decides `stop_criteria.py`, which sentences are supported `supported_prose.py`,
and what is masked `guardrails.py`.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.exchange.guardrails import AnswerGuard
from twin_resources.gateway.exchange.stop_criteria import ELLIPSIS, ProseTruncator


class ProseFilter:
    """The filters of one answer's prose; `feed` and `finish` together return what is shown.

    After a loop or a blocked span, the text is read and not shown, because the server reports its
    tokens only at the end of the stream. The author's token limit bounds the length of the stream.
    """

    def __init__(self, record: RequestRecord) -> None:
        self.shown_text = ""
        self._record = record
        self._sentences = record.prose_note.supported_sentences
        self._guard = AnswerGuard(record)
        self._ended_text = ""
        self._start_truncator()

    def _start_truncator(self) -> None:
        record = self._record
        # A client that sets a limit of its own gets the text as it is.
        is_whole = {"max_tokens", "stop"} & record.chat_request.sampling.keys() or record.is_json
        # A whole answer that reaches the limit ends with its last whole sentence.
        limit = int(record.exchange.sampling["max_tokens"]) if record.chat_request.stream else 0
        self._truncator = None if is_whole else ProseTruncator(limit=limit)
        self._restart_count = record.restart_count

    async def feed(self, text: str) -> str:
        """Add text and return the part that can be shown now."""
        truncator, ended_text = self._truncator, ""
        if truncator is not None:
            if self._record.restart_count != self._restart_count:
                # The same or a different version starts again and may repeat the text.
                ended_text = truncator.finish(cut_off=False)
                self._start_truncator()
            text = ended_text + (self._truncator or truncator).feed(text)
            self._ended_text += text
        return await self._show(text)

    async def finish(self) -> str:
        """End the prose, set the answer's finish reason, and return the remaining text."""
        record, truncator, text = self._record, self._truncator, ""
        if truncator is not None:
            is_cut_off = record.finish_reason == "length"
            text = truncator.finish(cut_off=is_cut_off)
            self._ended_text += text
            if truncator.is_looping:
                note = "the model repeated itself: the answer was cut there"
                record.degraded = (*record.degraded, note)
            if is_cut_off or truncator.is_looping:
                # An answer that ends at a sentence counts as complete, because the client cannot
                # request the rest and OpenAI's stream helper raises an error on `length`.
                is_open = self._ended_text.rstrip().endswith(ELLIPSIS)
                record.finish_reason = "length" if is_open or not self._ended_text else "stop"
        return await self._show(text, is_final=True)

    def close(self) -> None:
        """Record the findings so far; the reader has left."""
        self._guard.close()

    async def _show(self, text: str, *, is_final: bool = False) -> str:
        if self._sentences is not None:
            text = await self._sentences.feed(text, is_final=is_final)
            text = text if self.shown_text else text.lstrip()
        text = self._guard.feed(text, is_final=is_final)
        self.shown_text += text
        return text
