"""Scan a text for the kinds of findings that the author's file sets, and mask them.

Scope: finding the four kinds in one text, masking, and the placeholders.
Out of scope: the kinds to watch in each place (`guard_settings.py`), detecting personal data and
secrets (`privacy/`), a streamed text (`streaming.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from twin_resources.authors.guard_settings import KINDS, GuardAction, GuardKind, GuardPlace, Guards
from twin_resources.gateway.guards.injection import find_injections
from twin_resources.privacy import find_personal_data
from twin_resources.privacy.kinds import merge_overlapping
from twin_resources.privacy.stated_data import find_stated_personal_data

SECRETS = frozenset({"private key", "key", "web token", "secret"})
_PLACEHOLDERS = {"injection": "[instructions]", "words": "[…]"}


@dataclass(frozen=True, order=True)
class GuardFinding:
    """One finding in a text.

    Attributes:
        start, end: character offsets in the text.
        kind: see `guard_settings.KINDS`.
        category: the kind that `privacy` reports for personal data and secrets, otherwise `kind`;
            never the detected value.
        action: the action in the author's file.
    """

    start: int
    end: int
    kind: GuardKind
    category: str
    action: GuardAction

    @property
    def placeholder(self) -> str:
        return _PLACEHOLDERS.get(self.kind, f"[{self.category}]")


@dataclass(frozen=True)
class ScanResult:
    """A text after the guards.

    Attributes:
        text: the masked text; the same object if nothing was masked.
        findings: all findings in the order of the text, including recorded ones.
    """

    text: str
    findings: tuple[GuardFinding, ...] = ()

    @property
    def blocking_finding(self) -> GuardFinding | None:
        """The first finding with the action `block`."""
        return next((finding for finding in self.findings if finding.action == "block"), None)


@dataclass(frozen=True)
class Scanner:
    """A scanner for the texts of one place and author.

    Attributes:
        region: the author's region, for phone numbers and national ids (`privacy.redact`).
    """

    guards: Guards
    place: GuardPlace
    region: str = ""

    @cached_property
    def is_off(self) -> bool:
        """Whether no kind is watched in this place."""
        kinds = [kind for kind in KINDS if self._is_watched(kind)]
        return not kinds or (kinds == ["words"] and not self.guards.block_list)

    @cached_property
    def needs_buffering(self) -> bool:
        """Whether a stream must be buffered, because a kind is masked or blocked."""
        enforced_kinds = {kind for kind in KINDS if self._is_enforced(kind)}
        return bool(enforced_kinds - {"words"}) or (
            "words" in enforced_kinds and bool(self.guards.block_list)
        )

    @cached_property
    def has_recorded_kind(self) -> bool:
        """Whether a kind is only recorded."""
        return any(self._is_watched(kind) and not self._is_enforced(kind) for kind in KINDS)

    @cached_property
    def max_phrase_words(self) -> int:
        """Number of words in the longest entry of the block list."""
        return max((len(entry.split()) for entry in self.guards.block_list), default=0)

    @cached_property
    def is_injection_enforced(self) -> bool:
        return self._is_enforced("injection")

    def find(
        self, text: str, *, only_enforced: bool = False, as_json: bool = False
    ) -> list[GuardFinding]:
        """Return every finding, in the order of the text; findings may overlap.

        Args:
            only_enforced: whether to return only findings that are masked or blocked.
            as_json: whether the text is a JSON document, where a string's end also ends a sentence.
        """
        findings: list[GuardFinding] = []
        is_watched = self._is_enforced if only_enforced else self._is_watched
        if is_watched("personal") or is_watched("secrets"):
            spans = find_personal_data(text, region=self.region)
            if self.place == "input":  # posts and answers may state a birthday
                spans = merge_overlapping([*spans, *find_stated_personal_data(text)])
            for span in spans:
                kind: GuardKind = "secrets" if span.kind in SECRETS else "personal"
                if is_watched(kind):
                    findings.append(self._create_finding(span.start, span.end, kind, span.kind))
        if is_watched("words") and self._block_list_pattern is not None:
            findings += [
                self._create_finding(*match.span(), "words", "words")
                for match in self._block_list_pattern.finditer(text)
            ]
        if is_watched("injection"):
            findings += [
                self._create_finding(start, end, "injection", "injection")
                for start, end in find_injections(text, self.place, as_json=as_json)
            ]
        return sorted(findings)

    def scan(self, text: str, *, as_json: bool = False) -> ScanResult:
        """Replace the findings that are to be masked or blocked.

        A blocked finding is masked as well, so that the text is safe if a caller ignores the block.

        Args:
            as_json: whether the text must stay a JSON document.
        """
        if self.is_off or not text:
            return ScanResult(text)
        findings = tuple(self.find(text, as_json=as_json))
        return ScanResult(mask_findings(text, findings, as_json=as_json), findings)

    def _create_finding(self, start: int, end: int, kind: GuardKind, category: str) -> GuardFinding:
        return GuardFinding(start, end, kind, category, self.guards.get_action(kind, self.place))

    def _is_watched(self, kind: GuardKind) -> bool:
        return self.guards.get_action(kind, self.place) != "off"

    def _is_enforced(self, kind: GuardKind) -> bool:
        return self.guards.get_action(kind, self.place) in {"mask", "block"}

    @cached_property
    def _block_list_pattern(self) -> re.Pattern[str] | None:
        phrases = [
            r"\s+".join(re.escape(word) for word in entry.split())
            for entry in sorted(self.guards.block_list, key=len, reverse=True)
        ]
        if not phrases:
            return None
        return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


def mask_findings(text: str, findings: Sequence[GuardFinding], *, as_json: bool = False) -> str:
    """Replace each finding that is masked or blocked with its placeholder."""
    pieces: list[str] = []
    end = 0
    for finding in findings:
        if finding.action not in {"mask", "block"} or finding.end <= end:
            continue
        start = max(finding.start, end)
        placeholder = finding.placeholder
        if as_json and not is_json_string_open(text[:start]):
            placeholder = f'"{placeholder}"'  # it replaces a number, which has no quotes
        pieces += (text[end:start], placeholder)
        end = finding.end
    return "".join((*pieces, text[end:])) if end else text


def is_json_string_open(text: str) -> bool:
    """Return whether the start of a JSON document ends inside a string."""
    quote_count = len(re.findall(r'(?<!\\)(?:\\\\)*"', text))
    return quote_count % 2 == 1
