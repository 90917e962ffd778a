"""Parse HTML, and read a post's title, `<meta>` elements, language, day and canonical address.

Scope: the tree without what no reader sees, and these fields of a page.
Out of scope: the post's text (`html_cleaning`).

The field names follow https://ogp.me/,
https://html.spec.whatwg.org/multipage/semantics.html#meta,
https://www.rfc-editor.org/rfc/rfc6596 (`rel="canonical"`), https://schema.org/datePublished and
https://microformats.org/wiki/h-entry (`dt-published`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# Numeric references to these characters; the pattern also matches a few that are allowed.
_FORBIDDEN_NUMBER = re.compile(
    "&#(?:0*(?:[0-9]|[12][0-9]|3[01]|6553[45])(?![0-9])"
    "|[xX]0*(?:1?[0-9a-fA-F]|[fF]{3}[efEF])(?![0-9a-fA-F]))"
)
_PUBLISHED_CLASS = re.compile(
    r"(?:dt-)?published|(?:entry|post|article|publish|published|pub)[-_]?(?:date|time)",
    re.IGNORECASE,
)
_PUBLISHED_JSON = re.compile(r'"datePublished"\s*:\s*"([^"]+)"')
_MAX_WORDS_BESIDE_TIME = 6
# The value `until-found` is a browser's to show.
_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*display\s*:\s*none\b", re.IGNORECASE)
_MAX_HIDDEN_SHARE = 1 / 3
_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]{0,60})\b[^<>]{0,2000}>")
# Elements that hold no other ones, or that the next one of the kind ends.
_UNNESTED_TAGS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
    | {"p", "li", "dt", "dd", "tr", "td", "th", "option", "pre", "code", "script", "style"}
)
_MAX_NESTED_TAGS = 80  # with items, cells and paragraphs between them, at most 240 levels
_END_TAG = re.compile(r"</(?:html|body)\s*>", re.IGNORECASE)
_EARLY_END = re.compile(r"</html\s*>\s*(?!<!--)\S", re.IGNORECASE)
_START_PAGE = re.compile(r"(?:https?://[^/]+)?/?(?:\.{1,2}/)*(?:index\.html?)?", re.IGNORECASE)


@dataclass(frozen=True)
class HtmlHead:
    """The head of a page.

    Attributes:
        title: the `<h1>` that names the post rather than the site, or else the `<title>`.
        meta: the first content for each lower-case name (`og:url`).
        canonical: the address as written in the page, or "".
        language: the BCP 47 tag in `<html lang>`, or "".
        published: the time of publication that the page states outside its head, or "".
    """

    title: str = ""
    meta: dict[str, str] = field(default_factory=dict[str, str])
    canonical: str = ""
    language: str = ""
    published: str = ""


def read_head(content: str) -> HtmlHead:
    """Read the head of a page or of a bare fragment; missing fields are empty."""
    document = parse_html(content)
    if document is None:
        return HtmlHead()
    meta: dict[str, str] = {}
    for element in document.iter("meta"):
        name = element.get("name") or element.get("property")
        if name and element.get("content"):
            meta.setdefault(str(name).lower(), str(element.get("content")))
    links = (
        str(element.get("href") or "").strip()
        for element in document.iter("link")
        if "canonical" in str(element.get("rel") or "").lower().split()
    )
    return HtmlHead(
        title=_choose_title(document, meta),
        meta=meta,
        canonical=next(filter(None, links), ""),
        language=str(document.get("lang") or "").strip(),
        published=_find_published_time(document, content),
    )


def _find_published_time(document: Any, content: str) -> str:
    """Return the time that the page marks as its publication, or its only time, or "".

    A single `<time>` within a sentence is a part of the text.
    """
    times: list[tuple[str, Any]] = []
    for element in document.iter("time", "meta", "span", "abbr"):
        value = element.get("datetime") or element.get("content") or element.get("title")
        is_time = element.tag == "time"
        if not value and not is_time:
            continue
        text = str(value or _read_text(element)).strip()
        classes = str(element.get("class") or "").split()
        is_marked = element.get("pubdate") is not None or any(
            map(_PUBLISHED_CLASS.fullmatch, classes)
        )
        if element.get("itemprop") == "datePublished" or (is_marked and element.tag != "meta"):
            return text
        if is_time:
            times.append((text, element))
    if match := _PUBLISHED_JSON.search(content):
        return match[1]
    if len({text for text, _ in times}) != 1:
        return ""
    text, element = times[0]
    beside = _read_text(element.getparent()).split()
    return text if len(beside) <= len(_read_text(element).split()) + _MAX_WORDS_BESIDE_TIME else ""


def _choose_title(document: Any, meta: Mapping[str, str]) -> str:
    """Return the heading that names the post; many pages have another one with the site's name."""
    page_titles = [text for element in document.iter("title") if (text := _read_text(element))]
    named = [meta.get("og:title", "").strip(), *page_titles, ""]
    headings = {text: element for element in document.iter("h1") if (text := _read_text(element))}
    site_name = meta.get("og:site_name", "").strip()
    posts_headings = [
        text
        for text, element in headings.items()
        if text != site_name and not (len(headings) > 1 and _links_to_start_page(element))
    ]
    if not posts_headings:
        return named[0] or next(filter(None, [*headings, *named]), "")
    inside = [text for text in posts_headings if _is_in_article(headings[text])]
    beginning = [text for text in posts_headings if any(name.startswith(text) for name in named)]
    return (inside or beginning or posts_headings)[0]


def _read_text(element: Any) -> str:
    # A `<title>` of an SVG picture is no HTML element.
    is_html = hasattr(element, "text_content")
    return " ".join(str(element.text_content()).split()) if is_html else ""


def _is_in_article(element: Any) -> bool:
    return any(ancestor.tag in {"article", "main"} for ancestor in element.iterancestors())


def _links_to_start_page(element: Any) -> bool:
    anchors = [*element.iter("a"), *(a for a in element.iterancestors() if a.tag == "a")]
    addresses = [str(anchor.get("href")) for anchor in anchors if anchor.get("href")]
    return any(_START_PAGE.fullmatch(address) for address in addresses)


def parse_html(content: str) -> Any:
    """Return an lxml tree of a page or a fragment, or None if there is nothing to parse.

    The parser ends at `</html>`; browsers show what follows, so early end tags are removed.

    It takes bytes, because lxml rejects text that names an encoding in an XML declaration.
    Characters that XML forbids are removed, because lxml reads them (`&#8;`) but cannot write them.
    """
    lxml_html: Any = import_module("lxml.html")
    etree: Any = import_module("lxml.etree")
    if _EARLY_END.search(content):
        content = _END_TAG.sub("", content)
    try:
        parser = lxml_html.HTMLParser(encoding="utf-8")
        tree = lxml_html.document_fromstring(content.encode("utf-8", "replace"), parser=parser)
        if is_cut_short(parser):
            flat = remove_deep_tags(content).encode("utf-8", "replace")
            tree = lxml_html.document_fromstring(flat, parser=parser)
    except etree.ParserError:
        return None
    if not (_FORBIDDEN.search(content) or _FORBIDDEN_NUMBER.search(content)):
        return tree
    for node in tree.iter():
        node.tail = _FORBIDDEN.sub("", node.tail or "") or None
        # Any other node is a comment, which is not used.
        if isinstance(node.tag, str):
            node.text = _FORBIDDEN.sub("", node.text or "") or None
    return tree


def is_cut_short(parser: Any) -> bool:
    """Return whether an lxml parser stopped at 256 levels of elements, without the rest."""
    error = parser.error_log.last_error
    return error is not None and error.type_name == "ERR_RESOURCE_LIMIT"


def remove_deep_tags(source: str) -> str:
    """Return HTML without the tags of deeply nested elements, but with their text."""
    pieces: list[str] = []
    position = depth = 0
    for tag in _TAG.finditer(source):
        if tag[2].lower() in _UNNESTED_TAGS:
            continue
        depth = max(0, depth - 1) if tag[1] else depth + 1
        if depth + bool(tag[1]) > _MAX_NESTED_TAGS:
            pieces += [source[position : tag.start()], " "]
            position = tag.end()
    return "".join([*pieces, source[position:]])


def drop_hidden_elements(tree: Any, source: str) -> None:
    """Remove what the page hides with `hidden` or `display: none`, such as an e-mail's preheader.

    Formulas and a large part of the text stay: scripts show what is hidden until the page is ready.

    Args:
        source: the tree's source, which is searched first, because few pages hide anything.
    """
    lower_case_source = source.lower()
    if "hidden" not in lower_case_source and "display" not in lower_case_source:
        return
    total: int | None = None
    for element in tree.xpath("//body//*[@hidden or @style]"):
        is_hidden = str(element.get("hidden", "until-found")).lower() != "until-found"
        if not is_hidden and not _HIDDEN_STYLE.search(str(element.get("style") or "")):
            continue
        if total is None:
            total = _count_letters(tree)
        parent, previous = element.getparent(), element.getprevious()
        if (
            parent is None
            or next(element.iter("math"), None) is not None
            or _count_letters(element) > _MAX_HIDDEN_SHARE * total
        ):
            continue
        if previous is None:
            parent.text = (parent.text or "") + (element.tail or "")
        else:
            previous.tail = (previous.tail or "") + (element.tail or "")
        parent.remove(element)


def _count_letters(element: Any) -> int:
    return sum(len("".join(text.split())) for text in element.itertext())
