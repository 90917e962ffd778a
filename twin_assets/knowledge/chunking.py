"""Cut a document into short chunks that its embedder reads whole, with exact offsets.
Scope: choosing the cuts, and the contract of `document_chunks`. Out of scope: tokenizing
(`twin_resources.models.embedder`), embedding, storing.

No library's chunker is used, because the offsets must be exact and the embedder's limit must hold.
chonkie 1.7 was measured with the same tokenizer at 256 tokens, on 210 shared posts and one of
unbroken words. Its RecursiveChunker gives fuller chunks (mean 228 tokens, here 204), but four times
`text[start:end]` is not the chunk: it splits a long word by decoding token ids, which an uncased
WordPiece turns into other text. It also splits 348 code blocks (here 68). SentenceChunker passes a
chunk of 1,104 tokens. TokenChunker's text never equals the document's.
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
"""Maximum tokens of a chunk, with title and special tokens, if the embedder reads more.
One vector should represent one idea. A chunk of 256 tokens fills the prompt with more than the
answer, and leaves no room for three other posts (`tests/bench/RESULTS.md`, readers' questions).
"""
# Separate from the version above: a chunk whose text stays keeps its id when only the chunker
# changes, so that traces, samples and votes still refer to it.
_NAMING_VERSION = "2"

MIN_LIMIT = 32

# WordPiece makes one [UNK] of an unknown word of any length, and of a run of an unknown script.
# English has 4.5 characters per token. Without this bound such a chunk could have any length.
_CHARACTERS_PER_TOKEN = 8

DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "text", "kept")
"""Columns of `cleaned_documents` that `chunk_documents` reads."""
# A title of thousands of words, as in exports of some platforms, would leave no room for text.
TITLE_SHARE = 4  # the title gets at most 1 / 4 of the limit: 32 of 128 tokens
_HEADING_SEPARATOR = "\n\n"

_HASH_DIGITS = 24
# The suffix "-2" marks the second chunk of a document with the same text.
_CONTENT = re.compile(rf"-([0-9a-f]{{{_HASH_DIGITS}}})(?:-[0-9]+)?$")

_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n+")
_FENCE = re.compile(r"^ {0,12}(`{3,}|~{3,})[^\n`]*$", re.MULTILINE)
_HEADING = re.compile(r"#{1,6} [^\n]*")
# Separators at which a text that is too long for one chunk is cut, the best first.
_PROSE_CUTS = (
    _PARAGRAPH_BREAK,
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]*_]*\s+(?=\S)|(?<=[。！？])"),
    re.compile(r"\s+"),
)
_CODE_CUTS = (_PARAGRAPH_BREAK, re.compile(r"\n"), re.compile(r"\s+"))


class DocumentChunks(dy.Schema):
    """One row per chunk; `text` is the document's `text[start:end]`, offsets count characters.

    `token_count` counts `text` with the embedder's tokenizer, special tokens included; `position`
    counts from 0 within the document. `heading` is the title, which cleaning removes from the text;
    it is embedded and searched with the text (`indexed_text`). `chunk_id` joins the document's id
    and `content_hash`. An edit of one paragraph keeps the ids of the other chunks, and so does a
    new title, because citations, samples and votes refer to the text by this id. The document's id
    is part of it because the same words in two posts are two places to cite, and erasing one post
    keeps the other's chunk.
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
    """Return 96 bits of sha256(embedder revision | version of the naming | text) in hex."""
    named = f"{embedder_revision}|{_NAMING_VERSION}|{text}"
    return hashlib.sha256(named.encode()).hexdigest()[:_HASH_DIGITS]


def contents_of(chunk_ids: pl.Series) -> pl.Series:
    """Return the content hash in each chunk's id, or "" if it has none."""
    return chunk_ids.str.extract(_CONTENT.pattern, 1).fill_null("")


def chunk_columns() -> Mapping[str, pl.DataType]:
    """Return column → type of `document_chunks` for `tables.sync`."""
    return {name: column.dtype for name, column in DocumentChunks.columns().items()}


def for_chunks(tokenizer: EmbedderTokenizer) -> EmbedderTokenizer:
    """Limit the embedder's tokenizer to `CHUNK_TOKENS`, or less if the embedder reads less.
    Args:
        tokenizer: the embedder's tokenizer; its `token_limit` counts special tokens.
    """
    return replace(tokenizer, token_limit=min(CHUNK_TOKENS, tokenizer.token_limit))


def chunk_documents(documents: pl.DataFrame, tokenizer: EmbedderTokenizer) -> pl.DataFrame:
    """Cut every kept document into chunks of at most `tokenizer.token_limit` tokens.
    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        tokenizer: the result of `for_chunks`.
    Returns:
        `DocumentChunks`, zero or more rows per document.
    """
    rows: list[dict[str, Any]] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        seen: Counter[str] = Counter()
        heading = bounded_title(str(document["title"] or ""), tokenizer)
        cuts = cut(str(document["text"]), tokenizer, heading=heading)
        for position, chunk in enumerate(cuts):
            digest = content_hash(chunk.text, tokenizer.revision)
            seen[digest] += 1
            repeat = f"-{seen[digest]}" if seen[digest] > 1 else ""
            rows.append(
                {
                    "chunk_id": f"{document['document_id']}-{digest}{repeat}",
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


@dataclass(frozen=True)
class ChunkLengths:
    """Recounted chunks, `heading` with text; `longest` is in tokens with special tokens."""

    chunks: int
    longest: int
    too_long: int
    miscounted: int


def measure(parts: Iterable[pl.DataFrame], tokenizer: EmbedderTokenizer) -> ChunkLengths:
    """Count the tokens of stored chunks again; 1,000 take 0.25 s.

    Args:
        parts: `heading`, `text` and `token_count` of chunks.
        tokenizer: the tokenizer that cut them.
    """
    chunks = longest = too_long = miscounted = 0
    for part in parts:
        texts: list[str] = part["text"].to_list()
        whole = list(map(indexed_text, part["heading"].to_list(), texts))
        counted = pl.Series("counted", tokenizer.count_tokens(texts), pl.Int64)
        read = pl.Series("read", tokenizer.count_tokens(whole), pl.Int64)
        most = pl.DataFrame([counted, read, part["token_count"]]).max_horizontal()
        chunks += part.height
        longest = max([longest, *most])
        too_long += int((most > tokenizer.token_limit).sum())
        miscounted += int((counted != part["token_count"]).sum())
    return ChunkLengths(chunks, longest, too_long, miscounted)


def bounded_title(title: str, tokenizer: EmbedderTokenizer) -> str:
    """Shorten a title for a chunk's heading: one line, at most a quarter of the embedder's limit.
    A longer title is cut after a whole word, or inside the word if it has only one.
    """
    title = " ".join(title.split())
    special = tokenizer.tokenizer.num_special_tokens_to_add(False)
    most = room = tokenizer.token_limit // TITLE_SHARE
    ruler = _Ruler(title, tokenizer)
    if ruler.cost(0, len(title)) <= most:
        return title
    while True:
        (_, stop), *_ = _characters(ruler, 0, len(title), room=room)
        cut_at = title.rfind(" ", 0, stop + 1)
        bounded = title[: cut_at if cut_at > 0 else stop]
        # The start of a cut word may count more tokens than it did within the whole word.
        if room == 1 or tokenizer.count_tokens([bounded])[0] - special <= most:
            return bounded
        room //= 2


def cut(text: str, tokenizer: EmbedderTokenizer, *, heading: str = "") -> list[Chunk]:
    """Cut one text into chunks of at most `tokenizer.token_limit` tokens, `heading` included.

    Paragraphs, lists and code blocks that fit are kept whole and fill the chunks; a heading stays
    with the block that follows it. Longer blocks are cut at lines, sentences, words and finally
    between characters. Every character that is not white space is in exactly one chunk.
    Args:
        text: the document's text.
        tokenizer: the embedder's tokenizer.
        heading: text that is embedded above each chunk; at most a quarter of the limit
            (`bounded_title`).

    Raises:
        ValueError: the limit is below 32 tokens.
    """
    if tokenizer.token_limit < MIN_LIMIT:
        raise ValueError(f"cannot cut to {tokenizer.token_limit} tokens, at least {MIN_LIMIT}")
    above = tokenizer.count_tokens([heading])[0]  # with the special tokens, which come once
    ruler = _Ruler(text, tokenizer)
    spans = list(_fill(ruler, 0, len(text), room=tokenizer.token_limit - above))
    chunks: list[Chunk] = []
    for (start, end), counts in zip(
        spans, _counted([text[start:end] for start, end in spans], heading, tokenizer), strict=True
    ):
        if counts.whole <= tokenizer.token_limit:
            chunks.append(Chunk(start, end, text[start:end], counts.text))
        else:
            room = max(1, counts.whole - above)
            chunks += _cut_smaller(ruler, start, end, tokenizer, heading=heading, room=room)
    return chunks


@dataclass(frozen=True)
class _Counts:
    """Tokens of a chunk's text alone and with its heading; special tokens included."""

    text: int
    whole: int


def _counted(texts: list[str], heading: str, tokenizer: EmbedderTokenizer) -> list[_Counts]:
    alone = tokenizer.count_tokens(texts)
    if not heading:
        return [_Counts(count, count) for count in alone]
    whole = tokenizer.count_tokens([indexed_text(heading, text) for text in texts])
    # The text alone counts too: a tokenizer might join the words around the line break.
    return [_Counts(text, max(text, both)) for text, both in zip(alone, whole, strict=True)]


def _cut_smaller(
    ruler: _Ruler, start: int, end: int, tokenizer: EmbedderTokenizer, *, heading: str, room: int
) -> Iterator[Chunk]:
    """Cut a span that counts more tokens alone than it did inside its document.
    A cut within a word of over 100 characters has that effect, so the room is halved until the
    tokenizer's count fits.
    """
    for begin, stop in _fill(ruler, start, end, room=max(1, room // 2)):
        text = ruler.text[begin:stop]
        (counts,) = _counted([text], heading, tokenizer)
        if counts.whole <= tokenizer.token_limit or stop - begin == 1:
            yield Chunk(begin, stop, text, counts.text)
        else:
            smaller = max(1, room // 2)
            yield from _cut_smaller(ruler, begin, stop, tokenizer, heading=heading, room=smaller)


class _Ruler:
    """Count the tokens of spans of one text from one tokenization of the whole."""

    def __init__(self, text: str, tokenizer: EmbedderTokenizer) -> None:
        self.text = text
        encoding = tokenizer.tokenizer.encode(text, add_special_tokens=False)
        self._token_starts: list[int] = [start for start, _ in encoding.offsets]

    def cost(self, start: int, end: int) -> int:
        tokens = bisect_left(self._token_starts, end) - bisect_left(self._token_starts, start)
        return max(tokens, -(-(end - start) // _CHARACTERS_PER_TOKEN))


def _fill(ruler: _Ruler, start: int, end: int, *, room: int) -> Iterator[tuple[int, int]]:
    """Yield spans of at most `room` tokens, each filled with as many whole parts as fit."""
    begin = stop = -1
    for part_start, part_end in _parts(ruler, start, end, room=room):
        if begin >= 0 and ruler.cost(begin, part_end) > room:
            yield begin, stop
            begin = part_start
        elif begin < 0:
            begin = part_start
        stop = part_end
    if begin >= 0:
        yield begin, stop


def _parts(ruler: _Ruler, start: int, end: int, *, room: int) -> Iterator[tuple[int, int]]:
    """Yield the smallest parts of chunks, each of at most `room` tokens, in order."""
    blocks = list(_blocks(ruler.text, start, end))
    position = 0
    while position < len(blocks):
        begin, stop, code = blocks[position]
        position += 1
        while (
            not code
            and _HEADING.fullmatch(ruler.text, begin, stop)
            and position < len(blocks)
            and ruler.cost(begin, blocks[position][1]) <= room
        ):
            _, stop, code = blocks[position]
            position += 1
        yield from _split(ruler, begin, stop, _CODE_CUTS if code else _PROSE_CUTS, room=room)


def _blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield paragraphs, lists and fenced code blocks as (start, end, is code)."""
    position = start
    while position < end:
        opening = _FENCE.search(text, position, end)
        stop = opening.start() if opening else end
        for begin, finish in _between(text, position, stop, _PARAGRAPH_BREAK):
            yield begin, finish, False
        if opening is None:
            return
        closing = re.compile(rf"^ {{0,12}}{re.escape(opening[1])}[ \t]*$", re.MULTILINE)
        closed = closing.search(text, min(opening.end() + 1, end), end)
        position = closed.end() if closed else end
        yield opening.start(), position, True


def _split(
    ruler: _Ruler, start: int, end: int, cuts: Sequence[re.Pattern[str]], *, room: int
) -> Iterator[tuple[int, int]]:
    if ruler.cost(start, end) <= room:
        yield start, end
    elif cuts:
        for begin, stop in _between(ruler.text, start, end, cuts[0]):
            yield from _split(ruler, begin, stop, cuts[1:], room=room)
    else:
        yield from _characters(ruler, start, end, room=room)


def _between(text: str, start: int, end: int, cut: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans between the matches of `cut` without white space at their ends."""
    position = start
    for match in cut.finditer(text, start, end):
        # Quotes and brackets that close a sentence belong to it; only the white space is dropped.
        yield from _trimmed(text, position, match.end())
        position = match.end()
    yield from _trimmed(text, position, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start] == "\n":
        start += 1
    if text[start:end].strip():
        yield start, end


def _characters(ruler: _Ruler, start: int, end: int, *, room: int) -> Iterator[tuple[int, int]]:
    """Cut a word into pieces of as many characters as fit, keeping combined characters whole."""
    while start < end:
        low, high = start + 1, min(end, start + room * _CHARACTERS_PER_TOKEN)
        while low < high:  # the longest piece that fits; cost grows with length
            middle = (low + high + 1) // 2
            low, high = (middle, high) if ruler.cost(start, middle) <= room else (low, middle - 1)
        stop = low
        while start + 1 < stop < end and _joins(ruler.text[stop - 1], ruler.text[stop]):
            stop -= 1
        if stop == start + 1 < low and _joins(ruler.text[stop - 1], ruler.text[stop]):
            stop = low  # only joined characters fit, so they are separated
        yield start, stop
        start = stop


def _joins(before: str, after: str) -> bool:
    """Return whether `after` combines with `before`: combining marks and joined characters."""
    return unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf"} or before == "\u200d"
