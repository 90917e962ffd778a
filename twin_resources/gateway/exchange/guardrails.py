"""Apply the guards to the question, the passages and the answer of one request.

Scope: applying the guards that an author's file sets, and the text that replaces withheld text.
Out of scope: detection (`guards/`), the settings (`guard_settings.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.guards.guard_record import summarize_findings
from twin_resources.gateway.guards.scanning import GuardFinding, Scanner, ScanResult
from twin_resources.gateway.guards.streaming import StreamGuard
from twin_resources.gateway.passage_finder import RetrievedPassages

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.gateway.exchange.exchange import RequestRecord
    from twin_resources.gateway.request.request_body import ChatRequest
    from twin_resources.models.retrieval.retrieval import Passage

# The largest prompt (the paid model's) contains 8,192 tokens. Each 8 KB of new text takes 0.2
# to 0.7 s of CPU time, mostly for sentence vectors; a turn that was scanned before takes no time.
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

    Only the question can be blocked, because earlier turns have already been answered or come from
    the client. The guards read at most `MAX_GUARDED_BYTES` of the system message and the newest
    turns, which is more than any prompt contains. Older turns are dropped and listed in `ignored`.
    """
    scanner = create_scanner(author, "input")
    if scanner.is_off:
        return GuardedInput(chat_request)
    chat_request = _limit_size(chat_request, MAX_GUARDED_BYTES)
    question_scan = scanner.scan(chat_request.question)
    history_scans = [scanner.scan(turn["content"]) for turn in chat_request.history]
    system_scan = scanner.scan(chat_request.system)
    search_scan = scanner.scan(chat_request.search_text)
    turns = tuple(
        {"role": turn["role"], "content": scan.text}
        for turn, scan in zip(chat_request.history, history_scans, strict=True)
    )
    findings = tuple(
        finding
        for scan in (question_scan, system_scan, *history_scans)
        for finding in scan.findings
    )
    blocking_finding = question_scan.blocking_finding
    guard_refusal = ""
    if blocking_finding is not None:
        kind = _KIND_DESCRIPTIONS[blocking_finding.kind]
        guard_refusal = f"This twin does not answer a question that contains {kind}."
    guarded_request = replace(
        chat_request,
        question=question_scan.text,
        history=turns,
        system=system_scan.text,
        search_text=search_scan.text,
    )
    return GuardedInput(guarded_request, findings, guard_refusal)


def _limit_size(chat_request: ChatRequest, max_bytes: int) -> ChatRequest:
    """Truncate the system message and drop the oldest turns to fit within `max_bytes`."""
    system = chat_request.system.encode()[:max_bytes].decode(errors="ignore")
    remaining_bytes = max_bytes - len(system.encode())
    dropped_count = len(chat_request.history)
    while (
        dropped_count
        and (
            remaining_bytes := remaining_bytes
            - len(chat_request.history[dropped_count - 1]["content"].encode())
        )
        >= 0
    ):
        dropped_count -= 1
    if not dropped_count and system == chat_request.system:
        return chat_request
    turns_text = "oldest turn" if dropped_count == 1 else f"{dropped_count} oldest turns"
    dropped_parts = [f"the {turns_text}"] * bool(dropped_count)
    dropped_parts += ["the end of the system messages"] * (system != chat_request.system)
    ignored = (*chat_request.ignored, *dropped_parts)
    return replace(
        chat_request, system=system, history=chat_request.history[dropped_count:], ignored=ignored
    )


def guard_passages(
    retrieved_passages: RetrievedPassages, author: Author
) -> tuple[RetrievedPassages, tuple[GuardFinding, ...]]:
    """Mask the retrieved passages and drop the blocked ones.

    A quotation is shown verbatim or not at all.
    """
    scanner = create_scanner(author, "passages")
    if scanner.is_off:
        return retrieved_passages, ()
    findings: list[GuardFinding] = []
    passages: list[Passage] = []
    for passage in retrieved_passages.passages:
        title_scan, text_scan = scanner.scan(passage.title), scanner.scan(passage.text)
        findings += (*title_scan.findings, *text_scan.findings)
        if title_scan.blocking_finding is None and text_scan.blocking_finding is None:
            passages.append(replace(passage, title=title_scan.text, text=text_scan.text))
    nearest = tuple(
        passage
        for passage in retrieved_passages.nearest
        if _is_unchanged(scanner.scan(passage.title)) and _is_unchanged(scanner.scan(passage.text))
    )
    quote_result = retrieved_passages.quote_result
    if quote_result is not None and quote_result.quotes:
        quote_scans = [(quote, scanner.scan(quote.text)) for quote in quote_result.quotes]
        findings += [finding for _, text_scan in quote_scans for finding in text_scan.findings]
        quotes = tuple(quote for quote, text_scan in quote_scans if _is_unchanged(text_scan))
        # Without a reason, the answer would say that nothing was found.
        reason = "" if quotes else "the quotation is withheld"
        quote_result = replace(quote_result, quotes=quotes, reason=reason)
    guarded_passages = replace(
        retrieved_passages,
        passages=tuple(passages),
        nearest=nearest,
        quote_result=quote_result,
    )
    return guarded_passages, tuple(findings)


def _is_unchanged(scan_result: ScanResult) -> bool:
    return all(finding.action == "record" for finding in scan_result.findings)


class AnswerGuard:
    """Masks or withholds a growing answer; text in which a masked span may begin is delayed."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record
        scanner = create_scanner(record.author, "answer")
        self._stream_guard = StreamGuard(scanner, as_json=record.is_json)

    def feed(self, text: str, *, is_final: bool = False) -> str:
        """Add text and return the part that can be shown now; the end sets the finish reason."""
        guard = self._stream_guard
        was_blocked = guard.blocking_finding is not None
        text = guard.feed(text) + (guard.finish() if is_final else "")
        is_blocked = guard.blocking_finding is not None
        if is_blocked and not was_blocked and not self._record.is_json:
            text = f"{text}\n\n{WITHHELD_NOTICE}"  # of JSON, the finish reason says so
        if is_final:
            self.close()
            if is_blocked:
                self._record.finish_reason = "content_filter"
        return text

    def close(self) -> None:
        """Record the findings once, also those of an answer that was not read to its end."""
        self._stream_guard.finish()
        findings, self._stream_guard.findings = self._stream_guard.findings, []
        self._record.guard_records += summarize_findings("answer", findings)
