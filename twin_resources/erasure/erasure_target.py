"""Define the data to erase and every name under which a store may refer to it.

Scope: subject, identifiers and fingerprints as one value; matching rows and texts against it.
Out of scope: finding the identifiers (`plan.py`), the stores.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from twin_resources.erasure.text_fingerprints import TextFingerprints, empty_fingerprints

Kind = Literal["post", "author", "reader"]
# In running text, a shorter identifier may be a word, a number or part of another identifier.
MIN_IDENTIFIER_LENGTH = 12
_TOKEN = re.compile(r"[\w./:@%+~-]+")
_JSON_PREFIXES = ("{", "[")


@dataclass(frozen=True)
class ErasureSubject:
    """The post, author or reader to erase.

    Attributes:
        author: the slug; empty for a reader, who may have asked several twins.
        name: a post's `source_id`, an author's slug, or the 16 hexadecimal digits that identify a
            reader in traces.
    """

    kind: Kind
    author: str
    name: str

    @property
    def digest(self) -> str:
        """SHA-256 of the subject, as written in a certificate."""
        return hash_parts(self.kind, self.author, self.name)


@dataclass(frozen=True)
class ErasureTarget:
    """A subject with all identifiers and fingerprints that belong to it.

    Attributes:
        ids: identifiers of its rows: posts, documents, chunks, samples, pairs, traces, scores.
        traces: the subset of `ids` that are traces.
        chunks: the subset of `ids` that a trace may name as its context.
        authors: slugs of the authors whose tables may contain it: the author itself, or the authors
            that a reader asked or judged.
        names: names of an author (the slug, the display name); empty for other subjects.
        key_hash: hash of the reader's gateway key, if the key was given.
        shown_to: its traces that a paid provider's model answered, as `model trace-id`.
        checkpoints: hashes of the checkpoints that were trained on it; empty for an author.
        skills: folders that `twin export --skill` wrote for its author.
        fingerprints: fingerprints of its texts.
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
    skills: frozenset[str] = frozenset()
    fingerprints: TextFingerprints = field(default_factory=empty_fingerprints)
    _name_pattern: re.Pattern[str] | None = None

    @property
    def author(self) -> str:
        return self.subject.author

    @property
    def is_whole_author(self) -> bool:
        return self.subject.kind == "author"

    def matches_text(self, text: str) -> bool:
        """Return whether a text contains a fingerprinted run, a long id or the author's name."""
        if self.is_whole_author and self._compile_name_pattern().search(text):
            return True
        return self.fingerprints.matches(text) or self._contains_id(text)

    def matches_identifier(self, value: str) -> bool:
        """Return whether the value of an identifier field refers to the target."""
        return value in self.ids or (self.is_whole_author and value in self.names)

    def matches_value(self, value: object) -> bool:
        """Return whether any part of a row or a JSON document contains the target."""
        return any(
            self.matches_identifier(leaf) or self.matches_text(leaf) for leaf in iter_texts(value)
        )

    def _contains_id(self, text: str) -> bool:
        for match in _TOKEN.findall(text):
            token = match.rstrip(".:")  # punctuation at the end of a sentence
            if len(token) < MIN_IDENTIFIER_LENGTH:
                continue
            if token in self.ids:
                return True
            path_suffix = token
            while "/" in path_suffix:  # a path may end in the post's path
                path_suffix = path_suffix.partition("/")[2]
                if len(path_suffix) >= MIN_IDENTIFIER_LENGTH and path_suffix in self.ids:
                    return True
        return False

    def _compile_name_pattern(self) -> re.Pattern[str]:
        if self._name_pattern is None:
            words = "|".join(re.escape(name) for name in sorted(self.names))
            # Another author's slug may begin with this slug. File and job names add a suffix to it.
            prefix, version_suffix = (
                r"(?:(?<![\w-])|(?<=server-)|(?<=training-))",
                r"(?:v\d|[0-9a-f]{12})",
            )
            pattern = re.compile(rf"{prefix}(?:{words})(?:(?![\w-])|(?=-{version_suffix}))")
            object.__setattr__(self, "_name_pattern", pattern)
        return cast("re.Pattern[str]", self._name_pattern)

    def to_json(self) -> str:
        """Return the identifiers without the fingerprints as JSON, for the journal."""
        sets = {name: sorted(getattr(self, name)) for name in _SETS}
        return json.dumps({"key_hash": self.key_hash, **sets})

    @classmethod
    def from_json(
        cls, subject: ErasureSubject, document: str, fingerprints: TextFingerprints
    ) -> ErasureTarget:
        """Return the target that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(document)
        sets: dict[str, Any] = {name: frozenset(fields.get(name, ())) for name in _SETS}
        return cls(subject, key_hash=str(fields["key_hash"]), fingerprints=fingerprints, **sets)


_SETS = (*("ids", "traces", "chunks", "authors", "names", "shown_to", "checkpoints", "skills"),)


def hash_parts(*parts: str) -> str:
    """Return the hexadecimal SHA-256 of the parts."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def iter_texts(value: object) -> Iterator[str]:
    """Yield every text in a value, including nested lists and mappings, and JSON inside a text."""
    if isinstance(value, str):
        if value[:1] in _JSON_PREFIXES:
            try:
                item = json.loads(value)
            except ValueError:
                yield value  # prose that begins with a bracket
                return
            yield from iter_texts(item)
            return
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", errors="replace")
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[object, object]", value).items():
            yield from iter_texts(name)
            yield from iter_texts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in cast("Iterable[object]", value):
            yield from iter_texts(item)
