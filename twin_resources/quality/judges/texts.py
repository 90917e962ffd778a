"""Collect other people's texts to train a voice score and to create `another_author` probes.

Scope: the bundled sample authors and other authors of the instance, cut into passages.
Out of scope: importing posts (`twin_assets/corpus`), the author's own texts.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin_resources.authors import SAMPLES_DIR
from twin_resources.quality.judges.judge import digest

# Also the minimum for the author's own answers (`instructions/instruction_tables.py`).
MIN_WORDS = 40
MAX_WORDS = 160
SHINGLE_WORDS = 12  # consecutive words that two texts share only by copying
MAX_SHARED_PASSAGE_RATIO = 0.2  # above this share, the writer is the author under another name
PROBE_DOCUMENT_STRIDE = 3  # with few other authors, every third document is reserved for probes
MIN_WRITERS = 3  # with fewer writers, none can be reserved
_WORD = re.compile(r"\w+")
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)\n.*?\n\1\n", re.DOTALL)


@dataclass(frozen=True)
class WriterSample:
    """One writer's passages as (document id, text), in a fixed order."""

    name: str
    passages: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OtherTexts:
    """Other people's texts, divided so that the training texts contain no probe.

    Attributes:
        training: texts for training the voice score.
        for_probes: texts for probes.
        has_unseen_writers: whether the probes' writers are absent from training. Otherwise the
            probes are other documents of the same people, and the certificate is weaker.
    """

    training: tuple[WriterSample, ...]
    for_probes: tuple[WriterSample, ...]
    has_unseen_writers: bool


def bundled_writers(*, exclude: Sequence[str], folder: Path = SAMPLES_DIR) -> list[WriterSample]:
    """Return the sample authors bundled with the code, by slug; empty if they are not installed.

    Args:
        exclude: the slugs to leave out (the author's own).
        folder: the folder of the sample authors.
    """
    writers: list[WriterSample] = []
    for author_folder in sorted(path.parent for path in folder.glob("*/author.toml")):
        if author_folder.name not in exclude:
            posts = sorted(
                path for path in author_folder.rglob("*.md") if path.parent != author_folder
            )
            texts = ((path.stem, path.read_text(encoding="utf-8")) for path in posts)
            passages = [
                (document_id, passage)
                for document_id, text in texts
                for passage in split_into_passages(_FRONT_MATTER.sub("", text, count=1))
            ]
            writers.append(WriterSample(author_folder.name, tuple(passages)))
    return writers


def split_into_passages(text: str) -> list[str]:
    """Join consecutive paragraphs into passages of `MIN_WORDS` to `MAX_WORDS` words."""
    passages: list[str] = []
    pending_paragraphs: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        pending_paragraphs.append(" ".join(paragraph.split()))
        passage = "\n\n".join(pending_paragraphs).strip()
        word_count = len(passage.split())
        if word_count >= MIN_WORDS:
            if word_count <= MAX_WORDS:
                passages.append(passage)
            pending_paragraphs = []
    return passages


def split_for_probes(writers: Sequence[WriterSample]) -> OtherTexts:
    """Divide other people's texts between training and probes.

    With three or more people, training leaves out one, drawn by a hash of the name. With fewer, it
    leaves out every third document, because it needs the texts of both. In one measurement, a
    storyteller's voice score, trained only against an engineer, accepted 97 % of another
    storyteller's passages.
    """
    ordered_writers = sorted(
        (writer for writer in writers if writer.passages), key=lambda writer: digest(writer.name)
    )
    if len(ordered_writers) >= MIN_WRITERS:
        return OtherTexts(
            tuple(ordered_writers[:-1]), tuple(ordered_writers[-1:]), has_unseen_writers=True
        )
    documents = {writer.name: _select_probe_documents(writer) for writer in ordered_writers}
    return OtherTexts(
        training=tuple(
            _select_documents(writer, documents[writer.name], is_included=False)
            for writer in ordered_writers
        ),
        for_probes=tuple(
            _select_documents(writer, documents[writer.name], is_included=True)
            for writer in ordered_writers
        ),
        has_unseen_writers=False,
    )


def exclude_copies_of_author(
    writers: Sequence[WriterSample], own_texts: Iterable[str]
) -> list[WriterSample]:
    """Return the writers whose texts are not the author's own under another name.

    A user may import the samples as an author, and a voice score cannot be trained against its own
    author. One or two shared quotations do not exclude a writer.
    """
    own_shingles = {shingle for text in own_texts for shingle in _word_shingles(text)}
    return [
        writer
        for writer in writers
        if sum(not own_shingles.isdisjoint(_word_shingles(text)) for _, text in writer.passages)
        <= MAX_SHARED_PASSAGE_RATIO * len(writer.passages)
    ]


def merge_by_writer(writers: Sequence[WriterSample]) -> list[WriterSample]:
    """Merge the samples of each name, because a writer may be in both training and probes."""
    passages_by_name: dict[str, tuple[tuple[str, str], ...]] = {}
    for writer in writers:
        passages_by_name[writer.name] = (*passages_by_name.get(writer.name, ()), *writer.passages)
    return [WriterSample(name, passages) for name, passages in passages_by_name.items()]


def _select_probe_documents(writer: WriterSample) -> frozenset[str]:
    documents = sorted({document_id for document_id, _ in writer.passages}, key=digest)
    return frozenset(documents[::PROBE_DOCUMENT_STRIDE])


def _select_documents(
    writer: WriterSample, documents: frozenset[str], *, is_included: bool
) -> WriterSample:
    return WriterSample(
        writer.name,
        tuple(passage for passage in writer.passages if (passage[0] in documents) is is_included),
    )


def _word_shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return {
        tuple(words[start : start + SHINGLE_WORDS])
        for start in range(len(words) - SHINGLE_WORDS + 1)
    }
