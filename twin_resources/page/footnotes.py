"""Render the basis of an answer as footnotes: the posts, the marked sentence and the facts.

Scope: HTML of an answer's sources, quotations, nearest posts and facts. All other markup is escaped
(`readable.py`). Out of scope: the origin of these values (the gateway's `twin` field), widgets
(`chat_tab.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast
from urllib.parse import quote as percent_encoded

from twin_resources.page.plain_names import route_name, version_name
from twin_resources.page.readable import escape_html, http_url_or_empty

CONTEXT_CHARACTERS = 160  # shown on each side of the quoted words
MAX_UNQUOTED_CHARACTERS = 280  # shown of a passage without a quotation
MAX_FULL_SENTENCE_WORDS = 12  # a link to a longer sentence has only its first and last words
FRAGMENT_END_WORDS = 4  # number of these words at each end

Facts = Mapping[str, Any]
Range = tuple[int, int]

_HEADINGS = {
    "not_written_about": "Not written about",
    "quote": "Quoted",
    "quote_and_voice": "Quoted, then in this voice",
    "voice": "In this voice",
}


def render_footnotes(facts: Facts) -> str:
    """Return the footnotes of an answer, or "" before its facts are known."""
    if not facts:
        return ""
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    nearest: Sequence[Facts] = facts.get("nearest") or ()
    if nearest and not quotes:
        heading, notes = "The nearest posts", [_render_note(post, body="") for post in nearest]
    elif sources or quotes:
        heading, notes = _heading(quotes, sources), _render_source_notes(sources, quotes)
    elif facts.get("front_desk"):
        heading, notes = "The program gave this answer; it did not search the posts.", []
    else:
        heading, notes = "No post was found for this question.", []
    notes_html = f"<ol>{''.join(f'<li>{note}</li>' for note in notes)}</ol>" if notes else ""
    return (
        f'<div class="twin-notes"><p '
        f'class="twin-h">{heading}</p>{notes_html}{render_answer_details(facts)}</div>'
    )


def render_answer_details(facts: Facts) -> str:
    """Return the disclosure, and below it collapsed details about its writer and cost."""
    trace = str(facts.get("trace_id") or "")
    rows = {
        "Answer": escape_html(_describe_answer_form(facts)),
        "Rests on": _describe_sources(facts),
        "Written by": _describe_writer(facts),
        "Released for": escape_html(facts.get("release") or ""),
        "Prose": escape_html(describe_prose(facts)),
        "Cost": describe_cost(facts.get("cost_usd")),
        "Not as planned": escape_html(facts.get("degraded") or ""),
        "Every step": render_trace_link(trace),
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
        return "The program's own"
    return _HEADINGS.get(str(facts.get("answer")), "")


def _describe_sources(facts: Facts) -> str:
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    if not count:
        return "no post"
    quoted = len(quotes)
    passages = f", {quoted} passage{'s' * (quoted != 1)} quoted" if quoted else ", none quoted"
    return f"{count} post{'s' * (count != 1)}{passages}"


def _describe_writer(facts: Facts) -> str:
    version, route = str(facts.get("version") or ""), str(facts.get("route") or "")
    if not version:
        return ""
    named = version_name(version)
    how = route_name(route) if route else ""
    return escape_html(f"{named} ({how})" if how and how != named else named)


def describe_prose(facts: Facts) -> str:
    """Return why prose is not shown, or how much of it was left out; "" without prose."""
    prose: Facts = facts.get("prose") or {}
    if not prose.get("shown"):
        return f"not shown: {prose['why']}" if prose.get("why") else ""
    if not prose.get("judged"):
        return "shown; its sentences are not judged"
    return f"{prose.get('left_out')} of {prose.get('sentences')} sentences left out as unsupported"


def render_trace_link(trace: str, *, label: str = "") -> str:
    """Return a link to a trace in the page, labelled with its id or `label`; "" without a trace."""
    if not trace:
        return ""
    shown = escape_html(label) if label else f"<code>{escape_html(trace)}</code>"
    return f'<a href="/?trace={escape_html(trace)}" data-trace="{escape_html(trace)}">{shown}</a>'


def format_cost(usd: object) -> str:
    """Format dollars with six decimals, because the amounts are small."""
    return f"${usd:.6f}" if isinstance(usd, int | float) else "not known"


def describe_cost(usd: object) -> str:
    """Describe the cost in dollars, in plain words if it is small."""
    if not isinstance(usd, int | float):
        return "not known"
    if usd == 0:
        return "nothing"
    return f"less than a cent ({format_cost(usd)})" if usd < 0.01 else f"${usd:.2f}"


def format_day(iso: str) -> str:
    """Format `2019-05-04T…` as `4 May 2019`; truncate any other text to 10 characters."""
    try:
        parsed = date.fromisoformat(iso[:10])
    except ValueError:
        return iso[:10]
    return f"{parsed.day} {parsed:%B %Y}"


def _heading(quotes: Sequence[Facts], sources: Sequence[Facts]) -> str:
    count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    return f"From {count} post{'s' * (count != 1)}"


def _render_source_notes(sources: Sequence[Facts], quotes: Sequence[Facts]) -> list[str]:
    """Return one note per post; quoted posts come first, in the order of their quotations."""
    by_post: dict[str, list[Facts]] = {}
    for quote in quotes:
        by_post.setdefault(str(quote.get("document_id")), [])
    for source in sources:
        by_post.setdefault(str(source.get("document_id")), []).append(source)
    notes: list[str] = []
    for post, passages in by_post.items():
        post_quotes = [quote for quote in quotes if str(quote.get("document_id")) == post]
        bodies = [
            _render_passage(passage, post_quotes) for passage in passages if passage.get("text")
        ]
        located_texts = {
            str(quote.get("text"))
            for quote in post_quotes
            for passage in passages
            if _find_quote_range(passage, quote) is not None
        }
        unlocated_quotes = [
            quote for quote in post_quotes if str(quote.get("text")) not in located_texts
        ]
        bodies = [f"<p>{_render_quotation(quote)}</p>" for quote in unlocated_quotes] + bodies
        post_rows = post_quotes or passages
        sentence = _answering_sentence(post_quotes[0]) if post_quotes else ""
        notes.append(
            _render_note(
                post_rows[0], body="".join(bodies), sentence=sentence, is_quoted=bool(post_quotes)
            )
        )
    return notes


def _render_note(post: Facts, *, body: str, sentence: str = "", is_quoted: bool = False) -> str:
    title = escape_html(post.get("title") or post.get("document_id") or "a post")
    published = str(post.get("published_at") or "")
    date_html = (
        f" <time "
        f'datetime="{escape_html(published[:10])}">{escape_html(format_day(published))}</time>'
        if published
        else ""
    )
    url = http_url_or_empty(str(post.get("url") or ""))
    link = (
        f'<a href="{escape_html(sentence_url(url, sentence))}" target="_blank" '
        f'rel="noopener noreferrer">Read the post</a> · '
        if url
        else ""
    )
    document = escape_html(post.get("document_id") or "")
    kind = " twin-quoted" if is_quoted else ""
    return (
        f'<details class="twin-note{kind}"><summary><cite>{title}</cite>{date_html}</summary>'
        f'{body}<p class="twin-small">{link}document <code>{document}</code></p></details>'
    )


def sentence_url(url: str, sentence: str) -> str:
    """Return a URL that opens a page at this sentence in browsers that support text fragments.

    Other browsers open the top of the page. Source: https://wicg.github.io/scroll-to-text-fragment/
    """
    words = sentence.split()
    if not words:
        return url
    parts = (
        [" ".join(words)]
        if len(words) <= MAX_FULL_SENTENCE_WORDS
        else [" ".join(words[:FRAGMENT_END_WORDS]), " ".join(words[-FRAGMENT_END_WORDS:])]
    )
    # hyphens, commas and ampersands have a meaning in fragments
    text = ",".join(percent_encoded(part, safe="").replace("-", "%2D") for part in parts)
    return f"{url}{'' if '#' in url else '#'}:~:text={text}"


def _render_passage(source: Facts, quotes: Sequence[Facts]) -> str:
    """Return the quoted words with their context, and the whole passage as collapsed details."""
    text = str(source.get("text") or "")
    located_quotes = [
        (place, quote)
        for quote in quotes
        if (place := _find_quote_range(source, quote)) is not None
    ]
    if not located_quotes:
        if len(text) <= MAX_UNQUOTED_CHARACTERS:
            return f"<p>{escape_html(text)}</p>"
        return (
            f"<details><summary>{escape_html(_shorten(text))} "
            f"…</summary><p>{escape_html(text)}</p></details>"
        )
    spans = _merge_ranges([place for place, _ in located_quotes])
    marks = _merge_ranges([_find_mark_range(place, quote) for place, quote in located_quotes])
    if marks == [(0, len(text))]:
        marks = []  # if everything is quoted, a mark conveys nothing
    begin = max(0, spans[0][0] - CONTEXT_CHARACTERS)
    end = min(len(text), spans[-1][1] + CONTEXT_CHARACTERS)
    if begin:
        begin = text.find(" ", begin) + 1 if " " in text[begin : spans[0][0]] else begin
    if end < len(text) and " " in text[spans[-1][1] : end]:
        end = text.rfind(" ", spans[-1][1], end)
    excerpt = f"{'… ' * bool(begin)}{_render_with_marks(text, marks, begin, end)}{' …' * (end < len(text))}"
    full_passage_html = (
        f"<details><summary>The whole passage</summary>"
        f"<p>{_render_with_marks(text, marks, 0, len(text))}</p></details>"
        if begin or end < len(text)
        else ""
    )
    return f"<p>{excerpt}</p>{full_passage_html}"


def find_marked_range(quote: Facts) -> Range | None:
    """Return the range of the answering sentence in the quotation, or None if unknown."""
    marked = quote.get("marked")
    values = cast("list[object]", list(marked)) if isinstance(marked, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]
    match values:
        case [int(begin), int(end)] if 0 <= begin < end <= len(str(quote.get("text") or "")):
            return begin, end
        case _:
            return None


def _answering_sentence(quote: Facts) -> str:
    text, place = str(quote.get("text") or ""), find_marked_range(quote)
    return text[place[0] : place[1]] if place else text


def _render_quotation(quote: Facts) -> str:
    text, place = str(quote.get("text") or ""), find_marked_range(quote)
    return _render_with_marks(text, [place] if place else [], 0, len(text))


def _find_mark_range(quote_range: Range, quote: Facts) -> Range:
    """Return the range in a passage of the answering sentence, or else of the whole quotation."""
    inner = find_marked_range(quote)
    if inner is None:
        return quote_range
    text = str(quote.get("text") or "")
    low = quote_range[0] - (len(text) - len(text.lstrip()))
    return max(quote_range[0], low + inner[0]), min(quote_range[1], low + inner[1])


def _render_with_marks(text: str, ranges: Sequence[Range], begin: int, end: int) -> str:
    parts: list[str] = []
    position = begin
    for low, high in ranges:
        parts += [escape_html(text[position:low]), f"<mark>{escape_html(text[low:high])}</mark>"]
        position = high
    return "".join([*parts, escape_html(text[position:end])])


def _find_quote_range(source: Facts, quote: Facts) -> Range | None:
    """Return the range of the quoted words in the passage, or None if they are not in it.

    The document's character positions are used if they match the words. Otherwise, the words are
    searched for, because a passage may contain headings that the document does not.
    """
    text, words = str(source.get("text") or ""), str(quote.get("text") or "").strip()
    if not words or source.get("document_id") != quote.get("document_id"):
        return None
    begin, first = quote.get("start"), source.get("start")
    if isinstance(begin, int) and isinstance(first, int):
        low = begin - first
        if low >= 0 and text[low : low + len(words)] == words:
            return low, low + len(words)
    low = text.find(words)
    return (low, low + len(words)) if low >= 0 else None


def _merge_ranges(ranges: Sequence[Range]) -> list[Range]:
    """Sort the ranges and merge those that touch or overlap."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _shorten(text: str) -> str:
    return text[:MAX_UNQUOTED_CHARACTERS].rsplit(" ", 1)[0]
