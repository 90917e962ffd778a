"""What is to be forgotten, by every name under which a place may know it.

Scope: subject, identifiers and marks as one value, and whether a row or a text holds them.
Out of scope: finding the identifiers (`plan.py`), the places.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from twin_resources.erasure.text_fingerprints import TextFingerprints, empty_marks

Kind = Literal["post", "author", "reader"]
# In running text a shorter identifier may be a word, a number or a part of another one.
SURE_LETTERS = 12
_TOKEN = re.compile(r"[\w./:@%+~-]+")
_JSON_BEGINS = ("{", "[")


@dataclass(frozen=True)
class ErasureSubject:
    """Who or what a person asked to forget.

    Attributes:
        author: slug; empty for a reader, who may have asked several twins.
        name: of a post its `source_id`, of an author the slug, of a reader the 16 hexadecimal
            digits that traces name it by.
    """

    kind: Kind
    author: str
    name: str

    @property
    def digest(self) -> str:
        """SHA-256 of the subject: what a certificate says of it."""
        return digest_of(self.kind, self.author, self.name)


@dataclass(frozen=True)
class ErasureTarget:
    """A subject with everything that belongs to it.

    Attributes:
        ids: identifiers of its rows: posts, documents, chunks, samples, pairs, traces, scores.
        traces: those of `ids` that are traces.
        chunks: those of `ids` that a trace may name as its context.
        authors: slugs whose tables may hold it: the author, or those whom a reader asked or judged.
        names: words that name an author: the slug, the display name; empty otherwise.
        key_hash: of a reader whose key was given: its row among the gateway's keys.
        shown_to: of `traces` those that a paid provider's model answered: `model trace-id`.
        checkpoints: hashes of the checkpoints that were trained on it.
        marks: of its texts.
    """

    subject: ErasureSubject
    ids: frozenset[str] = frozenset()
    traces: frozenset[str] = frozenset()
    chunks: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    key_hash: str = ""
    shown_to: frozenset[str] = frozenset()
    checkpoints: frozenset[str] = frozenset()
    marks: TextFingerprints = field(default_factory=empty_marks)
    _named: re.Pattern[str] | None = None

    @property
    def author(self) -> str:
        return self.subject.author

    @property
    def whole_author(self) -> bool:
        return self.subject.kind == "author"

    def is_in(self, text: str) -> bool:
        """Whether running text holds a run of words, a long identifier or the author's name."""
        if self.whole_author and self._pattern().search(text):
            return True
        return self.marks.found_in(text) or self._names_id(text)

    def is_value(self, value: str) -> bool:
        """Whether a field that holds identifiers names one of these."""
        return value in self.ids or (self.whole_author and value in self.names)

    def is_among(self, value: object) -> bool:
        """Whether a row, a JSON document or anything in it holds it."""
        return any(self.is_value(leaf) or self.is_in(leaf) for leaf in texts_in(value))

    def _names_id(self, text: str) -> bool:
        for match in _TOKEN.findall(text):
            token = match.rstrip(".:")  # the sentence's, not the identifier's
            if len(token) < SURE_LETTERS:
                continue
            if token in self.ids:
                return True
            rest = token
            while "/" in rest:  # a path ends in the post's own
                rest = rest.partition("/")[2]
                if len(rest) >= SURE_LETTERS and rest in self.ids:
                    return True
        return False

    def _pattern(self) -> re.Pattern[str]:
        if self._named is None:
            words = "|".join(re.escape(name) for name in sorted(self.names))
            # Another author's slug may begin with this one; names of files and jobs add to it.
            before, after = r"(?:(?<![\w-])|(?<=server-)|(?<=training-))", r"(?:v\d|[0-9a-f]{12})"
            named = re.compile(rf"{before}(?:{words})(?:(?![\w-])|(?=-{after}))")
            object.__setattr__(self, "_named", named)
        return cast("re.Pattern[str]", self._named)

    def to_json(self) -> str:
        """Everything but the marks, for the journal."""
        sets = {name: sorted(getattr(self, name)) for name in _SETS}
        return json.dumps({"key_hash": self.key_hash, **sets})

    @classmethod
    def from_json(
        cls, subject: ErasureSubject, document: str, marks: TextFingerprints
    ) -> ErasureTarget:
        """The value that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(document)
        sets: dict[str, Any] = {name: frozenset(fields.get(name, ())) for name in _SETS}
        return cls(subject, key_hash=str(fields["key_hash"]), marks=marks, **sets)


_SETS = ("ids", "traces", "chunks", "authors", "names", "shown_to", "checkpoints")


def digest_of(*parts: str) -> str:
    """SHA-256 of the parts, hexadecimal."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def texts_in(value: object) -> Iterator[str]:
    """Every text in a value: of nested lists and mappings, and of JSON inside a text."""
    if isinstance(value, str):
        if value[:1] in _JSON_BEGINS:
            try:
                inner = json.loads(value)
            except ValueError:
                yield value  # prose that begins with a bracket
                return
            yield from texts_in(inner)
            return
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", errors="replace")
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[object, object]", value).items():
            yield from texts_in(name)
            yield from texts_in(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in cast("Iterable[object]", value):
            yield from texts_in(inner)
