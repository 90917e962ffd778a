"""Marks of a text: what proves that a text is gone, without holding the text.

Belongs here: words, hashes of runs of words, and finding such a run in another text.
Does not belong here: whose texts are marked (`plan.py`), reading files (`decoding.py`).
Method: fingerprints of overlapping runs, Schleimer, Wilkerson and Aiken, "Winnowing: Local
Algorithms for Document Fingerprinting", 2003 (https://doi.org/10.1145/872757.872770), without its
thinning: every run of 8 words is kept as a 64-bit hash. Markup, line breaks and JSON's escapes
between the words do not count.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RUN = 8  # words; the gate's measure of copying uses the same length
_WORD = re.compile(r"[^\W_]+")
_ESCAPED = re.compile(r"\\(?:[nrtbf/\"]|u[0-9a-fA-F]{4})")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word's bits are lost

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Marks:
    """Hashes of a text's runs of words: `runs`, sorted, 64 bits each."""

    runs: Hashes

    def found_in(self, text: str) -> bool:
        """Whether the text repeats one of the runs."""
        return self.runs.size > 0 and bool(_members(run_hashes(text), self.runs).any())

    def save(self, path: Path) -> None:
        """Write them to a file that is complete whenever it exists."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as stream:
            np.save(stream, self.runs, allow_pickle=False)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Marks:
        """Read them back.

        Raises:
            OSError, ValueError: the file is missing or damaged.
        """
        return cls(np.load(path, allow_pickle=False))


def empty_marks() -> Marks:
    """Marks of nothing."""
    return Marks(np.zeros(0, dtype=np.uint64))


class Marking:
    """Collects texts that go, then takes out what texts that stay say as well."""

    def __init__(self) -> None:
        self._parts: list[Hashes] = []

    def add(self, text: str) -> None:
        """A text that goes."""
        self._parts.append(run_hashes(text))

    def keep(self, text: str) -> None:
        """A text that stays; call it after all of `add`."""
        if len(self._parts) > 1:
            self._parts = [self.marks().runs]
        if self._parts and self._parts[0].size:
            said = np.unique(run_hashes(text))
            self._parts = [self._parts[0][~_members(self._parts[0], said)]]

    def marks(self) -> Marks:
        """What only the texts that go say."""
        joined = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.uint64)
        return Marks(np.unique(joined))


def split_words(text: str) -> list[str]:
    """The words of a text, case folded; escapes of JSON between them are white space."""
    return _WORD.findall(_ESCAPED.sub(" ", text).casefold())


def run_hashes(text: str) -> Hashes:
    """One hash a run of 8 words; none for a shorter text."""
    words = split_words(text)
    count = len(words) - RUN + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    hashed = np.fromiter((_hash(word) for word in words), dtype=np.uint64, count=len(words))
    runs = np.zeros(count, dtype=np.uint64)
    for place in range(RUN):
        runs = runs * _FACTOR + hashed[place : place + count]  # wraps at 2^64, as wanted
    return runs


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) | 1


def _members(values: Hashes, among: Hashes) -> NDArray[np.bool_]:
    """Which values are among the others, which are sorted."""
    if not among.size:
        return np.zeros(values.size, dtype=np.bool_)
    places = np.minimum(np.searchsorted(among, values), among.size - 1)
    return among[places] == values
