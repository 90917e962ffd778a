"""Hold back the part of a streamed answer in which a finding to be masked may begin.

Scope: deciding how much of a growing text to hold back. Out of scope: detection (`scanning.py`),
LiteLLM's chunks (`exchange/guardrails.py`).

Shown text cannot be withdrawn, so the last words are always held back. Personal data or a secret
may begin with a digit, an `@`, a word such as `token`, or a run longer than any word. If the
last `WINDOW` characters contain one of these, the text from there on is held back. A run without
spaces and a private key are held back until they end. In plain prose, two words are held back, or
the whole sentence if injections are masked or blocked.
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import replace

from twin_resources.gateway.guards.injection import split_sentences
from twin_resources.gateway.guards.scanning import (
    GuardFinding,
    Scanner,
    is_json_string_open,
    mask_findings,
)

# The lengths are in characters. The longest values written in groups are an IBAN (34 letters and
# digits, and 8 spaces) and a phone number with an extension (about 60). The words that announce
# such a value precede it by up to 48 characters.
WINDOW = 120
_MAX_RUN = 4096  # length of a web token; a longer run cannot be recognized as a secret
_MAX_KEY = 16_000
_MIN_WORDS = 3  # the last one may be unfinished
_LOOK_BEHIND = 200  # shown characters, kept as context for a number that follows
_FINDING_START = re.compile(
    r"\d|@|://|-----|[A-Za-z0-9_+/=-]{16,}|(?<=\s)(?:at|AT|\u00e4t|arroba|chiocciola)(?=\s)"
    r"|[\[({<] ?(?i:at|\u00e4t|\u00e6t|arroba|chez|chiocciola|apestaart(?:je)?) ?[\])}>]"
    r"|(?i:passw|passphrase|passcode|pwd|secret|token|credential|api[ _-]?key|access[ _-]?key"
    r"|auth[ _-]?key|bearer|basic )"
)
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
_WORD = re.compile(r"\S+")


class StreamGuard:
    """A filter that masks the findings in a growing answer and withholds text that may become one.

    The results of `feed` and `finish` together are the whole text with its findings masked, or the
    text before the first blocked finding.

    Attributes:
        findings: masked or blocked findings so far and, at the end, recorded ones; offsets are
            those of the original text.
        blocking_finding: the finding that blocks the answer; None if nothing is blocked. After it,
            nothing is shown.
    """

    def __init__(self, scanner: Scanner, *, as_json: bool = False) -> None:
        self.findings: list[GuardFinding] = []
        self.blocking_finding: GuardFinding | None = None
        self._scanner = scanner
        self._as_json = as_json
        self._text = ""  # the end of the shown text, then the withheld text
        self._held_start = 0  # offset of the withheld text in `_text`
        self._dropped_length = 0  # number of characters before `_text`
        self._all_pieces: list[str] = []  # filled only if a kind is recorded, for a scan at the end
        self._in_string = False  # whether the withheld text begins inside a JSON string

    def feed(self, text: str) -> str:
        """Add text and return the part that can be shown now."""
        if self.blocking_finding is not None or not text:
            return ""
        self._text += text
        if self._scanner.has_recorded_kind:
            self._all_pieces.append(text)
        safe_end = self._safe_end()
        return self._show(safe_end) if safe_end > self._held_start else ""

    def finish(self) -> str:
        """End the text and return the remaining text to show."""
        shown_text = "" if self.blocking_finding is not None else self._show(len(self._text))
        if self._all_pieces:
            findings = self._scanner.find("".join(self._all_pieces), as_json=self._as_json)
            self.findings += [finding for finding in findings if finding.action == "record"]
            self.findings.sort()
        return shown_text

    def _safe_end(self) -> int:
        text, held_start = self._text, self._held_start
        word_starts = [match.start() for match in _WORD.finditer(text, held_start)]
        min_words = max(_MIN_WORDS, self._scanner.max_phrase_words + 1)
        end = word_starts[-min_words] if len(word_starts) >= min_words else held_start
        if self._scanner.is_injection_enforced:
            *_, (sentence_start, _) = (0, 0), *split_sentences(text, as_json=self._as_json)
            end = min(end, sentence_start)  # the last sentence may continue
        search_start = max(held_start, len(text) - WINDOW)
        finding_match = _FINDING_START.search(text, search_start)
        if finding_match is not None:
            # The value may begin two words before (`DE 89 …`, `ann dot bell at …`).
            starts = [start for start in word_starts if start <= finding_match.start()]
            end = min(end, starts[-min(len(starts), 3)] if starts else held_start)
        key_start = text.find(_KEY_BEGINS, held_start)
        is_open_key = key_start >= 0 and text.find(_KEY_ENDS, key_start) < 0
        if is_open_key and len(text) - key_start < _MAX_KEY:
            end = min(end, key_start)
        if end <= held_start and len(text) - held_start > _MAX_RUN + _MAX_KEY:
            end = len(text) - WINDOW
        while self._as_json and end > held_start and text[end - 1] == "\\":
            end -= 1  # the backslash belongs to the next character, which may be a quote
        return end

    def _show(self, end: int) -> str:
        """Show the text up to `end`, or up to the start of a finding that extends past it."""
        findings = self._scanner.find(self._text, only_enforced=True, as_json=self._as_json)
        spans = [finding for finding in findings if finding.end > self._held_start]
        has_moved = True
        while has_moved:  # a finding that extends past the end may begin inside another
            starts = [finding.start for finding in spans if finding.start < end < finding.end]
            has_moved = bool(starts)
            end = min(starts, default=end)
        if end <= self._held_start:
            return ""
        block = next((span for span in spans if span.action == "block" and span.start < end), None)
        if block is not None:
            end, self.blocking_finding = max(block.start, self._held_start), block
        shown_findings = [finding for finding in findings if self._held_start < finding.end <= end]
        self.findings += [self._shift_to_whole_text(finding) for finding in shown_findings]
        if block is not None:
            self.findings.append(self._shift_to_whole_text(block))
        text = self._text[self._held_start : end]
        is_in_string = self._in_string if self._as_json else False
        masked_text = mask_findings(
            ('"' if is_in_string else "") + text,
            [
                self._shift_to_held_text(finding, shift=int(is_in_string))
                for finding in shown_findings
            ],
            as_json=self._as_json,
        )[int(is_in_string) :]
        if self._as_json:
            self._in_string = is_in_string ^ is_json_string_open(text)
        self._held_start = end
        self._drop_shown_text()
        return masked_text

    def _shift_to_held_text(self, finding: GuardFinding, *, shift: int) -> GuardFinding:
        start = max(finding.start, self._held_start) - self._held_start + shift
        return replace(finding, start=start, end=finding.end - self._held_start + shift)

    def _shift_to_whole_text(self, finding: GuardFinding) -> GuardFinding:
        start, end = finding.start + self._dropped_length, finding.end + self._dropped_length
        return replace(finding, start=start, end=end)

    def _drop_shown_text(self) -> None:
        surplus = self._held_start - _LOOK_BEHIND
        if surplus > _LOOK_BEHIND:
            if self._scanner.is_injection_enforced:  # cut only where a sentence begins
                sentences = split_sentences(self._text, as_json=self._as_json)
                surplus = max(start for start, _ in ((0, 0), *sentences) if start <= surplus)
            self._text = self._text[surplus:]
            self._held_start -= surplus
            self._dropped_length += surplus
