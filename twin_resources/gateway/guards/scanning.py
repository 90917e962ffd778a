"""Scan a text for the kinds that the author's file names, and mask the findings.

Scope: the four kinds in one text, masking, the placeholders.
Out of scope: which kind is watched where (`guard_settings.py`), detecting personal data and secrets
(`privacy/`), a streamed text (`streaming.py`).
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
    """One finding in a text.

    Attributes:
        begin, end: character offsets in the text.
        kind: see `guard_settings.KINDS`.
        what: the kind of `privacy` for personal data and secrets, else `kind`; never the value.
        action: the action in the author's file.
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
    """A text after the guards.

    Attributes:
        text: the masked text; the same object if nothing was masked.
        findings: all findings in the order of the text, including recorded ones.
    """

    text: str
    findings: tuple[GuardFinding, ...] = ()

    @property
    def blocked(self) -> GuardFinding | None:
        """The first finding with the action `block`."""
        return next((finding for finding in self.findings if finding.action == "block"), None)


@dataclass(frozen=True)
class Scanner:
    """Scan texts of one place for one author.

    Attributes:
        region: the author's region, for phone numbers and national ids (`privacy.redact`).
    """

    guards: Guards
    place: GuardPlace
    region: str = ""

    @cached_property
    def is_off(self) -> bool:
        """Whether no kind is watched in this place."""
        kinds = [kind for kind in KINDS if self._on(kind)]
        return not kinds or (kinds == ["words"] and not self.guards.block_list)

    @cached_property
    def holds_back(self) -> bool:
        """Whether a stream must be held back, because a kind is masked or blocked."""
        acts = {kind for kind in KINDS if self._acts(kind)}
        return bool(acts - {"words"}) or ("words" in acts and bool(self.guards.block_list))

    @cached_property
    def records(self) -> bool:
        """Whether a kind is only recorded."""
        return any(self._on(kind) and not self._acts(kind) for kind in KINDS)

    @cached_property
    def longest_phrase(self) -> int:
        """Number of words in the longest entry of the block list."""
        return max((len(entry.split()) for entry in self.guards.block_list), default=0)

    @cached_property
    def acts_on_injection(self) -> bool:
        return self._acts("injection")

    def find(self, text: str, *, acting: bool = False, as_json: bool = False) -> list[GuardFinding]:
        """Return every finding, in the order of the text; findings may overlap.

        Args:
            acting: whether to return only findings that are masked or blocked.
            as_json: whether the text is a JSON document, in which a sentence ends with its string.
        """
        findings: list[GuardFinding] = []
        is_watched = self._acts if acting else self._on
        if is_watched("personal") or is_watched("secrets"):
            spans = find_personal(text, region=self.region)
            if self.place == "input":  # posts and answers may state whose birthday it was
                spans = joined([*spans, *find_stated(text)])
            for span in spans:
                kind: Guarded = "secrets" if span.kind in SECRETS else "personal"
                if is_watched(kind):
                    findings.append(self._finding(span.start, span.end, kind, span.kind))
        if is_watched("words") and self._words is not None:
            findings += [
                self._finding(*match.span(), "words", "words")
                for match in self._words.finditer(text)
            ]
        if is_watched("injection"):
            findings += [
                self._finding(begin, end, "injection", "injection")
                for begin, end in find_injections(text, self.place, as_json=as_json)
            ]
        return sorted(findings)

    def scan(self, text: str, *, as_json: bool = False) -> Scanned:
        """Replace the findings that are to be masked or blocked.

        A blocked finding is masked as well, so that the text is safe even if a caller ignores it.

        Args:
            as_json: whether the text must stay a JSON document.
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
    """Replace each finding that is masked or blocked by its placeholder."""
    pieces: list[str] = []
    end = 0
    for finding in findings:
        if finding.action not in {"mask", "block"} or finding.end <= end:
            continue
        begin = max(finding.begin, end)
        placeholder = finding.placeholder
        if as_json and not in_json(text, begin):
            placeholder = f'"{placeholder}"'  # in place of a number, which has no quotes
        pieces += (text[end:begin], placeholder)
        end = finding.end
    return "".join((*pieces, text[end:])) if end else text


def in_json(text: str, place: int) -> bool:
    """Return whether an offset in a JSON document is inside a string."""
    quotes = len(re.findall(r'(?<!\\)(?:\\\\)*"', text[:place]))
    return quotes % 2 == 1
