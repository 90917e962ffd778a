"""Character n-grams of a text whose subject is masked: what is left is how it is written.

Scope: normalising, masking, cutting texts to one length, the feature matrix.
Out of scope: the classifier (`voice.py`).
Method: character n-grams for authorship, Stamatatos, 2013,
https://doi.org/10.2139/ssrn.4208157; masking of topical words before it, Stamatatos, 2017
("text distortion"), https://aclanthology.org/E17-1107
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

FEATURES = 2**14  # hashed; 2**16 changed no AUC by more than .003
SHORTEST, LONGEST = 2, 4  # characters
WINDOW_WORDS = 60  # an answer of 80 to 100 tokens; one length for all, so that length is no cue
KEPT_SHARE = 0.02  # of the texts of one side that hold a word which is not masked
# How a file was typed is not how its author writes.
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+")


def windows(text: str, *, words: int = WINDOW_WORDS) -> list[str]:
    """A text in pieces of so many words; a last piece under half of it is left out, if not all."""
    parts = text.split()
    pieces = [parts[start : start + words] for start in range(0, len(parts), words)]
    pieces_kept = [piece for piece in pieces if len(piece) >= words // 2] or pieces[:1]
    return [" ".join(piece) for piece in pieces_kept]


def common_words(sides: Sequence[Sequence[str]]) -> frozenset[str]:
    """Words that at least `KEPT_SHARE` of the texts of one side hold, and two of them at least.

    What one side alone says all the time ("Here's a", "crucial", "I've been") is how it writes,
    not what it writes about. With the words of both sides alone, a model that had dropped the
    habits of its base gained less over it (+.09 instead of +.12, of a shared author), and people
    whom the score had never seen were told apart a little worse (AUC .83 instead of .86).
    """
    return frozenset(
        word
        for texts in sides
        for word, count in _document_frequency(texts).items()
        if count >= max(2.0, KEPT_SHARE * len(texts))
    )


def masked(text: str, names: Collection[str]) -> str:
    """The text with other words as `x` (capitalised: `X`) and numbers as `0`, in one line."""

    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        if word[0].isdigit():
            return "0"
        if word.casefold() in names:
            return word
        return "X" if word[0].isupper() else "x"

    return _WORD.sub(replaced, " ".join(text.translate(_TYPOGRAPHY).split()))


def matrix(texts: Sequence[str], traits: Collection[str]) -> Any:
    """Sparse float64 of shape (texts, `FEATURES`): logarithmic counts, rows of length 1."""
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    vectorizer: Any = HashingVectorizer  # its stubs do not know `norm=None`
    counted: Any = vectorizer(
        analyzer="char",
        ngram_range=(SHORTEST, LONGEST),
        n_features=FEATURES,
        lowercase=False,
        norm=None,
        alternate_sign=False,
    ).transform([masked(text, traits) for text in texts])
    counted.data = np.log1p(counted.data)
    return normalize(counted)


def _document_frequency(texts: Iterable[str]) -> Counter[str]:
    return Counter(
        word
        for text in texts
        for word in {match.casefold() for match in _WORD.findall(text.translate(_TYPOGRAPHY))}
    )
