"""Draw the split of each document once: training or held out.

Scope: the draw (architecture.md). Out of scope: storing the draw, samples that leak although their
documents are separate (`leakage.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from twin_assets.corpus.shingles import shingles
from twin_assets.instructions.set_similarity import estimate_similarity, sketch

NEWEST_SHARE = 0.10  # share of the first import: the author's current writing
HASH_SHARE = 0.10
SHINGLE_WORDS = 5
SKETCH_SIZE = 64
_LANGUAGE_IN_PATH = re.compile(
    r"(?:(?<=/)|(?<=^))[a-z]{2}(?:-[a-z]{2,4})?/|\.[a-z]{2}(?:-[a-z]{2,4})?(?=\.[a-z0-9]+$)",
    re.IGNORECASE,
)
MIN_DUPLICATE_SIMILARITY = 0.5  # Jaccard of 5-word sequences: half of one post is in the other


@dataclass(frozen=True)
class SplitDocument:
    """A document to draw a split for; `published_at` is None if the document has no date.

    Attributes:
        subject: the same for the translations of a document (`name_subject`), or "" if unknown.
    """

    document_id: str
    published_at: datetime | None
    text: str
    subject: str = ""


@dataclass(frozen=True)
class SplitRow:
    """One row of `document_splits`."""

    document_id: str
    split: str
    because: str
    sketch: tuple[int, ...]


def name_subject(source: str, source_id: str) -> str:
    """Return the address of a post without its language (`a.fr.md`, `fr/a.md` → `a.md`)."""
    return f"{source} {_LANGUAGE_IN_PATH.sub('', source_id)}"


def draw_splits(
    documents: Iterable[SplitDocument],
    *,
    existing_rows: Sequence[SplitRow],
    subjects: Mapping[str, str] = MappingProxyType({}),
) -> list[SplitRow]:
    """Draw a split for each document that has none.

    Args:
        documents: all kept documents, or only the new ones; documents in `existing_rows` are
            skipped.
        existing_rows: every earlier draw of this author; if empty, this is the first import.
        subjects: the subjects of earlier documents, by their ids.

    Returns:
        The new draws, oldest document first. A duplicate, near-duplicate or translation gets the
        split of the earlier document. In the first import, the newest tenth of the other dated
        documents is held out, at least one if there are several. For all other documents, a hash of
        the id decides; it holds out a tenth of them.
    """
    known_ids = {split_row.document_id for split_row in existing_rows}
    new_documents = sorted(
        (document for document in documents if document.document_id not in known_ids),
        key=_age_sort_key,
    )
    newest_ids: set[str] = set()
    if not existing_rows:
        dated_ids = [
            document.document_id for document in new_documents if document.published_at is not None
        ]
        count = round(len(dated_ids) * NEWEST_SHARE)
        if len(dated_ids) > 1:
            count = max(1, count)  # random draws alone may hold out none of five long essays
        newest_ids = set(dated_ids[len(dated_ids) - count :])
    sketch_index = _SketchIndex(existing_rows)
    row_by_subject = {
        subject: row for row in existing_rows if (subject := subjects.get(row.document_id))
    }
    new_rows: list[SplitRow] = []
    for document in new_documents:
        text_sketch = tuple(sketch(shingles(document.text, width=SHINGLE_WORDS), size=SKETCH_SIZE))
        duplicate = sketch_index.find_duplicate(text_sketch) or row_by_subject.get(document.subject)
        if duplicate is not None:
            split, reason = duplicate.split, f"like {duplicate.document_id}"
        elif document.document_id in newest_ids:
            split, reason = "held_out", "newest"
        else:
            split = "held_out" if _hash_fraction(document.document_id) < HASH_SHARE else "train"
            reason = "hash"
        split_row = SplitRow(document.document_id, split, reason, text_sketch)
        sketch_index.add(split_row)
        if document.subject:
            row_by_subject.setdefault(document.subject, split_row)
        new_rows.append(split_row)
    return new_rows


def _age_sort_key(document: SplitDocument) -> tuple[bool, float, str]:
    published_at = document.published_at
    return (
        published_at is None,
        published_at.timestamp() if published_at else 0.0,
        document.document_id,
    )


def _hash_fraction(document_id: str) -> float:
    """Return a uniform number in [0, 1), which is always the same for this document."""
    return int.from_bytes(hashlib.sha256(f"split/{document_id}".encode()).digest()[:8]) / 2**64


class _SketchIndex:
    """Index of the documents drawn so far, by the elements of their sketches."""

    def __init__(self, existing_rows: Iterable[SplitRow]) -> None:
        self._by_element: dict[int, list[SplitRow]] = defaultdict(list)
        for row in existing_rows:
            self.add(row)

    def add(self, row: SplitRow) -> None:
        for element in row.sketch:
            self._by_element[element].append(row)

    def find_duplicate(self, text_sketch: Sequence[int]) -> SplitRow | None:
        """Return the most similar earlier document, if similar enough; the id breaks ties."""
        candidates = {
            row.document_id: row
            for element in text_sketch
            for row in self._by_element.get(element, ())
        }
        scored_documents = [
            (-estimate_similarity(text_sketch, row.sketch, size=SKETCH_SIZE), name)
            for name, row in candidates.items()
        ]
        best = min(scored_documents, default=(0.0, ""))
        return candidates[best[1]] if -best[0] >= MIN_DUPLICATE_SIMILARITY else None
