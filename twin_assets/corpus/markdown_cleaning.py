"""Clean a Markdown post: keep words, punctuation and code, and remove everything else.

The parser (https://markdown-it-py.readthedocs.io/, CommonMark 0.31 with tables and strikethrough of
GitHub Flavored Markdown) writes HTML, and the walk of every HTML post turns it into Markdown again
(`html_markdown`): without targets of links, images, reference definitions, footnote marks and
template tags, and with raw HTML treated as in any other post. No pattern removes text from the
source, because a pattern cannot distinguish `[text](target)` in a sentence from the same characters
in a code block.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from itertools import chain
from typing import TYPE_CHECKING, Any

from twin_assets.corpus.code_blocks import fence_code, replace_highlights
from twin_assets.corpus.html_markdown import (
    DROPPED_TAGS,
    FORMULA,
    MARK,
    html_to_markdown,
    remove_title,
)
from twin_assets.corpus.markdown_escapes import mark_escaped_character, resolve_escapes
from twin_assets.corpus.markdown_syntax import build_basic_parser
from twin_assets.corpus.mdx_syntax import add_mdx_rules, has_mdx_import
from twin_assets.corpus.template_tags import remove_html_template_tags, replace_raw_tags

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_DRAWING = re.compile(r"^# Excalidraw Data$|^==⚠ +Switch to EXCALIDRAW VIEW", re.MULTILINE)
_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<(/?)([A-Za-z][\w:.-]{0,60})(?=[\s/>])[^<>]{0,2000}>", re.DOTALL
)
_VOID_TAGS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
# Where one of these is not closed, it ends with its block.
_ENDED_WITH_BLOCK = frozenset(
    {"p", "blockquote", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot"}
)
_HIDDEN_TAGS = frozenset({"script", "style", "svg"})
# A sentence may mention these tags without using them.
_NEVER_INLINE_TAGS = frozenset(
    {"title", "select", "button", "textarea", "object", "form", "noscript", "canvas", "iframe"}
    | {"html", "head", "body", "video", "audio", "option", "plaintext", "xmp", "template"}
)


def clean_markdown(text: str, *, title: str = "", is_mdx: bool = False) -> str:
    """Clean one post.

    Args:
        text: the Markdown, without front matter.
        title: the post's title; a first level-one heading with the same text is removed.
        is_mdx: whether the file is MDX; a post that begins with an MDX `import` is also parsed as
            MDX.

    Returns:
        Markdown: blocks separated by one empty line, one line per paragraph, code and formulas
        unchanged; "" for a drawing.
    """
    if "xcalidraw" in text.lower() and _DRAWING.search(text):
        return ""
    source = replace_raw_tags(replace_highlights(text, fence_code))
    parser = _build_parser(is_mdx or has_mdx_import(source))
    tokens = parser.parse(source)
    if "<" in source:
        _remove_unclosed_tags(tokens)
    markdown = html_to_markdown(parser.renderer.render(tokens, parser.options, {}))
    return remove_title(resolve_escapes(markdown), title)


def _remove_unclosed_tags(tokens: Sequence[Token]) -> None:
    """Remove tags that are not closed, or that a sentence mentions, from raw HTML.

    Otherwise an element would extend to the end of the post, and a `<script>` mentioned in a
    sentence would remove the rest of it. The tags of a form or a player around Markdown are removed
    too, as the Markdown is text of the post.
    """
    tags: list[tuple[Token, str, re.Match[str]]] = []
    for token in chain.from_iterable((block, *(block.children or ())) for block in tokens):
        if token.type in {"html_block", "html_inline"}:
            token.content = remove_html_template_tags(token.content)
            found = (tag for tag in _TAG.finditer(token.content) if tag[2])
            tags += [(token, tag[2].lower(), tag) for tag in found]
    open_tags: list[int] = []
    open_counts: Counter[str] = Counter()
    removed: set[int] = set()
    for index, (token, name, tag) in enumerate(tags):
        if name in _VOID_TAGS:
            continue
        if token.type == "html_inline" and name in _NEVER_INLINE_TAGS:
            removed.add(index)
        elif not tag[1]:
            open_tags.append(index)
            open_counts[name] += 1
        elif not open_counts[name]:
            removed.add(index)
        else:
            while tags[opening := open_tags.pop()][1] != name:
                removed.add(opening)
                open_counts[tags[opening][1]] -= 1
            open_counts[name] -= 1
            if name in DROPPED_TAGS - _HIDDEN_TAGS and tags[opening][0] is not token:
                removed |= {opening, index}
    for index in sorted(removed.union(open_tags), reverse=True):
        token, name, tag = tags[index]
        if token.type == "html_block" and name in _ENDED_WITH_BLOCK and not tag[1]:
            token.content += f"</{name}>"
        else:
            token.content = token.content[: tag.start()] + token.content[tag.end() :]


@lru_cache(maxsize=2)
def _build_parser(is_mdx: bool) -> MarkdownIt:
    """Return a parser whose HTML has what `html_markdown` needs beyond CommonMark."""
    parser = build_basic_parser()
    if is_mdx:
        add_mdx_rules(parser)
    for name in ("em_open", "strong_open"):
        parser.add_render_rule(name, _render_emphasis)
    parser.add_render_rule("code_inline", _render_code)
    parser.add_render_rule("html_block", _render_html_block)
    parser.add_render_rule("math_inline", _render_formula)
    parser.add_render_rule("math_block", _render_displayed_formula)
    parser.add_render_rule("text_special", _render_escaped)
    parser.add_render_rule("image", lambda *_: "")
    return parser


def _render_emphasis(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f'<{tokens[index].tag} {MARK}="{tokens[index].markup}">'


def _render_code(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f'<code {MARK}="">{escape(tokens[index].content)}</code>'


def _render_html_block(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    """Return raw HTML after a tag that ends a paragraph, as its own tags may be unknown."""
    return f"<hr>{tokens[index].content}"


def _render_formula(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f"<{FORMULA}>{escape(tokens[index].content)}</{FORMULA}>"


def _render_displayed_formula(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f'<pre class="{FORMULA}">{escape(tokens[index].content)}</pre>'


def _render_escaped(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return escape(mark_escaped_character(tokens[index].content))
