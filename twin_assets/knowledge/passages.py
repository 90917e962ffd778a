"""Split posts into passages, the one unit that is embedded, searched, shown and put into prompts.

A passage is whole paragraphs joined to at most 1,000 characters, about 140 words, with the title in
front when it is embedded. The last paragraphs of a passage begin the next one, up to 200
characters. Code is searched by its words and shown, but not embedded: without it, a useful passage
was among the first two for 33 of 39 questions to a programmer, with it for 32.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.storage.tables.tables import SyncResult, Tables

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.processes.progress_lines import SyncProgressLogger

PASSAGES_VERSION = "1"
"""Version of `split_into_passages` and `embed_passages`; the asset adds the embedder's revision."""

MAX_CHARACTERS, MAX_OVERLAP = 1_000, 200
DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "language", "text", "kept")
"""Columns of `cleaned_documents` that `embed_passages` reads."""

_FENCE = re.compile(r" {0,12}(`{3,}|~{3,})[^`]*")
_HEADING = re.compile(r"#{1,6} [^\n]*")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_MIN_LINES = 3  # a paragraph with more lines than this is a list or verse and is cut at lines


class Passages(dy.Schema):
    """One row per passage; `text` is the document's `text[start:end]`, in characters.

    `position` counts from 0 within the document. `fence` is the opening line of the code block in
    which a passage begins, else empty. `indexed_text` (title and text) is indexed for full-text
    search. `token_count` counts `text` in the embedder's tokens, special tokens included. The id
    joins the document's id and a hash of the text, so an edit changes only the ids of the passages
    that it touches; citations, samples and votes refer to them.
    """

    chunk_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    language = dy.String()
    position = dy.Int64(min=0)
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    fence = dy.String()
    text = dy.String(min_length=1)
    indexed_text = dy.String(min_length=1)
    token_count = dy.Int64(min=1)

    @dy.rule()
    def offsets_fit_the_text(cls) -> pl.Expr:
        return pl.col("end") - pl.col("start") == pl.col("text").str.len_chars()


@dataclass(frozen=True)
class PassageSpan:
    """A passage of a document, `text[start:end]`.

    Attributes:
        fence: the opening line of the code block in which the passage begins; empty outside code.
        prose: (start, end) of its parts that are not code.
    """

    start: int
    end: int
    fence: str
    prose: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Piece:
    """A paragraph or code block under its headings, or a part of one longer than a passage.

    Attributes:
        fence: opening line of the code block of which this is a later part; else empty.
        prose: (start, end) of what is not code; None if all is code.
    """

    start: int
    end: int
    fence: str
    prose: tuple[int, int] | None


def split_into_passages(text: str, *, language: str = "") -> list[PassageSpan]:
    """Split a document so that every character that is not white space is in a passage.

    A paragraph over the limit is cut between sentences, a list or a code block between lines. A
    heading stays with what follows it and may exceed the limit.

    Args:
        text: Markdown of a row of `cleaned_documents`.
        language: ISO 639-1, for sentences; English rules apply if it is empty or unknown.
    """
    passages: list[PassageSpan] = []
    pieces: list[_Piece] = []

    def add_passage() -> None:
        prose = tuple(piece.prose for piece in pieces if piece.prose)
        passages.append(PassageSpan(pieces[0].start, pieces[-1].end, pieces[0].fence, prose))

    for piece in _find_pieces(text, language):
        if pieces and piece.end - pieces[0].start > MAX_CHARACTERS:
            add_passage()
            while pieces and (
                pieces[-1].end - pieces[0].start > MAX_OVERLAP
                or piece.end - pieces[0].start > MAX_CHARACTERS
            ):
                pieces.pop(0)
        pieces.append(piece)
    if pieces:
        add_passage()
    return passages


def _find_pieces(text: str, language: str) -> Iterator[_Piece]:
    heading: tuple[int, int] | None = None
    for start, end, fence in _find_blocks(text):
        if not fence and _HEADING.fullmatch(text, start, end):
            heading = (heading[0] if heading else start, end)
            continue
        for index, (begin, stop) in enumerate(_split_block(text, start, end, fence, language)):
            first = heading[0] if heading else begin
            prose = heading if fence else (first, stop)
            yield _Piece(first, stop, fence if index else "", prose)
            heading = None
    if heading:
        yield _Piece(*heading, "", heading)


def _find_blocks(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, opening fence) of each paragraph and code block; "" is a paragraph."""
    start, end, fence, position = -1, 0, "", 0
    for line in text.splitlines(keepends=True):
        words = line.strip()
        opening = None if fence else _FENCE.fullmatch(line.rstrip("\n"))
        if opening or (not words and not fence):
            if start >= 0:
                yield start, end, ""
            start = position if opening else -1
            fence = opening[0] if opening else ""
        elif start < 0:
            start = position
        if words:
            end = position + len(line.rstrip())
        mark = fence.strip()
        if fence and not opening and words and set(words) == {mark[0]} and len(words) >= 3:
            yield start, end, fence
            start, fence = -1, ""
        position += len(line)
    if start >= 0:
        yield start, end, fence


def _split_block(
    text: str, start: int, end: int, fence: str, language: str
) -> Iterator[tuple[int, int]]:
    """Yield parts of at most `MAX_CHARACTERS`: lines, sentences, or words joined while they fit."""
    if end - start <= MAX_CHARACTERS:
        yield start, end
        return
    first, last = -1, -1
    for begin, stop in _find_smallest_parts(text, start, end, fence, language):
        if first >= 0 and stop - first > MAX_CHARACTERS:
            yield first, last
            first = -1
        first, last = (begin if first < 0 else first), stop
    yield first, last


def _find_smallest_parts(
    text: str, start: int, end: int, fence: str, language: str
) -> Iterator[tuple[int, int]]:
    import sentencex

    if fence or text.count("\n", start, end) >= _MIN_LINES:
        parts = [(start + match.start(), start + match.end()) for match in
                 re.finditer(r"[^\n]+", text[start:end])]  # fmt: skip
    else:
        parts = [
            (start + sentence["start_index"], start + sentence["end_index"])
            for sentence in sentencex.get_sentence_boundaries(language or "en", text[start:end])
        ]
    for begin, stop in parts:
        part = text[begin:stop]
        begin, stop = begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())  # noqa: PLW2901
        if fence:
            begin = stop - len(part.rstrip())  # noqa: PLW2901 - a line's indentation is code
        while stop - begin > MAX_CHARACTERS:
            space = text.rfind(" ", begin + 1, begin + MAX_CHARACTERS)
            cut = space if space > begin else begin + MAX_CHARACTERS
            yield begin, cut
            begin = cut + (space > begin)  # noqa: PLW2901
        if stop > begin:
            yield begin, stop


def embedded_text(title: str, text: str, passage: PassageSpan) -> str:
    """Return the text to embed: the title and the passage's prose, without link targets."""
    prose = "\n\n".join(text[start:end] for start, end in passage.prose)
    return f"{title.strip()}\n{remove_link_targets(prose)}".strip()


def remove_link_targets(text: str) -> str:
    return _LINK.sub(r"\1", text)


def passage_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Return the column types of `embeddings`: the contract's, the embedder's revision, vectors."""
    return {
        **{name: column.dtype for name, column in Passages.columns().items()},
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def update_embeddings(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLogger
) -> SyncResult:
    """Split and embed an author's new and changed documents, and update `embeddings`."""
    return tables.sync(
        tables.read("cleaned_documents", author, columns=DOCUMENT_COLUMNS),
        EMBEDDINGS_TABLE,
        author=author,
        key="document_id",
        function=lambda rows: embed_passages(rows, embedder, progress=progress.advance),
        version=f"{PASSAGES_VERSION}:{embedder.revision}",
        schema=passage_columns(embedder.dimension),
        row_key="chunk_id",
        on_batch=progress.begin_batch,
        rebuild_in_one_commit=True,
    )


def embed_passages(
    documents: pl.DataFrame,
    embedder: Embedder,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> pl.DataFrame:
    """Split every kept document into passages and embed them.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        progress: as for `Embedder.embed`.

    Returns:
        `passage_columns`; vectors are float32 of length 1.
    """
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        text, title = str(document["text"]), str(document["title"] or "")
        digests: Counter[str] = Counter()
        for position, passage in enumerate(
            split_into_passages(text, language=document["language"])
        ):
            passage_text = text[passage.start : passage.end]
            digest = hashlib.sha256(passage_text.encode()).hexdigest()[:24]
            digests[digest] += 1
            suffix = f"-{digests[digest]}" if digests[digest] > 1 else ""
            rows.append(
                {
                    **{name: document[name] for name in DOCUMENT_COLUMNS[:5]},
                    "chunk_id": f"{document['document_id']}-{digest}{suffix}",
                    "position": position,
                    "start": passage.start,
                    "end": passage.end,
                    "fence": passage.fence,
                    "text": passage_text,
                    "indexed_text": f"{title}\n\n{passage_text}" if title else passage_text,
                }
            )
            texts.append(embedded_text(title, text, passage))
    counts = embedder.count_tokens([row["text"] for row in rows])
    for row, count in zip(rows, counts, strict=True):
        row["token_count"] = count
    columns = passage_columns(embedder.dimension)
    contract_columns = {name: columns[name] for name in Passages.columns()}
    table = pl.DataFrame(Passages.validate(pl.DataFrame(rows, schema=contract_columns)))
    return table.with_columns(
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series("vector", embedder.embed(texts, progress=progress), dtype=columns["vector"]),
    )


def count_misquoted(passages: pl.DataFrame, documents: pl.DataFrame) -> dict[str, int]:
    """Count passages that differ from their post, and posts of which a part is in no passage.

    Args:
        passages: `document_id`, `start`, `end`, `text` of all passages of these documents.
        documents: `document_id` and `text` of kept documents.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    counts = {"not_verbatim": 0, "incomplete_posts": 0}
    covered: dict[str, int] = dict.fromkeys(texts, 0)
    missing: set[str] = set()
    rows = passages.sort("document_id", "start").select("document_id", "start", "end", "text")
    for document, start, end, text in rows.iter_rows():
        counts["not_verbatim"] += texts.get(document, "")[start:end] != text
        if texts.get(document, "")[covered.get(document, 0) : start].strip():
            missing.add(document)
        covered[document] = max(covered.get(document, 0), end)
    missing |= {name for name, text in texts.items() if text[covered[name] :].strip()}
    return counts | {"incomplete_posts": len(missing)}


def count_unusable_vectors(vectors: pl.DataFrame, *, revision: str) -> dict[str, int]:
    """Count vectors whose passage a search ranks wrongly or cannot find.

    Args:
        vectors: `embedder` and `vector` of `embeddings`.
        revision: revision of the embedder that embeds questions.

    Returns:
        `other_embedder`: vectors that cannot be compared with a question's vector.
        `not_unit_length`: vectors whose length differs from 1 by more than .001.
    """
    lengths = vectors["vector"].arr.eval(pl.element() ** 2).arr.sum().sqrt()
    return {
        "other_embedder": int((vectors["embedder"] != revision).sum()),
        "not_unit_length": int((~lengths.is_between(0.999, 1.001)).fill_null(True).sum()),
    }
