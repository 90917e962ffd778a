"""Cut a document into short chunks, with exact offsets, that fit the embedder's limit.

Scope: choosing the cuts, and the contract of `document_chunks`. Out of scope: tokenizing
(`twin_resources.models.embedder`), embedding, storing.

No library's chunker is used, because offsets must be exact and no chunk may exceed the limit.
chonkie 1.7 was measured with the same tokenizer at 256 tokens, on 210 shared posts and one post of
very long words. Its RecursiveChunker makes fuller chunks (mean 228 tokens, here 204), but four
chunks differ from `text[start:end]`: it splits a long word by decoding token ids, which an uncased
WordPiece turns into different text. It also splits 348 code blocks (here 68). SentenceChunker
returns a chunk of 1,104 tokens. TokenChunker's text never equals the document's.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import EmbedderTokenizer

CHUNKING_VERSION = "4"
"""Version of `chunk_documents`; the asset adds the embedder's revision and the limit to it."""

CHUNK_TOKENS = 128
"""Maximum tokens of a chunk, including title and special tokens, unless the embedder reads fewer.

One vector should represent one idea. A chunk of 256 tokens fills the prompt with more than the
answer, and leaves no space for three other posts (`tests/bench/RESULTS.md`, readers' questions).
"""
# This version is separate from `CHUNKING_VERSION`, so that a chunk with unchanged text keeps its id
# when only the chunker changes. Traces, samples and votes then still refer to it.
_CHUNK_ID_VERSION = "2"

MIN_TOKEN_LIMIT = 32

# WordPiece turns an unknown word of any length, or a run of an unknown script, into one [UNK].
# English has 4.5 characters per token. Without this bound, such a chunk could have any length.
_CHARACTERS_PER_TOKEN = 8

DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "text", "kept")
"""Columns of `cleaned_documents` that `chunk_documents` reads."""
# Some platforms export titles of thousands of words, which would leave no space for text.
TITLE_LIMIT_DIVISOR = 4  # the title gets at most a quarter of the limit: 32 of 128 tokens
_HEADING_SEPARATOR = "\n\n"

_HASH_DIGITS = 24

_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n+")
_FENCE = re.compile(r"^ {0,12}(`{3,}|~{3,})[^\n`]*$", re.MULTILINE)
_HEADING = re.compile(r"#{1,6} [^\n]*")
# Separators at which a text that is too long for one chunk is cut, in order of preference.
_PROSE_SEPARATORS = (
    _PARAGRAPH_BREAK,
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]*_]*\s+(?=\S)|(?<=[。！？])"),
    re.compile(r"\s+"),
)
_CODE_SEPARATORS = (_PARAGRAPH_BREAK, re.compile(r"\n"), re.compile(r"\s+"))


class DocumentChunks(dy.Schema):
    """One row per chunk; `text` is the document's `text[start:end]`, offsets count characters.

    `token_count` is the number of tokens in `text` by the embedder's tokenizer, special tokens
    included; `position` counts from 0 within the document. `heading` is the title, which cleaning
    removes from the text; it is embedded and searched with the text (`indexed_text`). `chunk_id`
    joins the document's id and `content_hash`. Citations, samples and votes refer to the text by
    this id, so an edit of a paragraph or of the title does not change the ids of unedited chunks.
    The id includes the document's id because the same words in two posts are cited separately, and
    erasing one post must not erase the other's chunk.
    """

    chunk_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    position = dy.Int64(min=0)
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    heading = dy.String()
    text = dy.String(min_length=1)
    token_count = dy.Int64(min=1)

    @dy.rule()
    def offsets_fit_the_text(cls) -> pl.Expr:
        return pl.col("end") - pl.col("start") == pl.col("text").str.len_chars()


@dataclass(frozen=True)
class Chunk:
    """One chunk: `text == document[start:end]`; `token_count` includes special tokens."""

    start: int
    end: int
    text: str
    token_count: int


def indexed_text(heading: str, text: str) -> str:
    """Return the part of a chunk that is embedded and searched: its heading, then its text."""
    return f"{heading}{_HEADING_SEPARATOR}{text}" if heading else text


def content_hash(text: str, embedder_revision: str) -> str:
    """Return 96 bits of sha256(embedder revision | chunk id version | text) in hex."""
    hashed_text = f"{embedder_revision}|{_CHUNK_ID_VERSION}|{text}"
    return hashlib.sha256(hashed_text.encode()).hexdigest()[:_HASH_DIGITS]


def chunk_columns() -> Mapping[str, pl.DataType]:
    """Return the column types of `document_chunks`, for `tables.sync`."""
    return {name: column.dtype for name, column in DocumentChunks.columns().items()}


def limit_to_chunk_tokens(tokenizer: EmbedderTokenizer) -> EmbedderTokenizer:
    """Limit the embedder's tokenizer to `CHUNK_TOKENS`, or less if the embedder reads less.

    Args:
        tokenizer: the embedder's tokenizer; its `token_limit` counts special tokens.
    """
    return replace(tokenizer, token_limit=min(CHUNK_TOKENS, tokenizer.token_limit))


def chunk_documents(documents: pl.DataFrame, tokenizer: EmbedderTokenizer) -> pl.DataFrame:
    """Cut every kept document into chunks of at most `tokenizer.token_limit` tokens.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        tokenizer: the result of `limit_to_chunk_tokens`.

    Returns:
        `DocumentChunks`, zero or more rows per document.
    """
    rows: list[dict[str, Any]] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        digest_counts: Counter[str] = Counter()
        heading = shorten_title(str(document["title"] or ""), tokenizer)
        cuts = cut_text(str(document["text"]), tokenizer, heading=heading)
        for position, chunk in enumerate(cuts):
            digest = content_hash(chunk.text, tokenizer.revision)
            digest_counts[digest] += 1
            suffix = f"-{digest_counts[digest]}" if digest_counts[digest] > 1 else ""
            rows.append(
                {
                    "chunk_id": f"{document['document_id']}-{digest}{suffix}",
                    **{name: document[name] for name in ("document_id", "title", "url")},
                    "published_at": document["published_at"],
                    "position": position,
                    "start": chunk.start,
                    "end": chunk.end,
                    "heading": heading,
                    "text": chunk.text,
                    "token_count": chunk.token_count,
                }
            )
    return DocumentChunks.validate(pl.DataFrame(rows, schema=dict(chunk_columns())))


def measure_chunk_lengths(
    batches: Iterable[pl.DataFrame], tokenizer: EmbedderTokenizer
) -> dict[str, int]:
    """Count stored chunks that are too long or miscounted; 1,000 chunks take 0.25 s.

    Args:
        batches: `heading`, `text` and `token_count` of chunks.
        tokenizer: the tokenizer that cut them.

    Returns:
        The number of chunks `counted_again`, `too_long` and `miscounted`, and the tokens of the
        `longest`.
    """
    counts = {"counted_again": 0, "longest": 0, "too_long": 0, "miscounted": 0}
    for batch in batches:
        texts: list[str] = batch["text"].to_list()
        indexed_texts = list(map(indexed_text, batch["heading"].to_list(), texts))
        text_counts = pl.Series("counted", tokenizer.count_tokens(texts), pl.Int64)
        indexed_counts = pl.Series("read", tokenizer.count_tokens(indexed_texts), pl.Int64)
        max_counts = pl.DataFrame(
            [text_counts, indexed_counts, batch["token_count"]]
        ).max_horizontal()
        counts["counted_again"] += batch.height
        counts["longest"] = max([counts["longest"], *max_counts])
        counts["too_long"] += int((max_counts > tokenizer.token_limit).sum())
        counts["miscounted"] += int((text_counts != batch["token_count"]).sum())
    return counts


def shorten_title(title: str, tokenizer: EmbedderTokenizer) -> str:
    """Shorten a title to a chunk's heading: one line, at most a quarter of the embedder's limit.

    A longer title is cut after a whole word, or inside its first word if that is too long.
    """
    title = " ".join(title.split())
    special_tokens = tokenizer.tokenizer.num_special_tokens_to_add(False)
    title_limit = max_tokens = tokenizer.token_limit // TITLE_LIMIT_DIVISOR
    token_counter = _TokenCounter(title, tokenizer)
    if token_counter.count(0, len(title)) <= title_limit:
        return title
    while True:
        (_, stop), *_ = _split_characters(token_counter, 0, len(title), max_tokens=max_tokens)
        cut_at = title.rfind(" ", 0, stop + 1)
        short_title = title[: cut_at if cut_at > 0 else stop]
        # The first part of a word may have more tokens alone than within the whole word.
        if (
            max_tokens == 1
            or tokenizer.count_tokens([short_title])[0] - special_tokens <= title_limit
        ):
            return short_title
        max_tokens //= 2


def cut_text(text: str, tokenizer: EmbedderTokenizer, *, heading: str = "") -> list[Chunk]:
    """Cut one text into chunks of at most `tokenizer.token_limit` tokens, `heading` included.

    Paragraphs, lists and code blocks that fit are kept whole, as many as possible in one chunk; a
    heading stays with the block that follows it. Longer blocks are cut at lines, sentences, words
    and finally between characters. Every character that is not white space is in exactly one chunk.

    Args:
        text: the document's text.
        tokenizer: the embedder's tokenizer.
        heading: text that is embedded above each chunk; at most a quarter of the limit
            (`shorten_title`).

    Raises:
        ValueError: the limit is below 32 tokens.
    """
    if tokenizer.token_limit < MIN_TOKEN_LIMIT:
        raise ValueError(
            f"a limit of {tokenizer.token_limit} tokens is below the minimum of {MIN_TOKEN_LIMIT}"
        )
    # The count includes the special tokens, which are added once.
    [heading_tokens] = tokenizer.count_tokens([heading])
    token_counter = _TokenCounter(text, tokenizer)
    spans = list(
        _fill_spans(token_counter, 0, len(text), max_tokens=tokenizer.token_limit - heading_tokens)
    )
    chunks: list[Chunk] = []
    counts = _count_tokens([text[start:end] for start, end in spans], heading, tokenizer)
    for (start, end), (tokens, full_count) in zip(spans, counts, strict=True):
        if full_count <= tokenizer.token_limit:
            chunks.append(Chunk(start, end, text[start:end], tokens))
        else:
            max_tokens = max(1, full_count - heading_tokens)
            chunks += _recut_span(
                token_counter, start, end, tokenizer, heading=heading, max_tokens=max_tokens
            )
    return chunks


def _count_tokens(
    texts: list[str], heading: str, tokenizer: EmbedderTokenizer
) -> list[tuple[int, int]]:
    """Return the tokens of each text alone and with its heading, special tokens included."""
    text_counts = full_counts = tokenizer.count_tokens(texts)
    if heading:
        full_counts = tokenizer.count_tokens([indexed_text(heading, text) for text in texts])
    # The text alone is counted too, because a tokenizer might join words around the line break.
    return [
        (text_count, max(text_count, full_count))
        for text_count, full_count in zip(text_counts, full_counts, strict=True)
    ]


def _recut_span(
    token_counter: _TokenCounter,
    start: int,
    end: int,
    tokenizer: EmbedderTokenizer,
    *,
    heading: str,
    max_tokens: int,
) -> Iterator[Chunk]:
    """Cut a span that has more tokens on its own than within its document.

    This happens when a cut is inside a word of more than 100 characters. `max_tokens` is halved
    until the tokenizer's count fits.
    """
    halved_tokens = max(1, max_tokens // 2)
    for begin, stop in _fill_spans(token_counter, start, end, max_tokens=halved_tokens):
        text = token_counter.text[begin:stop]
        [(tokens, full_count)] = _count_tokens([text], heading, tokenizer)
        if full_count <= tokenizer.token_limit or stop - begin == 1:
            yield Chunk(begin, stop, text, tokens)
        else:
            yield from _recut_span(
                token_counter, begin, stop, tokenizer, heading=heading, max_tokens=halved_tokens
            )


class _TokenCounter:
    """Counter of tokens in spans of a text, from one tokenization of the whole text."""

    def __init__(self, text: str, tokenizer: EmbedderTokenizer) -> None:
        self.text = text
        encoding = tokenizer.tokenizer.encode(text, add_special_tokens=False)
        self._token_starts: list[int] = [start for start, _ in encoding.offsets]

    def count(self, start: int, end: int) -> int:
        tokens = bisect_left(self._token_starts, end) - bisect_left(self._token_starts, start)
        return max(tokens, -(-(end - start) // _CHARACTERS_PER_TOKEN))


def _fill_spans(
    token_counter: _TokenCounter, start: int, end: int, *, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """Yield spans of at most `max_tokens` tokens, each with as many whole parts as fit."""
    begin = stop = -1
    for part_start, part_end in _iter_parts(token_counter, start, end, max_tokens=max_tokens):
        if begin >= 0 and token_counter.count(begin, part_end) > max_tokens:
            yield begin, stop
            begin = part_start
        elif begin < 0:
            begin = part_start
        stop = part_end
    if begin >= 0:
        yield begin, stop


def _iter_parts(
    token_counter: _TokenCounter, start: int, end: int, *, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """Yield the smallest parts of chunks, each of at most `max_tokens` tokens, in order."""
    blocks = list(_iter_blocks(token_counter.text, start, end))
    position = 0
    while position < len(blocks):
        begin, stop, is_code = blocks[position]
        position += 1
        while (
            not is_code
            and _HEADING.fullmatch(token_counter.text, begin, stop)
            and position < len(blocks)
            and token_counter.count(begin, blocks[position][1]) <= max_tokens
        ):
            _, stop, is_code = blocks[position]
            position += 1
        yield from _split_span(
            token_counter,
            begin,
            stop,
            _CODE_SEPARATORS if is_code else _PROSE_SEPARATORS,
            max_tokens=max_tokens,
        )


def _iter_blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield paragraphs, lists and fenced code blocks as (start, end, is code)."""
    position = start
    while position < end:
        opening = _FENCE.search(text, position, end)
        stop = opening.start() if opening else end
        for begin, finish in _split_at(text, position, stop, _PARAGRAPH_BREAK):
            yield begin, finish, False
        if opening is None:
            return
        closing_fence = re.compile(rf"^ {{0,12}}{re.escape(opening[1])}[ \t]*$", re.MULTILINE)
        closing_match = closing_fence.search(text, min(opening.end() + 1, end), end)
        position = closing_match.end() if closing_match else end
        yield opening.start(), position, True


def _split_span(
    token_counter: _TokenCounter,
    start: int,
    end: int,
    separators: Sequence[re.Pattern[str]],
    *,
    max_tokens: int,
) -> Iterator[tuple[int, int]]:
    if token_counter.count(start, end) <= max_tokens:
        yield start, end
    elif separators:
        for begin, stop in _split_at(token_counter.text, start, end, separators[0]):
            yield from _split_span(
                token_counter, begin, stop, separators[1:], max_tokens=max_tokens
            )
    else:
        yield from _split_characters(token_counter, start, end, max_tokens=max_tokens)


def _split_at(
    text: str, start: int, end: int, separator: re.Pattern[str]
) -> Iterator[tuple[int, int]]:
    """Yield the spans between matches of `separator`, without white space at their ends."""
    position = start
    for match in separator.finditer(text, start, end):
        # Closing quotes and brackets belong to their sentence; only the white space is dropped.
        yield from _trim_span(text, position, match.end())
        position = match.end()
    yield from _trim_span(text, position, end)


def _trim_span(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start] == "\n":
        start += 1
    if text[start:end].strip():
        yield start, end


def _split_characters(
    token_counter: _TokenCounter, start: int, end: int, *, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """Cut a word into pieces of as many characters as fit, keeping combined characters whole."""
    while start < end:
        low, high = start + 1, min(end, start + max_tokens * _CHARACTERS_PER_TOKEN)
        while low < high:  # binary search for the longest piece that fits
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high)
                if token_counter.count(start, middle) <= max_tokens
                else (low, middle - 1)
            )
        stop = low
        while start + 1 < stop < end and _is_joined(
            token_counter.text[stop - 1], token_counter.text[stop]
        ):
            stop -= 1
        if stop == start + 1 < low and _is_joined(
            token_counter.text[stop - 1], token_counter.text[stop]
        ):
            stop = low  # only joined characters fit, so they are separated
        yield start, stop
        start = stop


def _is_joined(before: str, after: str) -> bool:
    """Return whether `after` is a combining mark or is joined to `before`."""
    return unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf"} or before == "\u200d"
