"""Hold back the part of a streamed answer in which a finding to be masked may begin.

Shown text cannot be withdrawn, so the last words are always held back. Personal data or a secret
may begin with a digit, an `@`, a word such as `token`, or a run longer than any word. If the
last `WINDOW` characters contain one of these, the text from there on is held back. A run without
spaces and a private key are held back until they end. In plain prose, two words are held back, or
the whole sentence if injections are masked or blocked. A JSON document is held back whole.
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import replace

from twin_resources.gateway.guards.injection import split_sentences
from twin_resources.gateway.guards.scanning import GuardFinding, Scanner, mask_findings

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
_OPEN_KEY = re.compile(r"-----BEGIN(?!(?s:.)*?-----END[^\n]*-----)")
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
        self._held_start: int = 0  # offset of the withheld text in `_text`
        self._dropped_length: int = 0  # number of characters before `_text`
        self._all_pieces: list[str] = []  # filled only if a kind is recorded, for a scan at the end

    def feed(self, text: str) -> str:
        """Add text and return the part that can be shown now."""
        if self.blocking_finding is not None or not text:
            return ""
        if self._scanner.has_recorded_kind:
            self._all_pieces.append(text)
        if not self._scanner.needs_buffering:
            return text
        self._text += text
        end = self._held_start if self._as_json else self._safe_end()
        return self._show(end) if end > self._held_start else ""

    def finish(self) -> str:
        """End the text and return the remaining text to show."""
        shown_text = "" if self.blocking_finding is not None else self._show(len(self._text))
        if self._all_pieces:
            findings = self._scanner.find("".join(self._all_pieces), as_json=self._as_json)
            self._all_pieces.clear()
            self.findings += [finding for finding in findings if finding.action == "record"]
            self.findings.sort()
        return shown_text

    def _safe_end(self) -> int:
        text, held_start = self._text, self._held_start
        word_starts = [match.start() for match in _WORD.finditer(text, held_start)]
        min_words = max(_MIN_WORDS, self._scanner.max_phrase_words + 1)
        end = word_starts[-min_words] if len(word_starts) >= min_words else held_start
        if self._scanner.is_injection_enforced:
            *_, (sentence_start, _) = (0, 0), *split_sentences(text)
            end = min(end, sentence_start)  # the last sentence may continue
        finding_match = _FINDING_START.search(text, max(held_start, len(text) - WINDOW))
        if finding_match is not None:
            # The value may begin two words before (`DE 89 …`, `ann dot bell at …`).
            starts = [start for start in word_starts if start <= finding_match.start()]
            end = min(end, starts[-min(len(starts), 3)] if starts else held_start)
        open_key = _OPEN_KEY.search(text, held_start)
        if open_key is not None and len(text) - open_key.start() < _MAX_KEY:
            end = min(end, open_key.start())
        if end <= held_start and len(text) - held_start > _MAX_RUN + _MAX_KEY:
            end = len(text) - WINDOW
        return end

    def _show(self, end: int) -> str:
        """Show the text up to `end`, or up to the start of a finding that extends past it."""
        start = self._held_start
        findings = self._scanner.find(self._text, only_enforced=True, as_json=self._as_json)
        findings = [finding for finding in findings if finding.end > start]
        while crossing := [found.start for found in findings if found.start < end < found.end]:
            end = min(crossing)  # it may lie inside another finding
        if end <= start:
            return ""
        findings = [finding for finding in findings if finding.start < end]
        block = next((finding for finding in findings if finding.action == "block"), None)
        if block is not None:
            end, self.blocking_finding = max(block.start, start), block
        masked = [
            replace(finding, start=max(finding.start, start) - start, end=finding.end - start)
            for finding in findings
            if finding.end <= end
        ]
        self.findings += [
            replace(
                finding,
                start=finding.start + self._dropped_length,
                end=finding.end + self._dropped_length,
            )
            for finding in findings
            if finding.end <= end or finding is block
        ]
        shown_text = mask_findings(self._text[start:end], masked, as_json=self._as_json)
        self._held_start = end
        surplus = end - _LOOK_BEHIND
        if surplus > _LOOK_BEHIND:
            if self._scanner.is_injection_enforced:  # cut only where a sentence begins
                sentences = split_sentences(self._text)
                surplus = max(begin for begin, _ in ((0, 0), *sentences) if begin <= surplus)
            self._text = self._text[surplus:]
            self._held_start -= surplus
            self._dropped_length += surplus
        return shown_text
