"""Choose the passages that answer a question, and continue each to the end of its thought.

Whether the author has written about the question is decided by one limit for all authors on the
evidence of the best passage (`search.rank_candidates`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from twin_resources.models.retrieval.retrieval import RetrievalResult
from twin_resources.models.retrieval.search import Passage

# Declines 4 of 139 tuning questions to their authors and 57 of 60 to others, as .06 does; .04
# declines 4 and 56.
MIN_EVIDENCE = 0.05
MAX_QUOTES = 3
# A passage ends at 1,000 characters, often in the middle of a section: the rest of the section is
# shown while the whole stays within the first limit, and while it ends in half a thought within the
# second. Of 39 questions to a programmer, 29 first passages are useful instead of 27.
MAX_SHOWN, MAX_UNFINISHED = 1_500, 2_000
_HEADING = re.compile(r"#{1,6} [^\n]*")
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_BEFORE_EMPTY_LINE = re.compile(r"(?=\n[ \t]*\n)")
_FENCE_LINE = re.compile(r"^ {0,12}(?:```|~~~)", re.MULTILINE)
_UNFINISHED = re.compile(r"[?:？：…][\"'”’)*_]*\Z|\.\.\.\Z")
# A paragraph that turns or rests on the one before; the other languages are those of the interface.
_DEPENDENT = re.compile(
    r"(?i)\W*(?:but|however|yet|instead|so|then|and|or|because|otherwise|also|it|its|they|this|that"
    r"|these|those|aber|doch|jedoch|sondern|also|denn|das|dies|mais|cependant|pourtant|donc|cela"
    r"|pero|sin embargo|sino|entonces|esto|ma|però|tuttavia|quindi|questo|mas|porém|então|isso)\b"
)


@dataclass(frozen=True)
class Quote:
    """Whole paragraphs of one post, or sentences of one long paragraph, word for word.

    Attributes:
        text: the cleaned document's `text[start:end]`, between the fences of a code block where it
            begins or ends in one.
        score: cosine of the question and the passage.
    """

    text: str
    document_id: str
    title: str
    url: str
    published_at: datetime | None
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class QuoteResult:
    """The quotations for a question, and the figures that determined them.

    Attributes:
        quotes: best first; empty if no post answers the question, or if the lookup failed.
        best_score: evidence of the best passage; nothing is quoted if it is below `threshold`.
        reason: why the lookup failed; empty if it succeeded.
        languages: ISO 639-1 codes of the posts, most frequent first; empty if unknown.
        known_languages: ISO 639-1 codes that the embedder supports; empty if unknown.
    """

    quotes: tuple[Quote, ...]
    best_score: float = 0.0
    threshold: float = MIN_EVIDENCE
    reason: str = ""
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()


def choose_quotes(
    retrieval: RetrievalResult,
    read_following: Callable[[Passage], Sequence[Passage]],
) -> QuoteResult:
    """Return at most `MAX_QUOTES` passages, if any passage answers the question.

    Args:
        retrieval: the result of the search.
        read_following: returns the next passages of a passage's post, in order.
    """
    quotes: list[Quote] = []
    if retrieval.evidence >= MIN_EVIDENCE:
        for passage in retrieval.ranked:
            if len(quotes) == MAX_QUOTES:
                break
            neighbors = [quote for quote in quotes if quote.document_id == passage.document_id]
            if not any(_covers_half(quote, passage) for quote in neighbors):
                quotes.append(_build_quote(passage, read_following(passage), neighbors))
    return QuoteResult(
        tuple(quotes),
        retrieval.evidence,
        languages=retrieval.languages,
        known_languages=retrieval.known_languages,
    )


def _covers_half(quote: Quote, passage: Passage) -> bool:
    shared = min(quote.end, passage.end) - max(quote.start, passage.start)
    return 2 * shared > passage.end - passage.start


def _build_quote(
    passage: Passage, following: Sequence[Passage], neighbors: Sequence[Quote]
) -> Quote:
    """Return the continued passage without what other quotations of its post already show."""
    text, start = continue_text(passage, following), passage.start
    for quote in neighbors:
        if quote.start <= start < quote.end:
            shown = text[quote.end - start :]
            start, text = quote.end + len(shown) - len(shown.lstrip()), shown.lstrip()
        elif start < quote.start < start + len(text):
            text = text[: quote.start - start].rstrip()
    end = start + len(text)
    if passage.fence and start == passage.start:
        text = f"{passage.fence}\n{text}"
    if len(_FENCE_LINE.findall(text)) % 2:
        mark = _FENCE_LINE.search(text)
        text += f"\n{mark[0].strip()}" if mark else ""
    return Quote(
        text=text,
        document_id=passage.document_id,
        title=passage.title,
        url=passage.url,
        published_at=passage.published_at,
        start=start,
        end=end,
        score=passage.cosine,
    )


def continue_text(passage: Passage, following: Sequence[Passage]) -> str:
    """Return a passage's text, with the paragraphs of its section that finish its thought."""
    text, rest, end = passage.text, "", passage.end
    for next_passage in following:
        gap = next_passage.start - end
        rest += next_passage.text[-gap:] if gap <= 0 else "\n" * gap + next_passage.text
        end = next_passage.end
    is_open = len(_FENCE_LINE.findall(f"{passage.fence}\n{text}")) % 2 == 1
    block = ""
    for part in _BEFORE_EMPTY_LINE.split(rest):
        block += part
        words = block.strip()
        if not words or len(_FENCE_LINE.findall(block)) % 2 != is_open:
            continue  # a code block with an empty line
        if _HEADING.fullmatch(words):
            break
        unfinished = (
            is_open
            or not _EMPTY_LINE.match(block)  # the passage ends within a paragraph
            or _UNFINISHED.search(text.rstrip())
            or _DEPENDENT.match(words)
            or words[:1].islower()
        )
        if len(text) + len(block) > (MAX_UNFINISHED if unfinished else MAX_SHOWN):
            break
        text, block, is_open = text + block, "", False
    return text
