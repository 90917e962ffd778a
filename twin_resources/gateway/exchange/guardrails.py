"""Apply the guards to the question, the passages and the answer of one request.

Scope: applying the guards that an author's file names, and the text that replaces withheld text.
Out of scope: detection (`guards/`), the settings (`guard_settings.py`), LiteLLM's hooks
(`plugin.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.exchange.answer_ending import text_chunk
from twin_resources.gateway.found_passages import FoundPassages
from twin_resources.gateway.guards import GuardFinding, Scanner, ScanResult, StreamGuard
from twin_resources.gateway.guards.guard_record import summarize_findings

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.gateway.exchange.request_record import RequestRecord
    from twin_resources.gateway.request.request_body import ChatRequest
    from twin_resources.models.retrieval.retrieval import Passage

# The largest prompt, that of the paid model, holds 8,192 tokens. Each 8 KB of new text takes 0.2
# to 0.7 s of CPU, mostly for sentence vectors; a turn that was scanned before takes none.
MAX_GUARDED_BYTES = 32 * 1024
WITHHELD_NOTICE = "[The rest of this answer is withheld.]"
_KIND_DESCRIPTIONS = {
    "personal": "personal data",
    "secrets": "a secret",
    "injection": "instructions to the model",
    "words": "terms that its author does not discuss here",
}


@dataclass(frozen=True)
class GuardedInput:
    """A request after the guards.

    Attributes:
        guard_refusal: the fixed sentence that answers a blocked question, or empty.
    """

    chat_request: ChatRequest
    findings: tuple[GuardFinding, ...] = ()
    guard_refusal: str = ""


def create_scanner(author: Author, place: GuardPlace) -> Scanner:
    return Scanner(author.guards, place, author.language)


def guard_input(chat_request: ChatRequest, author: Author) -> GuardedInput:
    """Mask the question, the conversation and the client's system message.

    Only the question can be blocked, because an earlier turn was answered before or is the
    client's own. The guards read the system message and the newest turns, `MAX_GUARDED_BYTES`
    together, which is more than any prompt holds. Older turns are dropped and named in `ignored`.
    """
    scanner = create_scanner(author, "input")
    if scanner.is_off:
        return GuardedInput(chat_request)
    chat_request = _truncate(chat_request, MAX_GUARDED_BYTES)
    question = scanner.scan(chat_request.question)
    history = [scanner.scan(turn["content"]) for turn in chat_request.history]
    system, search = scanner.scan(chat_request.system), scanner.scan(chat_request.search_text)
    turns = tuple(
        {"role": turn["role"], "content": scanned.text}
        for turn, scanned in zip(chat_request.history, history, strict=True)
    )
    findings = tuple(
        finding for scanned in (question, system, *history) for finding in scanned.findings
    )
    blocked = question.blocking_finding
    guard_refusal = ""
    if blocked is not None:
        kind = _KIND_DESCRIPTIONS[blocked.kind]
        guard_refusal = f"This twin does not answer a question that contains {kind}."
    cleaned = replace(
        chat_request,
        question=question.text,
        history=turns,
        system=system.text,
        search_text=search.text,
    )
    return GuardedInput(cleaned, findings, guard_refusal)


def _truncate(chat_request: ChatRequest, max_bytes: int) -> ChatRequest:
    """Cut the system message and the oldest turns to the bytes that a guard reads."""
    system = chat_request.system.encode()[:max_bytes].decode(errors="ignore")
    remaining_bytes = max_bytes - len(system.encode())
    dropped_turns = len(chat_request.history)
    while (
        dropped_turns
        and (
            remaining_bytes := remaining_bytes
            - len(chat_request.history[dropped_turns - 1]["content"].encode())
        )
        >= 0
    ):
        dropped_turns -= 1
    if not dropped_turns and system == chat_request.system:
        return chat_request
    names = [f"the {dropped_turns} oldest turns"] * bool(dropped_turns)
    names += ["the end of the system messages"] * (system != chat_request.system)
    ignored = (*chat_request.ignored, *names)
    return replace(
        chat_request, system=system, history=chat_request.history[dropped_turns:], ignored=ignored
    )


def guard_passages(
    found_passages: FoundPassages, author: Author
) -> tuple[FoundPassages, tuple[GuardFinding, ...]]:
    """Mask the retrieved passages and drop the blocked ones.

    A quotation is shown verbatim or not at all.
    """
    scanner = create_scanner(author, "passages")
    if scanner.is_off:
        return found_passages, ()
    findings: list[GuardFinding] = []
    passages: list[Passage] = []
    for passage in found_passages.passages:
        title, text = scanner.scan(passage.title), scanner.scan(passage.text)
        findings += (*title.findings, *text.findings)
        if title.blocking_finding is None and text.blocking_finding is None:
            passages.append(replace(passage, title=title.text, text=text.text))
    nearest = tuple(
        post for post in found_passages.nearest if _is_unchanged(scanner.scan(post.title))
    )
    quoted = found_passages.quote_result
    if quoted is not None and quoted.quotes:
        scanned = [(quote, scanner.scan(quote.text)) for quote in quoted.quotes]
        findings += [finding for _, text in scanned for finding in text.findings]
        quotes = tuple(quote for quote, text in scanned if _is_unchanged(text))
        # Without a reason the answer would say that the author has not written about it.
        reason = "" if quotes else "the quotation is withheld"
        quoted = replace(quoted, quotes=quotes, reason=reason)
    cleaned = replace(
        found_passages, passages=tuple(passages), nearest=nearest, quote_result=quoted
    )
    return cleaned, tuple(findings)


def _is_unchanged(scanned: ScanResult) -> bool:
    return all(finding.action == "record" for finding in scanned.findings)


def guard_answer(record: RequestRecord, response: Any) -> None:
    """Mask or withhold a complete answer."""
    scanner = create_scanner(record.author, "answer")
    if scanner.is_off or not response.choices:
        return
    choice = response.choices[0]
    written = choice.message.content or ""
    as_json = record.chat_request.response_format is not None
    scanned = scanner.scan(written, as_json=as_json)
    record.guard_records += summarize_findings("answer", scanned.findings)
    if (blocked := scanned.blocking_finding) is not None:
        before = [finding for finding in scanned.findings if finding.end <= blocked.begin]
        shown = scanner.scan(written[: blocked.begin]).text if before else written[: blocked.begin]
        choice.message.content = record.shown_text = _append_withheld_notice(shown, as_json=as_json)
        choice.finish_reason = "content_filter"
    elif scanned.text is not written:
        choice.message.content = record.shown_text = scanned.text


def _append_withheld_notice(shown: str, *, as_json: bool) -> str:
    """Return the shown text with the notice.

    A cut JSON document gets no notice, because the finish reason reports the cut.
    """
    return shown if as_json else f"{shown.rstrip()}\n\n{WITHHELD_NOTICE}".lstrip()


async def guard_stream(
    record: RequestRecord, chunks: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """Yield a stream's chunks, without text in which a masked span may begin.

    The text after a blocked span is read and not shown, as after a loop (`answer_ending.py`).
    """
    scanner = create_scanner(record.author, "answer")
    if scanner.is_off:
        async for chunk in chunks:
            yield chunk
        return
    if not scanner.needs_buffering:
        written = ""
        async for chunk in chunks:
            written += "".join(
                choice.delta.content or "" for choice in chunk.choices if choice.delta
            )
            if any(choice.finish_reason for choice in chunk.choices):
                record.guard_records += summarize_findings("answer", scanner.scan(written).findings)
            yield chunk
        return
    as_json = record.chat_request.response_format is not None
    stream_guard = StreamGuard(scanner, as_json=as_json)
    shown = ""
    is_blocked = False
    try:
        async for chunk in chunks:
            for choice in chunk.choices:
                if choice.delta is None:
                    continue
                text = stream_guard.feed(choice.delta.content or "")
                if choice.finish_reason and not is_blocked:
                    text += stream_guard.finish()
                if stream_guard.blocking_finding is not None and not is_blocked:
                    is_blocked = True
                    text = text if as_json else f"{text}\n\n{WITHHELD_NOTICE}"
                if stream_guard.blocking_finding is not None and choice.finish_reason:
                    choice.finish_reason = "content_filter"
                shown += text
                if choice.finish_reason:
                    record.guard_records += summarize_findings("answer", stream_guard.findings)
                    stream_guard.findings.clear()
                    acted = stream_guard.blocking_finding is not None or shown != record.shown_text
                    if acted and (record.shown_text or shown):
                        record.shown_text = shown
                if choice.finish_reason and text:
                    # Sent before the chunk with the reason, whose text some clients do not read.
                    yield text_chunk(chunk, text)
                    text = ""
                choice.delta.content = text or (None if choice.finish_reason else "")
            yield chunk
    finally:
        # If the reader disconnected, the findings so far are recorded.
        record.guard_records += summarize_findings("answer", stream_guard.findings)
