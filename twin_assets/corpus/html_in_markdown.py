"""Convert raw HTML in a Markdown post to Markdown, with the renderer of HTML posts.

Scope: the blocks that a tag spans, and those blocks as one piece of HTML. Out of scope: the meaning
of a tag in Markdown (`html_markdown`), blocks without tags (`markdown_cleaning`).

There may be any number of Markdown blocks between `<blockquote>` and `</blockquote>`, so both must
be rendered together. A tag that is never closed is removed. Otherwise it would extend to the end of
the post, and `<script>` in a sentence would remove the rest of the post.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from twin_assets.corpus.html_fragment import fragment_as_markdown, is_east_asian
from twin_assets.corpus.html_markdown import FORMULA
from twin_assets.corpus.markdown_escapes import marked
from twin_assets.corpus.template_tags import without_tags_in_html

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,60})(?=[\s/>])([^<>]{0,2000})>")
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
# Tags that cause blocks to be rendered as HTML; only the words of all other tags count.
_MEANS = frozenset(
    {"b", "strong", "i", "em", "s", "del", "strike", "code", "tt", "q", "sup", "sub", "math"}
    | {"blockquote", "pre", "table", "thead", "tbody", "tfoot", "tr", "td", "th"}
    | {"ul", "ol", "li", "dl", "dt", "dd", "menu", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"script", "style", "svg"}
)
_NEEDS_NO_END = frozenset({"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot"})
# A sentence may mention these tags without using them.
_NOT_IN_A_SENTENCE = frozenset(
    {"title", "select", "button", "textarea", "object", "form", "noscript", "canvas", "iframe"}
    | {"html", "head", "body", "video", "audio", "option", "plaintext", "xmp", "template"}
)


@dataclass(slots=True)
class _Tag:
    """A tag in the source of `token`; `stays` if it is closed or needs no closing tag."""

    token: Token
    start: int
    end: int
    closes: bool
    name: str
    block: int
    stays: bool = False

    @property
    def in_sentence(self) -> bool:
        return self.token.type == "html_inline"


def by_block(tokens: Sequence[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Yield the top-level blocks in order, each with whether it contains HTML to render.

    Blocks that an element spans are one item. Tags that are never closed are removed from the
    tokens.
    """
    blocks, tags = _blocks_and_tags(tokens)
    ends = _spans(tags)
    place = 0
    while place < len(blocks):
        last = at = place
        while at <= last:
            last = max(last, ends.get(at, at))
            at += 1
        part = [token for block in blocks[place : last + 1] for token in block]
        yield part, place in ends
        place = last + 1


def html_blocks_as_markdown(tokens: Sequence[Token]) -> str:
    """Convert blocks with raw HTML in them to Markdown."""
    writer = _writer()
    return fragment_as_markdown(writer.renderer.render(tokens, writer.options, {}))


def _blocks_and_tags(tokens: Sequence[Token]) -> tuple[list[list[Token]], list[_Tag]]:
    blocks: list[list[Token]] = []
    tags: list[_Tag] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            blocks.append([])
        depth += token.nesting
        blocks[-1].append(token)
        if token.type == "html_block":
            token.content = without_tags_in_html(token.content)
            tags += _tags_of(token, len(blocks) - 1)
        for child in token.children or ():
            if child.type == "html_inline":
                tags += _tags_of(child, len(blocks) - 1)
    return blocks, tags


def _tags_of(token: Token, block: int) -> list[_Tag]:
    return [
        _Tag(token, tag.start(), tag.end(), bool(tag[1]), tag[2].lower(), block)
        for tag in _TAG.finditer(token.content)
        if not token.content.startswith("<!--")
    ]


def _spans(tags: Sequence[_Tag]) -> dict[int, int]:
    """Return, by block with HTML, the last block that must be rendered together with it."""
    ends = {tag.block: tag.block for tag in tags if not tag.in_sentence}
    for opening, closing in _pairs(tags):
        same = opening.token is closing.token
        if opening.name in _MEANS:
            ends[opening.block] = max(ends.get(opening.block, 0), closing.block)
        elif not same and not (opening.in_sentence and closing.in_sentence):
            opening.stays = closing.stays = False  # an element around Markdown
    for tag in reversed(tags):
        if not tag.stays:
            content = tag.token.content
            tag.token.content = content[: tag.start] + content[tag.end :]
    return ends


def _pairs(tags: Sequence[_Tag]) -> Iterator[tuple[_Tag, _Tag]]:
    """Yield tags and their closing tags, in one pass; an element ends with its parent."""
    opened: list[_Tag] = []
    count: dict[str, int] = {}
    for tag in tags:
        if tag.in_sentence and tag.name in _NOT_IN_A_SENTENCE:
            continue
        if tag.name in _VOID:
            tag.stays = True
        elif not tag.closes:
            # an unclosed quotation ends with its block
            ends_by_itself = tag.name in _NEEDS_NO_END or tag.name == "blockquote"
            tag.stays = ends_by_itself and not tag.in_sentence
            opened.append(tag)
            count[tag.name] = count.get(tag.name, 0) + 1
        elif count.get(tag.name):
            while True:
                opening = opened.pop()
                count[opening.name] -= 1
                if opening.name == tag.name:
                    break
            opening.stays = tag.stays = True
            yield opening, tag


def _formula(_: Any, tokens: Sequence[Token], place: int, *_rest: Any) -> str:
    return f"<{FORMULA}>{escape(tokens[place].content)}</{FORMULA}>"


def _displayed_formula(_: Any, tokens: Sequence[Token], place: int, *_rest: Any) -> str:
    return f'<pre class="{FORMULA}">{escape(tokens[place].content)}</pre>'


def _line_end(_: Any, tokens: Sequence[Token], place: int, *_rest: Any) -> str:
    before = tokens[place - 1].content[-1:] if place else ""
    after = tokens[place + 1].content[:1] if place + 1 < len(tokens) else ""
    return "" if is_east_asian(before) and is_east_asian(after) else "\n"


def _escaped(_: Any, tokens: Sequence[Token], place: int, *_rest: Any) -> str:
    return escape(marked(tokens[place].content, tokens[place].markup))


@lru_cache(maxsize=1)
def _writer() -> MarkdownIt:
    """Return a writer of HTML for forms outside CommonMark, with the names of `html_markdown`."""
    from markdown_it import MarkdownIt

    writer = MarkdownIt("commonmark")
    writer.add_render_rule("math_inline", _formula)
    writer.add_render_rule("math_block", _displayed_formula)
    writer.add_render_rule("softbreak", _line_end)
    writer.add_render_rule("text_special", _escaped)
    return writer
