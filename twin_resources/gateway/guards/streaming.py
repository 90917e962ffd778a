"""An answer that comes in pieces, shown only as far as nothing to be masked can begin in it.

Scope: how much of a growing text is held back. Out of scope: what is found in it
(`scanning.py`), LiteLLM's chunks (`guardrails.py` beside this folder).

What was shown cannot be taken back. So the last words wait always, and the whole of `WINDOW`
characters wherever something stands in them with which personal data or a secret begins: a digit,
an `@`, a word that announces one, a run that no word is as long as. A run without a space, and a
private key without its end, wait until they are over. In plain prose that is two words; where
injections are masked or blocked, it is the sentence.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.gateway.guards.injection import sentences
from twin_resources.gateway.guards.scanning import GuardFinding, Scanner, masked

# The longest thing written in groups is an IBAN (34 characters, 8 spaces) or a phone number with an
# extension (about 60); the words that announce one stand up to 48 characters before it.
WINDOW = 120
_MAX_RUN = 4096  # of a web token; beyond it a run is no secret that could be told apart
_MAX_KEY = 16_000
_MIN_WORDS = 3  # the last one unfinished
_LOOK_BEHIND = 200  # already shown; says what a number after it is
_BEGINS = re.compile(
    r"\d|@|://|-----|[A-Za-z0-9_+/=-]{16,}|(?<=\s)(?:at|AT|\u00e4t|arroba|chiocciola)(?=\s)"
    r"|[\[({<] ?(?i:at|\u00e4t|\u00e6t|arroba|chez|chiocciola|apestaart(?:je)?) ?[\])}>]"
    r"|(?i:passw|passphrase|passcode|pwd|secret|token|credential|api[ _-]?key|access[ _-]?key"
    r"|auth[ _-]?key|bearer|basic )"
)
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
_WORD = re.compile(r"\S+")


class HeldBack:
    """The text of one answer while it grows: what of it may be shown, with places masked.

    What `feed` and `finish` return, put together, is the whole text with its findings masked; up to
    the first blocked one, where one is.

    Attributes:
        findings: what is masked or blocked so far, and at the end what is recorded too; their
            places are those of the text as it was written.
        blocked: a finding is to be blocked: nothing more is shown.
    """

    def __init__(self, scanner: Scanner, *, as_json: bool = False) -> None:
        self.findings: list[GuardFinding] = []
        self.blocked: GuardFinding | None = None
        self._scanner = scanner
        self._as_json = as_json
        self._text = ""  # the end of what was shown, then what waits
        self._waits = 0  # where in it the waiting begins
        self._gone = 0  # characters before it
        self._whole: list[str] = []  # only where something is recorded: it is looked for once
        self._in_string = False  # a JSON string was open where `_text` begins

    def feed(self, text: str) -> str:
        """More text; returns what can be shown now."""
        if self.blocked is not None or not text:
            return ""
        self._text += text
        if self._scanner.records:
            self._whole.append(text)
        safe = self._safe_end()
        return self._show(safe) if safe > self._waits else ""

    def finish(self) -> str:
        """The text is over; returns what else is shown."""
        shown = "" if self.blocked is not None else self._show(len(self._text))
        if self._whole:
            findings = self._scanner.find("".join(self._whole), as_json=self._as_json)
            self.findings += [finding for finding in findings if finding.action == "record"]
            self.findings.sort()
        return shown

    def _safe_end(self) -> int:
        text, waits = self._text, self._waits
        words = [match.start() for match in _WORD.finditer(text, waits)]
        fewest = max(_MIN_WORDS, self._scanner.longest_phrase + 1)
        end = words[-fewest] if len(words) >= fewest else waits
        if self._scanner.acts_on_injection:
            *_, (last, _) = (0, 0), *sentences(text, as_json=self._as_json)
            end = min(end, last)  # it may go on
        tail = max(waits, len(text) - WINDOW)
        begins = _BEGINS.search(text, tail)
        if begins is not None:
            # What belongs to it may stand two words before (`DE 89 …`, `ann dot bell at …`).
            before = [place for place in words if place <= begins.start()]
            end = min(end, before[-min(len(before), 3)] if before else waits)
        key = text.find(_KEY_BEGINS, waits)
        if key >= 0 and text.find(_KEY_ENDS, key) < 0 and len(text) - key < _MAX_KEY:
            end = min(end, key)
        if end <= waits and len(text) - waits > _MAX_RUN + _MAX_KEY:
            end = len(text) - WINDOW
        while self._as_json and end > waits and text[end - 1] == "\\":
            end -= 1  # it belongs to the next letter, which may be a quote
        return end

    def _show(self, end: int) -> str:
        """Show up to `end`, or to the begin of a finding that reaches over it."""
        findings = self._scanner.find(self._text, acting=True, as_json=self._as_json)
        acting = [finding for finding in findings if finding.end > self._waits]
        moved = True
        while moved:  # one that reaches over the end may begin inside another
            over = [one.begin for one in acting if one.begin < end < one.end]
            moved = bool(over)
            end = min(over, default=end)
        if end <= self._waits:
            return ""
        block = next((one for one in acting if one.action == "block" and one.begin < end), None)
        if block is not None:
            end, self.blocked = max(block.begin, self._waits), block
        here = [finding for finding in findings if self._waits < finding.end <= end]
        self.findings += [self._placed(one) for one in here]
        if block is not None:
            self.findings.append(self._placed(block))
        text = self._text[self._waits : end]
        inside = self._in_string if self._as_json else False
        shown = masked(
            ('"' if inside else "") + text,
            [self._relative(one, shift=int(inside)) for one in here],
            as_json=self._as_json,
        )[int(inside) :]
        if self._as_json:
            self._in_string = in_string_after(text, before=inside)
        self._waits = end
        self._forget()
        return shown

    def _relative(self, one: GuardFinding, *, shift: int) -> GuardFinding:
        begin = max(one.begin, self._waits) - self._waits + shift
        end = one.end - self._waits + shift
        return GuardFinding(begin, end, one.kind, one.what, one.action)

    def _placed(self, one: GuardFinding) -> GuardFinding:
        return GuardFinding(
            one.begin + self._gone, one.end + self._gone, one.kind, one.what, one.action
        )

    def _forget(self) -> None:
        surplus = self._waits - _LOOK_BEHIND
        if surplus > _LOOK_BEHIND:
            if self._scanner.acts_on_injection:  # a sentence is known by where it begins
                cut = sentences(self._text, as_json=self._as_json)
                surplus = max(begin for begin, _ in ((0, 0), *cut) if begin <= surplus)
            self._text = self._text[surplus:]
            self._waits -= surplus
            self._gone += surplus


def in_string_after(text: str, *, before: bool) -> bool:
    """Whether a JSON string is open behind a piece of a document."""
    quotes = len(re.findall(r'(?<!\\)(?:\\\\)*"', text))
    return before ^ (quotes % 2 == 1)
