"""What a text holds that its author's file watches for, and the text without it.

Scope: the four kinds over one text, what is masked, the placeholders.
Out of scope: which kind is watched where (`guard_settings.py`), personal data and secrets
themselves (`privacy/`), a text that comes in pieces (`streaming.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from twin_resources.authors.guard_settings import KINDS, GuardAction, Guarded, GuardPlace, Guards
from twin_resources.gateway.guards.injection import find_injections
from twin_resources.privacy import find_personal
from twin_resources.privacy.kinds import joined
from twin_resources.privacy.stated_data import find_stated

SECRETS = frozenset({"private key", "key", "web token", "secret"})
_PLACEHOLDERS = {"injection": "[instructions]", "words": "[…]"}


@dataclass(frozen=True, order=True)
class GuardFinding:
    """One place in a text.

    Attributes:
        begin, end: characters of the text.
        kind: see `guard_settings.KINDS`.
        what: the kind of `privacy` for personal data and secrets, else the kind again; never the
            value.
        action: what the author's file says.
    """

    begin: int
    end: int
    kind: Guarded
    what: str
    action: GuardAction

    @property
    def placeholder(self) -> str:
        return _PLACEHOLDERS.get(self.kind, f"[{self.what}]")


@dataclass(frozen=True)
class Scanned:
    """A text as it may go on.

    Attributes:
        text: masked; the very same string when nothing was.
        findings: in the order of the text, recorded ones too.
    """

    text: str
    findings: tuple[GuardFinding, ...] = ()

    @property
    def blocked(self) -> GuardFinding | None:
        """The first finding for which the author's file says `block`."""
        return next((finding for finding in self.findings if finding.action == "block"), None)


@dataclass(frozen=True)
class Scanner:
    """Looks through texts of one place for one author.

    Attributes:
        region: where the author is at home, for phone numbers and national ids (`privacy.redact`).
    """

    guards: Guards
    place: GuardPlace
    region: str = ""

    @cached_property
    def is_off(self) -> bool:
        """Nothing is watched for here."""
        kinds = [kind for kind in KINDS if self._on(kind)]
        return not kinds or (kinds == ["words"] and not self.guards.block_list)

    @cached_property
    def holds_back(self) -> bool:
        """A stream may show something too early here: a kind is masked or blocked."""
        acts = {kind for kind in KINDS if self._acts(kind)}
        return bool(acts - {"words"}) or ("words" in acts and bool(self.guards.block_list))

    @cached_property
    def records(self) -> bool:
        """Something is counted and let pass."""
        return any(self._on(kind) and not self._acts(kind) for kind in KINDS)

    @cached_property
    def longest_phrase(self) -> int:
        """Words of the longest entry of the block list."""
        return max((len(entry.split()) for entry in self.guards.block_list), default=0)

    @cached_property
    def acts_on_injection(self) -> bool:
        return self._acts("injection")

    def find(self, text: str, *, acting: bool = False, as_json: bool = False) -> list[GuardFinding]:
        """Every finding, in the order of the text; they may overlap.

        Args:
            acting: only what is masked or blocked.
            as_json: no finding of the text's own sentences leaves a string of a JSON document.
        """
        findings: list[GuardFinding] = []
        wanted = self._acts if acting else self._on
        if wanted("personal") or wanted("secrets"):
            spans = find_personal(text, region=self.region)
            if self.place == "input":  # posts and answers may state whose birthday it was
                spans = joined([*spans, *find_stated(text)])
            for span in spans:
                kind: Guarded = "secrets" if span.kind in SECRETS else "personal"
                if wanted(kind):
                    findings.append(self._finding(span.start, span.end, kind, span.kind))
        if wanted("words") and self._words is not None:
            findings += [
                self._finding(*match.span(), "words", "words")
                for match in self._words.finditer(text)
            ]
        if wanted("injection"):
            findings += [
                self._finding(begin, end, "injection", "injection")
                for begin, end in find_injections(text, self.place, as_json=as_json)
            ]
        return sorted(findings)

    def scan(self, text: str, *, as_json: bool = False) -> Scanned:
        """The text with what is to be masked or blocked replaced.

        A blocked place is masked as well, so that whoever goes on in spite of it shows nothing.

        Args:
            as_json: keep it a JSON document.
        """
        if self.is_off or not text:
            return Scanned(text)
        findings = tuple(self.find(text, as_json=as_json))
        return Scanned(masked(text, findings, as_json=as_json), findings)

    def _finding(self, begin: int, end: int, kind: Guarded, what: str) -> GuardFinding:
        return GuardFinding(begin, end, kind, what, self.guards.action(kind, self.place))

    def _on(self, kind: Guarded) -> bool:
        return self.guards.action(kind, self.place) != "off"

    def _acts(self, kind: Guarded) -> bool:
        return self.guards.action(kind, self.place) in {"mask", "block"}

    @cached_property
    def _words(self) -> re.Pattern[str] | None:
        phrases = [
            r"\s+".join(re.escape(word) for word in entry.split())
            for entry in sorted(self.guards.block_list, key=len, reverse=True)
        ]
        if not phrases:
            return None
        return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


def masked(text: str, findings: Sequence[GuardFinding], *, as_json: bool = False) -> str:
    """The text with each finding that is masked or blocked replaced by what it was."""
    pieces: list[str] = []
    end = 0
    for finding in findings:
        if finding.action not in {"mask", "block"} or finding.end <= end:
            continue
        begin = max(finding.begin, end)
        placeholder = finding.placeholder
        if as_json and not in_json(text, begin):
            placeholder = f'"{placeholder}"'  # a number, which stands there without quotes
        pieces += (text[end:begin], placeholder)
        end = finding.end
    return "".join((*pieces, text[end:])) if end else text


def in_json(text: str, place: int) -> bool:
    """Whether a place of a JSON document stands inside a string."""
    quotes = len(re.findall(r'(?<!\\)(?:\\\\)*"', text[:place]))
    return quotes % 2 == 1
