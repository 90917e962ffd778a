"""Convert documents of Ghost's two editors, Lexical and Mobiledoc, to HTML of the author's words.

Scope: paragraphs, headings, lists, code, Markdown and HTML cards, callouts, toggles.
Out of scope: cards that show other pages or ask for something (bookmark, embed, button,
sign-up, product, file …) and parts for members only: they are left out.

Formats: https://lexical.dev/docs/concepts/nodes and
https://docs.ghost.org/admin-api/posts/overview,
https://github.com/bustle/mobiledoc-kit/blob/master/MOBILEDOC.md.
"""
# pyright: strict

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any, cast

from twin_assets.corpus.importers.json_rows import member, objects, string

_MAX_DEPTH = 100
_GATED = re.compile(r"<!--\s*kg-gated-block:begin\b([^>]*)-->")
_GATED_END = "<!--kg-gated-block:end-->"
_MEMBERS_ONLY = re.compile(r"<!--\s*members-only\s*-->")
_LEXICAL_TAGS = {
    "paragraph": "p",
    "quote": "blockquote",
    "extended-quote": "blockquote",
    "aside": "blockquote",
    "listitem": "li",
}
_FORMATS = ((1, "strong"), (2, "em"), (16, "code"))
_SECTION_TAGS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "aside", "ul", "ol"}
)


class BrokenDocumentError(ValueError):
    """The document is not valid JSON of its editor."""


def without_gated_parts(page: str) -> str:
    """Return a page's HTML as shown without an account: no gated block, nothing below the paywall.

    Ghost's renderer marks both with comments.
    """
    wall = _MEMBERS_ONLY.search(page)
    page = page[: wall.start()] if wall else page
    parts: list[str] = []
    at = 0
    for begin in _GATED.finditer(page):
        if begin.start() < at or "nonMember:true" in begin[1]:
            continue
        parts.append(page[at : begin.start()])
        end = page.find(_GATED_END, begin.end())
        at = len(page) if end < 0 else end + len(_GATED_END)
    return "".join([*parts, page[at:]])


def lexical_as_html(document: str) -> str:
    """Return a Lexical document's words as HTML.

    Raises:
        BrokenDocumentError: it has no root.
    """
    root = _parsed(document).get("root")
    if not isinstance(root, dict):
        raise BrokenDocumentError("no root")
    return "\n".join(_node(child, 0) for child in objects(cast("dict[str, Any]", root), "children"))


def mobiledoc_as_html(document: str) -> str:
    """Return a Mobiledoc's words as HTML.

    Raises:
        BrokenDocumentError: it has no sections.
    """
    parsed = _parsed(document)
    if not isinstance(parsed.get("sections"), list):
        raise BrokenDocumentError("no sections")
    cards, atoms = _list(parsed.get("cards")), _list(parsed.get("atoms"))
    return "\n".join(_section(_list(each), cards, atoms) for each in _list(parsed["sections"]))


def _parsed(document: str) -> dict[str, Any]:
    try:
        loaded: object = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BrokenDocumentError("no JSON") from error
    if not isinstance(loaded, dict):
        raise BrokenDocumentError("no object")
    return cast("dict[str, Any]", loaded)


def _node(node: Mapping[str, Any], depth: int) -> str:
    """Convert one Lexical node; an unknown card without child nodes is left out."""
    if depth > _MAX_DEPTH:
        raise BrokenDocumentError("nested too deeply")
    kind = string(node, "type")
    if kind in {"text", "extended-text", "code-highlight", "tk"}:
        return _styled(string(node, "text"), member(node, "format"))
    if kind == "linebreak":
        return "<br>"
    if kind in {"codeblock", "markdown", "html", "callout", "toggle"}:
        return _card(kind, node)
    inside = "".join(_node(child, depth + 1) for child in objects(node, "children"))
    if kind in {"heading", "extended-heading"}:
        tag = string(node, "tag") if re.fullmatch("h[1-6]", string(node, "tag")) else "h2"
        return f"<{tag}>{inside}</{tag}>"
    if kind == "list":
        tag = "ol" if string(node, "listType") == "number" else "ul"
        return f"<{tag}>{inside}</{tag}>"
    tag = _LEXICAL_TAGS.get(kind)
    return f"<{tag}>{inside}</{tag}>" if tag else inside


def _styled(text: str, styles: object) -> str:
    styled = html.escape(text, quote=False)
    for bit, tag in _FORMATS:
        if isinstance(styles, int) and styles & bit:
            styled = f"<{tag}>{styled}</{tag}>"
    return styled


def _section(section: list[object], cards: list[object], atoms: list[object]) -> str:
    """Convert `[1, tag, markers]`, `[3, tag, items]` or `[10, card]`; pictures (2) are dropped."""
    kind = section[0] if section else None
    if kind in (1, 3) and len(section) >= 3:
        tag = section[1] if section[1] in _SECTION_TAGS else "p"
        if kind == 1:
            return f"<{tag}>{_markers(_list(section[2]), atoms)}</{tag}>"
        rows = [f"<li>{_markers(_list(row), atoms)}</li>" for row in _list(section[2])]
        return f"<{tag}>{''.join(rows)}</{tag}>"
    if kind == 10 and len(section) >= 2:
        card = _list(_at(cards, section[1]))
        fields = card[1] if len(card) > 1 else None
        if isinstance(fields, dict):
            return _card(str(card[0]), cast("dict[str, Any]", fields))
    return ""


def _markers(markers: list[object], atoms: list[object]) -> str:
    """Join `[0, opened, closed, text]` and `[1, opened, closed, atom]`, without emphasis."""
    parts: list[str] = []
    for marker in markers:
        fields = _list(marker)
        if len(fields) < 4:
            continue
        if fields[0] == 0 and isinstance(fields[3], str):
            parts.append(html.escape(fields[3], quote=False))
        elif fields[0] == 1:
            atom = _list(_at(atoms, fields[3]))
            parts.append("<br>" if atom[:1] == ["soft-return"] else "")
    return "".join(parts)


def _card(kind: str, fields: Mapping[str, Any]) -> str:
    """Convert Markdown, HTML, code, callouts and toggles of both editors; "" for other cards."""
    if kind in {"markdown", "card-markdown"}:
        from markdown_it import MarkdownIt

        return MarkdownIt("commonmark").render(string(fields, "markdown"))
    if kind == "html":
        return string(fields, "html")
    if kind in {"code", "codeblock"}:
        language = re.sub(r"[^\w+#-]", "", string(fields, "language"))
        mark = f' class="language-{language}"' if language else ""
        code = html.escape(string(fields, "code"), quote=False)
        return f"<pre><code{mark}>{code}</code></pre>"
    if kind == "callout":
        return f"<p>{string(fields, 'calloutText')}</p>"
    if kind == "toggle":
        return f"<h4>{string(fields, 'heading')}</h4>\n{string(fields, 'content')}"
    return ""


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _at(values: list[object], index: object) -> object:
    return values[index] if isinstance(index, int) and 0 <= index < len(values) else None
