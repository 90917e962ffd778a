"""What an answer rests on, as cards beside it: the post, its date, the passage, the quoted words.

Belongs here: HTML of sources, quotes, nearest posts and the facts of an answer; nothing of it is
markup of anyone else (`readable.py`). Does not belong here: where these come from (the gateway's
`twin` field), widgets (`chat_tab.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twin_resources.gateway.chat.readable import as_text, web_address

AROUND = 160  # characters of the passage that are shown on each side of the quoted words
SHORT = 280  # of a passage that nothing is quoted from

Facts = Mapping[str, Any]
Range = tuple[int, int]

_HEADINGS = {
    "not_written_about": "Not written about",
    "quote": "Quoted",
    "quote_and_voice": "Quoted, then in this voice",
    "voice": "In this voice",
}


def cards(facts: Facts) -> str:
    """The column beside an answer; an invitation while there is none."""
    if not facts:
        return _empty("The posts that an answer rests on stand here.")
    sources: Sequence[Facts] = facts.get("sources") or ()
    quotes: Sequence[Facts] = facts.get("quotes") or ()
    nearest: Sequence[Facts] = facts.get("nearest") or ()
    parts: list[str] = []
    if nearest and not quotes:
        parts.append('<h2 class="twin-h">The nearest posts</h2>')
        parts += [_card(post, body="") for post in nearest]
    elif sources or quotes:
        parts.append(f'<h2 class="twin-h">{_heading(quotes, sources)}</h2>')
        parts += _source_cards(sources, quotes)
    else:
        parts.append(_empty("No post was found for this question."))
    return f'<div class="twin-cards">{"".join([*parts, about(facts)])}</div>'


def about(facts: Facts) -> str:
    """Who answered, how and for how much, folded away; the disclosure stands open."""
    trace = str(facts.get("trace_id") or "")
    rows = {
        "Kind": as_text(_HEADINGS.get(str(facts.get("answer")), "")),
        "Version": as_text(facts.get("version", "")),
        "Route": as_text(facts.get("route", "")),
        "Released for": as_text(_forms(facts.get("released_for"))),
        "Cost": cost(facts.get("cost_usd")),
        "Degraded": as_text(facts.get("degraded") or ""),
        "Trace": trace_link(trace),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items() if text)
    disclosure_text = str(facts.get("disclosure") or "")
    disclosure = (
        f'<p class="twin-disclosure">{as_text(disclosure_text)}</p>' if disclosure_text else ""
    )
    return (
        f'{disclosure}<details class="twin-about"><summary>About this answer</summary>'
        f"<dl>{listed}</dl></details>"
    )


def _forms(released: object) -> str:
    """The forms of answers that a version may give, in words; empty when it is not told."""
    if not isinstance(released, list):
        return ""
    forms = [str(form) for form in cast("list[object]", released)]
    return "; ".join(_HEADINGS.get(form, form) for form in forms)


def trace_link(trace: str, *, named: str = "") -> str:
    """A link that opens a trace in the page, under its id or a name; empty without one."""
    if not trace:
        return ""
    shown = as_text(named) if named else f"<code>{as_text(trace)}</code>"
    return f'<a href="/?trace={as_text(trace)}" data-trace="{as_text(trace)}">{shown}</a>'


def cost(usd: object) -> str:
    """Dollars, with as many digits as a small amount needs."""
    return f"${usd:.6f}" if isinstance(usd, int | float) else "not known"


def _heading(quotes: Sequence[Facts], sources: Sequence[Facts]) -> str:
    count = len({str(post.get("document_id")) for post in (*quotes, *sources)})
    return f"From {count} post{'s' * (count != 1)}"


def _source_cards(sources: Sequence[Facts], quotes: Sequence[Facts]) -> list[str]:
    """A card a post: quoted ones first, in the order of their quotes."""
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
        bodies = [f"<p><mark>{as_text(quote.get('text', ''))}</mark></p>" for quote in loose] + (
            bodies
        )
        made.append(_card((mine or passages)[0], body="".join(bodies), quoted=bool(mine)))
    return made


def _card(post: Facts, *, body: str, quoted: bool = False) -> str:
    title = as_text(post.get("title") or post.get("document_id") or "a post")
    url = web_address(str(post.get("url") or ""))
    named = (
        f'<a href="{as_text(url)}" target="_blank" rel="noopener noreferrer">{title}</a>'
        if url
        else title
    )
    date = str(post.get("published_at") or "")[:10]
    dated = f'<time datetime="{as_text(date)}">{as_text(date)}</time>' if date else ""
    kind = " twin-quoted" if quoted else ""
    return (
        f'<article class="twin-card{kind}"><header><h3>{named}</h3>{dated}</header>{body}</article>'
    )


def _passage(source: Facts, quotes: Sequence[Facts]) -> str:
    """The words around what is quoted, which is marked; the rest of the passage unfolds."""
    text = str(source.get("text") or "")
    places = _joined([place for quote in quotes if (place := _place(source, quote)) is not None])
    if not places:
        if len(text) <= SHORT:
            return f"<p>{as_text(text)}</p>"
        return (
            f"<details><summary>{as_text(_cut(text))} …</summary><p>{as_text(text)}</p></details>"
        )
    begin = max(0, places[0][0] - AROUND)
    end = min(len(text), places[-1][1] + AROUND)
    if begin:
        begin = text.find(" ", begin) + 1 if " " in text[begin : places[0][0]] else begin
    if end < len(text) and " " in text[places[-1][1] : end]:
        end = text.rfind(" ", places[-1][1], end)
    excerpt = f"{'… ' * bool(begin)}{_marked(text, places, begin, end)}{' …' * (end < len(text))}"
    whole = (
        f"<details><summary>The whole passage</summary>"
        f"<p>{_marked(text, places, 0, len(text))}</p></details>"
        if begin or end < len(text)
        else ""
    )
    return f"<p>{excerpt}</p>{whole}"


def _marked(text: str, places: Sequence[Range], begin: int, end: int) -> str:
    made: list[str] = []
    at = begin
    for low, high in places:
        made += [as_text(text[at:low]), f"<mark>{as_text(text[low:high])}</mark>"]
        at = high
    return "".join([*made, as_text(text[at:end])])


def _place(source: Facts, quote: Facts) -> Range | None:
    """Where in the passage the quoted words stand; None: elsewhere.

    By the document's characters where these lead to the words, else by the words: a passage may
    hold headings that the document does not.
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
    """Ranges in order, those that touch as one."""
    made: list[Range] = []
    for low, high in sorted(places):
        if made and low <= made[-1][1]:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return made


def _cut(text: str) -> str:
    return text[:SHORT].rsplit(" ", 1)[0]


def _empty(text: str) -> str:
    return f'<p class="twin-empty">{as_text(text)}</p>'
