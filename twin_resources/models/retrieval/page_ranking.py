"""Rank the passages of the post that the reader's page shows before other near passages."""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from twin_resources.models.retrieval.follow_ups import remove_quotation_markup
from twin_resources.models.retrieval.search import Passage
from twin_resources.models.retrieval.title_matching import find_named_titles


@dataclass(frozen=True)
class Page:
    """The page on which a question was asked.

    Attributes:
        address: its canonical address; may be empty.
        title: its title, which may contain the site's name; may be empty.
    """

    address: str = ""
    title: str = ""


def rank_page_first(
    ranked: Sequence[Passage],
    page: Page,
    *,
    min_evidence: float,
    earlier_answers: Sequence[str] = (),
) -> tuple[Passage, ...]:
    """Return the passages with those of the page's post first that are near by themselves.

    The page's post has the page's address. If no passage has it, it is the post with the longest
    title that stands in the page's title, because posts in a folder often have no address.

    Args:
        ranked: passages, best first.
        min_evidence: evidence from which a passage is near (`quoter.MIN_EVIDENCE`).
        earlier_answers: the conversation's earlier answers; what they show keeps its place.
    """
    address = _read_address(page.address)
    posts = {item.document_id for item in ranked if address and _read_address(item.url) == address}
    if not posts:
        title_ranks = find_named_titles(page.title, [item.title for item in ranked])
        posts = {item.document_id for item in ranked if title_ranks.get(item.title) == 1}
    answers = [remove_quotation_markup(answer) for answer in earlier_answers]
    first = {
        item.chunk_id
        for item in ranked
        if item.document_id in posts
        and item.evidence >= min_evidence
        and not any(remove_quotation_markup(item.text) in answer for answer in answers)
    }
    return tuple(sorted(ranked, key=lambda item: item.chunk_id not in first))


def _read_address(url: str) -> tuple[str, str, str] | None:
    """Return what identifies a page, however its address ends; None if it is no web address."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    path = re.sub(r"(?:/index)?(?:\.html?)?/?\Z", "", unquote(parts.path))
    return parts.netloc.lower().removeprefix("www."), path, parts.query
