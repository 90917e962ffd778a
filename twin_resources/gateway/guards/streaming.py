"""Mask a streamed answer sentence by sentence, because shown text cannot be withdrawn.

A sentence is shown when the words after it show that no finding goes on: personal data, a secret
or a phrase of the block list may continue after its end. A sentence that ends with a digit goes on
in the next one. A private key is held back until it ends, and a JSON document is one sentence.
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import replace

from twin_resources.gateway.guards.scanning import GuardFinding, Scanner, mask_findings

_MIN_WORDS = 3  # after the end of a sentence; the last one may be unfinished
_LOOK_BEHIND = 200  # shown characters, kept as context for a number that follows
_MAX_KEY = 16_000
# The longest text that may wait for the end of a sentence; a token has at most 4,096 characters.
_MAX_HELD = 20_000
_WINDOW = 120  # then the end of the text still waits: no value written in groups is longer
_OPEN_KEY = re.compile(r"-----BEGIN(?!(?s:.)*?-----END[^\n]*-----)")
_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"(?<!\d)[.!?…。](?=\s)|(?<![\d\s])\n")


class StreamGuard:
    """A filter that masks the findings in a growing answer and withholds its last sentence.

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
        limit = word_starts[-min_words] if len(word_starts) >= min_words else held_start
        open_key = _OPEN_KEY.search(text, held_start)
        if open_key is not None and len(text) - open_key.start() < _MAX_KEY:
            limit = min(limit, open_key.start())
        ends = [match.end() for match in _SENTENCE_END.finditer(text, held_start, limit)]
        if ends:
            return ends[-1]
        return len(text) - _WINDOW if len(text) - held_start > _MAX_HELD else held_start

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
        # Sentences are dropped whole, because an injection is found by its sentence.
        ends = [match.end() for match in _SENTENCE_END.finditer(self._text, 0, end - _LOOK_BEHIND)]
        if end > 2 * _LOOK_BEHIND and ends:
            self._text = self._text[ends[-1] :]
            self._held_start -= ends[-1]
            self._dropped_length += ends[-1]
        return shown_text
