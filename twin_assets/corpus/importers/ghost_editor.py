"""Convert documents of Ghost's two editors, Lexical and Mobiledoc, to HTML.

Scope: paragraphs, headings, lists, code, Markdown and HTML cards, callouts, toggles.
Out of scope: cards that show other pages or prompt the reader (bookmark, embed, button,
sign-up, product, file …) and members-only parts, which are omitted.

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

from twin_assets.corpus.importers.json_rows import get_member, get_objects, get_string

_MAX_DEPTH = 100
_GATED_START = re.compile(r"<!--\s*kg-gated-block:begin\b([^>]*)-->")
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
    """A document that is not valid for its editor."""


def remove_gated_parts(page: str) -> str:
    """Return a page's HTML as shown without an account: no gated blocks or text below the paywall.

    Ghost's renderer marks both with comments.
    """
    wall = _MEMBERS_ONLY.search(page)
    page = page[: wall.start()] if wall else page
    parts: list[str] = []
    position = 0
    for begin in _GATED_START.finditer(page):
        if begin.start() < position or "nonMember:true" in begin[1]:
            continue
        parts.append(page[position : begin.start()])
        end = page.find(_GATED_END, begin.end())
        position = len(page) if end < 0 else end + len(_GATED_END)
    return "".join([*parts, page[position:]])


def lexical_to_html(document: str) -> str:
    """Return a Lexical document's words as HTML.

    Raises:
        BrokenDocumentError: the document is not a JSON object or has no root.
    """
    root = _parse_document(document).get("root")
    if not isinstance(root, dict):
        raise BrokenDocumentError("it has no root")
    return "\n".join(
        _render_node(child, 0) for child in get_objects(cast("dict[str, Any]", root), "children")
    )


def mobiledoc_to_html(document: str) -> str:
    """Return a Mobiledoc's words as HTML.

    Raises:
        BrokenDocumentError: the document is not a JSON object or has no sections.
    """
    parsed = _parse_document(document)
    if not isinstance(parsed.get("sections"), list):
        raise BrokenDocumentError("it has no sections")
    cards, atoms = _as_list(parsed.get("cards")), _as_list(parsed.get("atoms"))
    return "\n".join(
        _render_section(_as_list(each), cards, atoms) for each in _as_list(parsed["sections"])
    )


def _parse_document(document: str) -> dict[str, Any]:
    try:
        loaded: object = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BrokenDocumentError("it is not JSON") from error
    if not isinstance(loaded, dict):
        raise BrokenDocumentError("it is not a JSON object")
    return cast("dict[str, Any]", loaded)


def _render_node(node: Mapping[str, Any], depth: int) -> str:
    """Convert one Lexical node; an unknown card without child nodes is omitted."""
    if depth > _MAX_DEPTH:
        raise BrokenDocumentError("it is nested too deeply")
    kind = get_string(node, "type")
    if kind in {"text", "extended-text", "code-highlight", "tk"}:
        return _apply_styles(get_string(node, "text"), get_member(node, "format"))
    if kind == "linebreak":
        return "<br>"
    if kind in {"codeblock", "markdown", "html", "callout", "toggle"}:
        return _render_card(kind, node)
    children_html = "".join(
        _render_node(child, depth + 1) for child in get_objects(node, "children")
    )
    if kind in {"heading", "extended-heading"}:
        tag = get_string(node, "tag") if re.fullmatch("h[1-6]", get_string(node, "tag")) else "h2"
        return f"<{tag}>{children_html}</{tag}>"
    if kind == "list":
        tag = "ol" if get_string(node, "listType") == "number" else "ul"
        return f"<{tag}>{children_html}</{tag}>"
    tag = _LEXICAL_TAGS.get(kind)
    return f"<{tag}>{children_html}</{tag}>" if tag else children_html


def _apply_styles(text: str, styles: object) -> str:
    styled = html.escape(text, quote=False)
    for bit, tag in _FORMATS:
        if isinstance(styles, int) and styles & bit:
            styled = f"<{tag}>{styled}</{tag}>"
    return styled


def _render_section(section: list[object], cards: list[object], atoms: list[object]) -> str:
    """Convert `[1, tag, markers]`, `[3, tag, items]` or `[10, card]`; pictures (2) are dropped."""
    kind = section[0] if section else None
    if kind in (1, 3) and len(section) >= 3:
        tag = section[1] if section[1] in _SECTION_TAGS else "p"
        if kind == 1:
            return f"<{tag}>{_render_markers(_as_list(section[2]), atoms)}</{tag}>"
        rows = [f"<li>{_render_markers(_as_list(row), atoms)}</li>" for row in _as_list(section[2])]
        return f"<{tag}>{''.join(rows)}</{tag}>"
    if kind == 10 and len(section) >= 2:
        card = _as_list(_get_item(cards, section[1]))
        fields = card[1] if len(card) > 1 else None
        if isinstance(fields, dict):
            return _render_card(str(card[0]), cast("dict[str, Any]", fields))
    return ""


def _render_markers(markers: list[object], atoms: list[object]) -> str:
    """Join `[0, opened, closed, text]` and `[1, opened, closed, atom]`, without emphasis."""
    parts: list[str] = []
    for marker in markers:
        fields = _as_list(marker)
        if len(fields) < 4:
            continue
        if fields[0] == 0 and isinstance(fields[3], str):
            parts.append(html.escape(fields[3], quote=False))
        elif fields[0] == 1:
            atom = _as_list(_get_item(atoms, fields[3]))
            parts.append("<br>" if atom[:1] == ["soft-return"] else "")
    return "".join(parts)


def _render_card(kind: str, fields: Mapping[str, Any]) -> str:
    """Convert Markdown, HTML, code, callouts and toggles of both editors; "" for other cards."""
    if kind in {"markdown", "card-markdown"}:
        from markdown_it import MarkdownIt

        return MarkdownIt("commonmark").render(get_string(fields, "markdown"))
    if kind == "html":
        return get_string(fields, "html")
    if kind in {"code", "codeblock"}:
        language = re.sub(r"[^\w+#-]", "", get_string(fields, "language"))
        mark = f' class="language-{language}"' if language else ""
        code = html.escape(get_string(fields, "code"), quote=False)
        return f"<pre><code{mark}>{code}</code></pre>"
    if kind == "callout":
        return f"<p>{get_string(fields, 'calloutText')}</p>"
    if kind == "toggle":
        return f"<h4>{get_string(fields, 'heading')}</h4>\n{get_string(fields, 'content')}"
    return ""


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _get_item(values: list[object], index: object) -> object:
    return values[index] if isinstance(index, int) and 0 <= index < len(values) else None
