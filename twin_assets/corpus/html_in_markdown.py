"""Convert raw HTML in a Markdown post to Markdown, using the renderer for HTML posts.

Scope: grouping the blocks that a tag spans, and rendering them together. Out of scope: the Markdown
equivalent of a tag (`html_markdown`), blocks without tags (`markdown_cleaning`).

Any number of Markdown blocks may stand between `<blockquote>` and `</blockquote>`, so they must be
rendered together with the tags. A tag that is never closed is removed. Otherwise it would extend to
the end of the post, and a `<script>` mentioned in a sentence would remove the rest of the post.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from twin_assets.corpus.html_fragment import fragment_to_markdown, is_east_asian
from twin_assets.corpus.html_markdown import FORMULA
from twin_assets.corpus.markdown_escapes import mark_escaped_character
from twin_assets.corpus.template_tags import remove_html_template_tags

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,60})(?=[\s/>])([^<>]{0,2000})>")
_VOID_TAGS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
# Blocks with these tags are rendered as HTML; other tags are replaced with their text.
_RENDERED_TAGS = frozenset(
    {"b", "strong", "i", "em", "s", "del", "strike", "code", "tt", "q", "sup", "sub", "math"}
    | {"blockquote", "pre", "table", "thead", "tbody", "tfoot", "tr", "td", "th"}
    | {"ul", "ol", "li", "dl", "dt", "dd", "menu", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"script", "style", "svg"}
)
_OPTIONAL_END_TAGS = frozenset({"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot"})
# A sentence may mention these tags without using them.
_NEVER_INLINE_TAGS = frozenset(
    {"title", "select", "button", "textarea", "object", "form", "noscript", "canvas", "iframe"}
    | {"html", "head", "body", "video", "audio", "option", "plaintext", "xmp", "template"}
)


@dataclass(slots=True)
class _Tag:
    """A tag in the source of `token`; it is kept if it is closed or needs no closing tag."""

    token: Token
    start: int
    end: int
    is_closing: bool
    name: str
    block_index: int
    is_kept: bool = False

    @property
    def is_inline(self) -> bool:
        return self.token.type == "html_inline"


def group_blocks(tokens: Sequence[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Yield groups of top-level blocks in order, each with a flag for HTML to render.

    The blocks that an element spans form one group. Tags that are never closed are removed from the
    tokens.
    """
    blocks, tags = _collect_blocks_and_tags(tokens)
    last_blocks = _map_block_spans(tags)
    first_block = 0
    while first_block < len(blocks):
        last_block = block_index = first_block
        while block_index <= last_block:
            last_block = max(last_block, last_blocks.get(block_index, block_index))
            block_index += 1
        group = [token for block in blocks[first_block : last_block + 1] for token in block]
        yield group, first_block in last_blocks
        first_block = last_block + 1


def html_blocks_to_markdown(tokens: Sequence[Token]) -> str:
    """Convert blocks that contain raw HTML to Markdown."""
    parser = _build_html_renderer()
    return fragment_to_markdown(parser.renderer.render(tokens, parser.options, {}))


def _collect_blocks_and_tags(tokens: Sequence[Token]) -> tuple[list[list[Token]], list[_Tag]]:
    blocks: list[list[Token]] = []
    tags: list[_Tag] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            blocks.append([])
        depth += token.nesting
        blocks[-1].append(token)
        if token.type == "html_block":
            token.content = remove_html_template_tags(token.content)
            tags += _find_tags(token, len(blocks) - 1)
        for child in token.children or ():
            if child.type == "html_inline":
                tags += _find_tags(child, len(blocks) - 1)
    return blocks, tags


def _find_tags(token: Token, block_index: int) -> list[_Tag]:
    return [
        _Tag(token, tag.start(), tag.end(), bool(tag[1]), tag[2].lower(), block_index)
        for tag in _TAG.finditer(token.content)
        if not token.content.startswith("<!--")
    ]


def _map_block_spans(tags: Sequence[_Tag]) -> dict[int, int]:
    """Map each block with HTML to the last block that must be rendered together with it."""
    last_blocks = {tag.block_index: tag.block_index for tag in tags if not tag.is_inline}
    for opening_tag, closing_tag in _pair_tags(tags):
        is_same_token = opening_tag.token is closing_tag.token
        if opening_tag.name in _RENDERED_TAGS:
            last_blocks[opening_tag.block_index] = max(
                last_blocks.get(opening_tag.block_index, 0), closing_tag.block_index
            )
        elif not is_same_token and not (opening_tag.is_inline and closing_tag.is_inline):
            # This element contains Markdown blocks.
            opening_tag.is_kept = closing_tag.is_kept = False
    for tag in reversed(tags):
        if not tag.is_kept:
            content = tag.token.content
            tag.token.content = content[: tag.start] + content[tag.end :]
    return last_blocks


def _pair_tags(tags: Sequence[_Tag]) -> Iterator[tuple[_Tag, _Tag]]:
    """Yield pairs of opening and closing tags in one pass; an element ends with its parent."""
    open_tags: list[_Tag] = []
    open_counts: dict[str, int] = {}
    for tag in tags:
        if tag.is_inline and tag.name in _NEVER_INLINE_TAGS:
            continue
        if tag.name in _VOID_TAGS:
            tag.is_kept = True
        elif not tag.is_closing:
            # An unclosed quotation ends with its block.
            has_implied_end = tag.name in _OPTIONAL_END_TAGS or tag.name == "blockquote"
            tag.is_kept = has_implied_end and not tag.is_inline
            open_tags.append(tag)
            open_counts[tag.name] = open_counts.get(tag.name, 0) + 1
        elif open_counts.get(tag.name):
            while True:
                opening_tag = open_tags.pop()
                open_counts[opening_tag.name] -= 1
                if opening_tag.name == tag.name:
                    break
            opening_tag.is_kept = tag.is_kept = True
            yield opening_tag, tag


def _render_formula(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f"<{FORMULA}>{escape(tokens[index].content)}</{FORMULA}>"


def _render_displayed_formula(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return f'<pre class="{FORMULA}">{escape(tokens[index].content)}</pre>'


def _render_line_end(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    previous_character = tokens[index - 1].content[-1:] if index else ""
    next_character = tokens[index + 1].content[:1] if index + 1 < len(tokens) else ""
    return "" if is_east_asian(previous_character) and is_east_asian(next_character) else "\n"


def _render_escaped(_: Any, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    return escape(mark_escaped_character(tokens[index].content, tokens[index].markup))


@lru_cache(maxsize=1)
def _build_html_renderer() -> MarkdownIt:
    """Return a parser whose HTML renderer writes non-CommonMark syntax for `html_markdown`."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.add_render_rule("math_inline", _render_formula)
    parser.add_render_rule("math_block", _render_displayed_formula)
    parser.add_render_rule("softbreak", _render_line_end)
    parser.add_render_rule("text_special", _render_escaped)
    return parser
