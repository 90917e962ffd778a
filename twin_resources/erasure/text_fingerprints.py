"""Fingerprint texts, to prove the erasure of a text without keeping it.

Scope: hashes of runs of consecutive words, and finding such a run in another text.
Out of scope: selecting the texts (`plan.py`), reading files (`decoding.py`).
Method: fingerprints of overlapping runs, Schleimer, Wilkerson and Aiken, "Winnowing: Local
Algorithms for Document Fingerprinting", 2003 (https://doi.org/10.1145/872757.872770). The method's
selection step is omitted: every run of 8 words is kept as a 64-bit hash. Markup, line breaks and
JSON escapes between the words are ignored. A text of five to seven words forms one shorter run.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin_resources.atomic_writes import replace_file

RUN_LENGTH = 8  # words; the gate's measure of copying uses the same length
MIN_WORDS = 5  # a shorter title or question is a common phrase
_WORD = re.compile(r"[^\W_]+")
# JSON escapes, tags and character references count as white space between words.
_ESCAPED = re.compile(
    r"\\(?:[nrtbf/\"]|u[0-9a-fA-F]{4})|</?[a-zA-Z][^<>]{0,300}>|&(?:#x?[0-9a-fA-F]{1,6}|\w{2,8});"
)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word's bits are lost

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class TextFingerprints:
    """Hashes of runs of words.

    Attributes:
        runs: sorted 64-bit hashes.
        lengths: run lengths in words: 8, and the lengths of shorter texts.
    """

    runs: Hashes
    lengths: tuple[int, ...] = (RUN_LENGTH,)

    def matches(self, text: str) -> bool:
        """Return whether the text repeats one of the runs."""
        if not self.runs.size:
            return False
        hashes = _hash_words(text)
        return any(
            bool(_is_member(_hash_runs(hashes, length), self.runs).any()) for length in self.lengths
        )

    def save(self, path: Path) -> None:
        """Write the fingerprints to a file atomically."""
        stream = io.BytesIO()
        np.savez(stream, runs=self.runs, lengths=np.array(self.lengths, dtype=np.int64))
        replace_file(path, stream.getvalue())

    @classmethod
    def load(cls, path: Path) -> TextFingerprints:
        """Read saved fingerprints.

        Raises:
            OSError, ValueError: the file is missing or damaged.
        """
        with np.load(path, allow_pickle=False) as archive:
            return cls(archive["runs"], tuple(int(length) for length in archive["lengths"]))


def empty_fingerprints() -> TextFingerprints:
    """Return an empty set of fingerprints."""
    return TextFingerprints(np.zeros(0, dtype=np.uint64))


class FingerprintCollector:
    """Collector of the runs of erased texts, without those that remaining texts share."""

    def __init__(self) -> None:
        self._parts: list[Hashes] = []
        self._lengths = {RUN_LENGTH}

    def add(self, text: str) -> None:
        """Add the runs of an erased text."""
        hashes = _hash_words(text)
        if MIN_WORDS <= hashes.size < RUN_LENGTH:
            self._lengths.add(int(hashes.size))
        if hashes.size >= MIN_WORDS:
            self._parts.append(_hash_runs(hashes, min(RUN_LENGTH, int(hashes.size))))

    def exclude_shared(self, text: str) -> None:
        """Drop the runs added so far that also occur in this remaining text."""
        if len(self._parts) > 1:
            self._parts = [self.fingerprints().runs]
        if self._parts and self._parts[0].size:
            hashes = _hash_words(text)
            for length in self._lengths:
                runs = np.unique(_hash_runs(hashes, length))
                self._parts = [self._parts[0][~_is_member(self._parts[0], runs)]]

    def fingerprints(self) -> TextFingerprints:
        """Return the fingerprints that occur only in the erased texts."""
        all_runs = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.uint64)
        return TextFingerprints(np.unique(all_runs), tuple(sorted(self._lengths)))


def split_words(text: str) -> list[str]:
    """Return a text's words, case-folded; JSON escapes and markup count as white space."""
    return _WORD.findall(_ESCAPED.sub(" ", text).casefold())


def _hash_words(text: str) -> Hashes:
    """Return one hash per word."""
    words = split_words(text)
    return np.fromiter((_hash_word(word) for word in words), dtype=np.uint64, count=len(words))


def _hash_runs(word_hashes: Hashes, length: int) -> Hashes:
    """Return one hash per run of `length` words; empty for a shorter text."""
    count = word_hashes.size - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    runs = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        runs = runs * _FACTOR + word_hashes[offset : offset + count]  # wraps at 2^64 on purpose
    return runs


@lru_cache(maxsize=1 << 18)
def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) | 1


def _is_member(values: Hashes, sorted_values: Hashes) -> NDArray[np.bool_]:
    """Return a mask of the values that are in `sorted_values`, which must be sorted."""
    if not sorted_values.size:
        return np.zeros(values.size, dtype=np.bool_)
    indices = np.minimum(np.searchsorted(sorted_values, values), sorted_values.size - 1)
    return sorted_values[indices] == values
