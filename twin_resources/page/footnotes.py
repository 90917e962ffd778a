"""Render the sources of an answer as footnotes: the folded passages, their posts and the facts.

All markup in texts is escaped. The values are those of the gateway's field `twin`.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast
from urllib.parse import quote as percent_encode

from twin_resources.page.escaping import escape_html, http_url_or_empty
from twin_resources.page.plain_names import translate_route, translate_version

MAX_FULL_SENTENCE_WORDS = 12  # a link to a longer text contains only its first and last words
FRAGMENT_END_WORDS = 4  # number of first words and of last words in such a link

Facts = Mapping[str, Any]

_HEADINGS = {
    "not_found": "Nothing found",
    "quote": "Quoted",
    "quote_and_voice": "Quoted, then written by a program",
    "voice": "Written by a program",
}


def render_footnotes(facts: Facts) -> str:
    """Return an answer's footnotes as HTML, or "" before the answer's facts are known.

    Each quotation or closest passage is a note, in the order of the answer. The first quotation
    stands in the answer itself, so its note has only the link to its post.
    """
    if not facts:
        return ""
    sources, quotes = list_passages(facts, "sources"), list_passages(facts, "quotes")
    nearest = list_passages(facts, "nearest")
    if nearest and not quotes:
        heading = "The closest passages"
        notes = [_render_note(passage, body=_render_text(passage)) for passage in nearest]
    elif sources or quotes:
        quoted_posts = {quote.get("document_id") for quote in quotes}
        passages_by_post: dict[object, list[Facts]] = {}
        for source in sources:
            if source.get("document_id") not in quoted_posts:
                passages_by_post.setdefault(source.get("document_id"), []).append(source)
        post_count = len(quoted_posts) + len(passages_by_post)
        heading = f"From {post_count} post{'s' * (post_count != 1)}"
        notes = [
            _render_note(
                quote,
                body=_render_text(quote) * (number > 0),
                text=str(quote.get("text") or ""),
                is_quoted=True,
            )
            for number, quote in enumerate(quotes)
        ]
        notes += [
            _render_note(passages[0], body="".join(map(_render_text, passages)))
            for passages in passages_by_post.values()
        ]
    elif facts.get("front_desk"):
        heading, notes = "The program gave this answer.", []
    else:
        heading, notes = "No post was found for this question.", []
    notes_html = f"<ol>{''.join(f'<li>{note}</li>' for note in notes)}</ol>" if notes else ""
    return (
        f'<div class="twin-notes"><p class="twin-h">{heading}</p>{notes_html}'
        f"{render_answer_details(facts)}</div>"
    )


def list_passages(facts: Facts, name: str) -> list[Facts]:
    """Return a list of passages of an answer's facts, which a browser may have stored wrongly."""
    rows: object = facts.get(name)
    return [
        cast("Facts", row)
        for row in (cast("list[object]", rows) if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]


def render_answer_details(facts: Facts) -> str:
    """Return the disclosure, followed by collapsed details about the answer's writer and cost."""
    rows = {
        "Answer": escape_html(_describe_answer_form(facts)),
        "Based on": _describe_sources(facts),
        "Written by": _describe_writer(facts),
        "Released for": escape_html(facts.get("release") or ""),
        "Prose": escape_html(describe_prose(facts)),
        "Cost": describe_cost(facts.get("cost_usd")),
        "Degraded": escape_html(facts.get("degraded") or ""),
        "Address": _render_address(str(facts.get("trace_id") or "")),
        "Every step": render_trace_link(str(facts.get("trace_id") or "")),
    }
    rows_html = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items() if text)
    disclosure_text = str(facts.get("disclosure") or "")
    disclosure = (
        f'<p class="twin-disclosure">{escape_html(disclosure_text)}</p>' if disclosure_text else ""
    )
    draft: Facts = facts.get("draft") or {}
    if draft:
        disclosure += f'<p class="twin-small">A draft: {escape_html(draft["why"])}.</p>'
    return (
        f'{disclosure}<details class="twin-about"><summary>About this answer</summary>'
        f"<dl>{rows_html}</dl></details>"
    )


def _describe_answer_form(facts: Facts) -> str:
    if facts.get("front_desk"):
        return "The program's own text"
    return _HEADINGS.get(str(facts.get("answer")), "")


def _describe_sources(facts: Facts) -> str:
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    post_count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    if not post_count:
        return "no post"
    quote_count = len(quotes)
    passage_text = (
        f", {quote_count} passage{'s' * (quote_count != 1)} quoted"
        if quote_count
        else ", none quoted"
    )
    return f"{post_count} post{'s' * (post_count != 1)}{passage_text}"


def _describe_writer(facts: Facts) -> str:
    version, route = str(facts.get("version") or ""), str(facts.get("route") or "")
    if not version:
        return ""
    writer = translate_version(version)
    route_text = translate_route(route) if route else ""
    return escape_html(
        f"{writer} ({route_text})" if route_text and route_text != writer else writer
    )


def describe_prose(facts: Facts) -> str:
    """Describe why prose is not shown or how much of it was omitted; "" if there is no prose."""
    prose: Facts = facts.get("prose") or {}
    if not prose.get("shown"):
        return f"not shown: {prose['why']}" if prose.get("why") else ""
    if not prose.get("judged"):
        return "shown; its sentences are not judged"
    return f"{prose.get('left_out')} of {prose.get('sentences')} sentences left out as unsupported"


def render_trace_link(trace_id: str, *, label: str = "") -> str:
    """Return a link to a trace, with `label` or the id as its text; "" without an id."""
    if not trace_id:
        return ""
    escaped_id = escape_html(trace_id)
    link_text = escape_html(label) if label else f"<code>{escaped_id}</code>"
    return f'<a href="/?trace={escaped_id}" data-trace="{escaped_id}">{link_text}</a>'


def _render_address(trace_id: str) -> str:
    path = f"/a/{escape_html(trace_id)}"
    return f'<a href="{path}" target="_blank">{path}</a>' if trace_id else ""


def format_cost(usd: object) -> str:
    """Format a dollar amount with six decimals, because the amounts are small."""
    return f"${usd:.6f}" if isinstance(usd, int | float) else "unknown"


def describe_cost(usd: object) -> str:
    """Describe the cost in dollars; small amounts use plain words."""
    if not isinstance(usd, int | float):
        return "unknown"
    if usd == 0:
        return "nothing"
    return f"less than a cent ({format_cost(usd)})" if usd < 0.01 else f"${usd:.2f}"


def format_day(iso: str) -> str:
    """Format `2019-05-04T…` as `4 May 2019`; truncate any other text to 10 characters."""
    try:
        day = date.fromisoformat(iso[:10])
    except ValueError:
        return iso[:10]
    return f"{day.day} {day:%B %Y}"


def _render_note(post: Facts, *, body: str, text: str = "", is_quoted: bool = False) -> str:
    title = escape_html(post.get("title") or post.get("document_id") or "a post")
    published_at = str(post.get("published_at") or "")
    date_html = (
        f' <time datetime="{escape_html(published_at[:10])}">'
        f"{escape_html(format_day(published_at))}</time>"
        if published_at
        else ""
    )
    age = f" · {escape_html(post['age'])}" if post.get("age") else ""
    url = http_url_or_empty(str(post.get("url") or ""))
    link = (
        f'<a href="{escape_html(passage_url(url, text))}" target="_blank" '
        f'rel="noopener noreferrer">Read the post</a> · '
        if url
        else ""
    )
    document = escape_html(post.get("document_id") or "")
    css_class = " twin-quoted" if is_quoted else ""
    return (
        f'<details class="twin-note{css_class}"><summary><cite>{title}</cite>{date_html}{age}'
        f'</summary>{body}<p class="twin-small">{link}'
        f"document <code>{document}</code></p></details>"
    )


def passage_url(url: str, text: str) -> str:
    """Return a URL that opens a page at the first paragraph of a passage.

    Browsers without text fragments open the top of the page. Source:
    https://wicg.github.io/scroll-to-text-fragment/
    """
    words = re.sub(r"[*_`>#]", "", text.strip().partition("\n")[0]).split()
    if not words:
        return url
    parts = (
        [" ".join(words)]
        if len(words) <= MAX_FULL_SENTENCE_WORDS
        else [" ".join(words[:FRAGMENT_END_WORDS]), " ".join(words[-FRAGMENT_END_WORDS:])]
    )
    # Hyphens, commas and ampersands are syntax in text fragments.
    fragment = ",".join(percent_encode(part, safe="").replace("-", "%2D") for part in parts)
    return f"{url}{'' if '#' in url else '#'}:~:text={fragment}"


def _render_text(passage: Facts) -> str:
    text = str(passage.get("text") or "")
    return f"<p>{escape_html(text)}</p>" if text else ""
