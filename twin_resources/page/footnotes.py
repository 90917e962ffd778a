"""Render the basis of an answer as footnotes: the posts, the marked sentence and the facts.

Scope: HTML of the sources, quotes, nearest posts and facts of an answer; markup from other sources
is never included (`readable.py`). Out of scope: the origin of these values (the gateway's `twin`
field), widgets (`chat_tab.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast
from urllib.parse import quote as percent_encoded

from twin_resources.page.plain_names import route_name, version_name
from twin_resources.page.readable import as_text, web_address

AROUND = 160  # characters of the passage shown on each side of the quoted words
SHORT = 280  # maximum characters shown of a passage without a quote
LONG_SENTENCE = 12  # words; a longer sentence is addressed by its first and last words
ENDS = 4  # number of such words at each end

Facts = Mapping[str, Any]
Range = tuple[int, int]

_HEADINGS = {
    "not_written_about": "Not written about",
    "quote": "Quoted",
    "quote_and_voice": "Quoted, then in this voice",
    "voice": "In this voice",
}


def footnotes(facts: Facts) -> str:
    """Return the footnotes of an answer; empty before its facts are known."""
    if not facts:
        return ""
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    nearest: Sequence[Facts] = facts.get("nearest") or ()
    if nearest and not quotes:
        heading, notes = "The nearest posts", [_note(post, body="") for post in nearest]
    elif sources or quotes:
        heading, notes = _heading(quotes, sources), _source_notes(sources, quotes)
    elif facts.get("front_desk"):
        heading, notes = "The program answered this itself; no post was looked up.", []
    else:
        heading, notes = "No post was found for this question.", []
    listed = f"<ol>{''.join(f'<li>{note}</li>' for note in notes)}</ol>" if notes else ""
    return f'<div class="twin-notes"><p class="twin-h">{heading}</p>{listed}{about(facts)}</div>'


def about(facts: Facts) -> str:
    """Return collapsed details (who answered, how, at what cost) below the visible disclosure."""
    trace = str(facts.get("trace_id") or "")
    rows = {
        "Answer": as_text(_form_of(facts)),
        "Rests on": _rests_on(facts),
        "Written by": _written_by(facts),
        "Released for": as_text(facts.get("release") or ""),
        "Prose": as_text(prose_in_words(facts)),
        "Cost": cost_in_words(facts.get("cost_usd")),
        "Not as planned": as_text(facts.get("degraded") or ""),
        "Every step": trace_link(trace),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items() if text)
    disclosure_text = str(facts.get("disclosure") or "")
    disclosure = (
        f'<p class="twin-disclosure">{as_text(disclosure_text)}</p>' if disclosure_text else ""
    )
    draft: Facts = facts.get("draft") or {}
    if draft:
        disclosure += f'<p class="twin-small">A draft: {as_text(draft["why"])}.</p>'
    return (
        f'{disclosure}<details class="twin-about"><summary>About this answer</summary>'
        f"<dl>{listed}</dl></details>"
    )


def _form_of(facts: Facts) -> str:
    if facts.get("front_desk"):
        return "The program's own"
    return _HEADINGS.get(str(facts.get("answer")), "")


def _rests_on(facts: Facts) -> str:
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    if not count:
        return "no post"
    quoted = len(quotes)
    passages = f", {quoted} passage{'s' * (quoted != 1)} quoted" if quoted else ", none quoted"
    return f"{count} post{'s' * (count != 1)}{passages}"


def _written_by(facts: Facts) -> str:
    version, route = str(facts.get("version") or ""), str(facts.get("route") or "")
    if not version:
        return ""
    named = version_name(version)
    how = route_name(route) if route else ""
    return as_text(f"{named} ({how})" if how and how != named else named)


def prose_in_words(facts: Facts) -> str:
    """Return why prose is not shown, or how much was left out; empty if there is nothing to say."""
    prose: Facts = facts.get("prose") or {}
    if not prose.get("shown"):
        return f"not shown: {prose['why']}" if prose.get("why") else ""
    if not prose.get("judged"):
        return "shown, its sentences not judged"
    return f"{prose.get('left_out')} of {prose.get('sentences')} sentences left out as unsupported"


def trace_link(trace: str, *, named: str = "") -> str:
    """Return a link to a trace in the page, labelled with its id or `named`; empty if no trace."""
    if not trace:
        return ""
    shown = as_text(named) if named else f"<code>{as_text(trace)}</code>"
    return f'<a href="/?trace={as_text(trace)}" data-trace="{as_text(trace)}">{shown}</a>'


def cost(usd: object) -> str:
    """Return dollars to six decimals, because amounts are small."""
    return f"${usd:.6f}" if isinstance(usd, int | float) else "not known"


def cost_in_words(usd: object) -> str:
    """Return the cost in dollars, in plain words if it is small."""
    if not isinstance(usd, int | float):
        return "not known"
    if usd == 0:
        return "nothing"
    return f"less than a cent ({cost(usd)})" if usd < 0.01 else f"${usd:.2f}"


def day(iso: str) -> str:
    """Format `2019-05-04T…` as `4 May 2019`; return any other text cut to 10 characters."""
    try:
        known = date.fromisoformat(iso[:10])
    except ValueError:
        return iso[:10]
    return f"{known.day} {known:%B %Y}"


def _heading(quotes: Sequence[Facts], sources: Sequence[Facts]) -> str:
    count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    return f"From {count} post{'s' * (count != 1)}"


def _source_notes(sources: Sequence[Facts], quotes: Sequence[Facts]) -> list[str]:
    """Return one note per post: quoted posts first, in the order of their quotes."""
    by_post: dict[str, list[Facts]] = {}
    for quote in quotes:
        by_post.setdefault(str(quote.get("document_id")), [])
    for source in sources:
        by_post.setdefault(str(source.get("document_id")), []).append(source)
    made: list[str] = []
    for post, passages in by_post.items():
        mine = [quote for quote in quotes if str(quote.get("document_id")) == post]
        bodies = [_passage(passage, mine) for passage in passages if passage.get("text")]
        placed = {
            str(quote.get("text"))
            for quote in mine
            for passage in passages
            if _place(passage, quote) is not None
        }
        loose = [quote for quote in mine if str(quote.get("text")) not in placed]
        bodies = [f"<p>{_quotation(quote)}</p>" for quote in loose] + bodies
        named = mine or passages
        sentence = _sentence(mine[0]) if mine else ""
        made.append(_note(named[0], body="".join(bodies), sentence=sentence, quoted=bool(mine)))
    return made


def _note(post: Facts, *, body: str, sentence: str = "", quoted: bool = False) -> str:
    title = as_text(post.get("title") or post.get("document_id") or "a post")
    published = str(post.get("published_at") or "")
    dated = (
        f' <time datetime="{as_text(published[:10])}">{as_text(day(published))}</time>'
        if published
        else ""
    )
    url = web_address(str(post.get("url") or ""))
    link = (
        f'<a href="{as_text(address_of_sentence(url, sentence))}" target="_blank" '
        f'rel="noopener noreferrer">Read the post</a> · '
        if url
        else ""
    )
    document = as_text(post.get("document_id") or "")
    kind = " twin-quoted" if quoted else ""
    return (
        f'<details class="twin-note{kind}"><summary><cite>{title}</cite>{dated}</summary>'
        f'{body}<p class="twin-small">{link}document <code>{document}</code></p></details>'
    )


def address_of_sentence(url: str, sentence: str) -> str:
    """Return an address that opens a page at this sentence in browsers with text fragments.

    Source: https://wicg.github.io/scroll-to-text-fragment/. Others open the top of the page.
    """
    words = sentence.split()
    if not words:
        return url
    parts = (
        [" ".join(words)]
        if len(words) <= LONG_SENTENCE
        else [" ".join(words[:ENDS]), " ".join(words[-ENDS:])]
    )
    # hyphens, commas and ampersands are part of the fragment syntax
    text = ",".join(percent_encoded(part, safe="").replace("-", "%2D") for part in parts)
    return f"{url}{'' if '#' in url else '#'}:~:text={text}"


def _passage(source: Facts, quotes: Sequence[Facts]) -> str:
    """Return the quoted words with their context; the rest of the passage unfolds."""
    text = str(source.get("text") or "")
    placed = [(place, quote) for quote in quotes if (place := _place(source, quote)) is not None]
    if not placed:
        if len(text) <= SHORT:
            return f"<p>{as_text(text)}</p>"
        return (
            f"<details><summary>{as_text(_cut(text))} …</summary><p>{as_text(text)}</p></details>"
        )
    spans = _joined([place for place, _ in placed])
    marks = _joined([_mark(place, quote) for place, quote in placed])
    if marks == [(0, len(text))]:
        marks = []  # everything is quoted, so a mark would convey nothing
    begin = max(0, spans[0][0] - AROUND)
    end = min(len(text), spans[-1][1] + AROUND)
    if begin:
        begin = text.find(" ", begin) + 1 if " " in text[begin : spans[0][0]] else begin
    if end < len(text) and " " in text[spans[-1][1] : end]:
        end = text.rfind(" ", spans[-1][1], end)
    excerpt = f"{'… ' * bool(begin)}{_marked(text, marks, begin, end)}{' …' * (end < len(text))}"
    whole = (
        f"<details><summary>The whole passage</summary>"
        f"<p>{_marked(text, marks, 0, len(text))}</p></details>"
        if begin or end < len(text)
        else ""
    )
    return f"<p>{excerpt}</p>{whole}"


def marked_range(quote: Facts) -> Range | None:
    """Return the range of the answering sentence in the quote's text, or None if not given."""
    given = quote.get("marked")
    values = cast("list[object]", list(given)) if isinstance(given, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]
    match values:
        case [int(begin), int(end)] if 0 <= begin < end <= len(str(quote.get("text") or "")):
            return begin, end
        case _:
            return None


def _sentence(quote: Facts) -> str:
    text, place = str(quote.get("text") or ""), marked_range(quote)
    return text[place[0] : place[1]] if place else text


def _quotation(quote: Facts) -> str:
    text, place = str(quote.get("text") or ""), marked_range(quote)
    return _marked(text, [place] if place else [], 0, len(text))


def _mark(place: Range, quote: Facts) -> Range:
    """Return the range of a quotation's answering sentence in a passage, or of the whole quote."""
    inner = marked_range(quote)
    if inner is None:
        return place
    text = str(quote.get("text") or "")
    low = place[0] - (len(text) - len(text.lstrip()))
    return max(place[0], low + inner[0]), min(place[1], low + inner[1])


def _marked(text: str, places: Sequence[Range], begin: int, end: int) -> str:
    made: list[str] = []
    at = begin
    for low, high in places:
        made += [as_text(text[at:low]), f"<mark>{as_text(text[low:high])}</mark>"]
        at = high
    return "".join([*made, as_text(text[at:end])])


def _place(source: Facts, quote: Facts) -> Range | None:
    """Return the range of the quoted words in the passage, or None if they are not in it.

    Use the document's character positions if they match the words, otherwise search for the words:
    a passage may contain headings that the document does not.
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


def _joined(places: Sequence[Range]) -> list[Range]:
    """Return the ranges in order, merging those that touch."""
    made: list[Range] = []
    for low, high in sorted(places):
        if made and low <= made[-1][1]:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return made


def _cut(text: str) -> str:
    return text[:SHORT].rsplit(" ", 1)[0]
