"""Compute the front desk's features of a message: counts of hashed n-grams.

Scope: the n-grams and their buckets. Out of scope: the weights and their use (`message_kinds.py`).

Character n-grams need no tokenizer, embedder or word list, and they transfer to related languages
and misspellings. Method: Weinberger et al. 2009, arxiv.org/abs/0902.2206.
"""
# pyright: strict

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from itertools import pairwise

import numpy as np

BUCKET_COUNT = 2**16
MIN_NGRAM_LENGTH, MAX_NGRAM_LENGTH = 3, 5  # in characters
_TOKEN = re.compile(r"[\w']+|[?!]")


def ngram_features(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the buckets of a text and their values.

    Returns:
        Buckets, ascending, int64 of shape (n,), and values, float64 of shape (n,). The values of
        character and word n-grams are each scaled to length 1 before they are added.
    """
    tokens = _TOKEN.findall(normalize_text(text))
    line = f" {' '.join(tokens)} "
    lengths = range(MIN_NGRAM_LENGTH, MAX_NGRAM_LENGTH + 1)
    ngrams = [line[i : i + size] for size in lengths for i in range(len(line) - size + 1)]
    word_pairs = [f"{first} {second}" for first, second in pairwise(tokens)]
    bucket_values: dict[int, float] = {}
    for prefix, grams in (("c", ngrams), ("w", [*tokens, *word_pairs])):
        counts = Counter(zlib.crc32(f"{prefix}{gram}".encode()) % BUCKET_COUNT for gram in grams)
        values = {bucket: 1.0 + math.log(count) for bucket, count in counts.items()}
        length = math.sqrt(sum(value * value for value in values.values())) or 1.0
        for bucket, value in values.items():
            bucket_values[bucket] = bucket_values.get(bucket, 0.0) + value / length
    buckets = sorted(bucket_values)
    return np.array(buckets, dtype=np.int64), np.array(
        [bucket_values[bucket] for bucket in buckets], dtype=float
    )


def normalize_text(text: str) -> str:
    """Return a text in lower case, without accents and with straight apostrophes."""
    letters = unicodedata.normalize("NFKD", text.lower().replace("’", "'").replace("ß", "ss"))
    return "".join(character for character in letters if not unicodedata.combining(character))
