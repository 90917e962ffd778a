"""Clean a Markdown post: keep words, punctuation and code, and remove everything else.

Scope: rendering the parser's tree back to Markdown without link targets, images, reference
definitions, footnote marks and template tags. Out of scope: syntax beyond CommonMark
(`markdown_syntax`, `mdx_syntax`), blocks that contain HTML (`html_in_markdown`), HTML posts
(`html_cleaning`), and whether a post is kept (`cleaning`).

The tree is markdown-it-py's (CommonMark 0.31, tables and strikethrough of GitHub Flavored
Markdown): https://markdown-it-py.readthedocs.io/. No pattern removes text from the source, because
a pattern cannot distinguish `[text](target)` in a sentence from the same characters in a code
block.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twin_assets.corpus import markdown_escapes, mdx_syntax
from twin_assets.corpus.code_blocks import fence_code, replace_highlights
from twin_assets.corpus.html_fragment import is_east_asian
from twin_assets.corpus.html_in_markdown import group_blocks, html_blocks_to_markdown
from twin_assets.corpus.html_markdown import indent, render_table
from twin_assets.corpus.markdown_syntax import find_footnote_names, select_parser

if TYPE_CHECKING:
    from markdown_it.token import Token
    from markdown_it.tree import SyntaxTreeNode

_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_DRAWING = re.compile(r"^# Excalidraw Data$|^==⚠ +Switch to EXCALIDRAW VIEW", re.MULTILINE)
# The first line of a callout: `[!note] a title`.
_CALLOUT = re.compile(r"\[![ \t]*([^\[\]|\n]{1,60})(?:\|[^\]\n]{0,80})?\][+-]?[ \t]*")
_QUOTATION_CALLOUTS = frozenset({"quote", "cite", "quotation"})
_HEADING_ID = re.compile(r"[ \t]*\{[#.][^{}\n]{0,200}\}$")
_SPACES = re.compile(r"[ \t]{2,}")
# Some site generators show the picture that a line names, with the next line as its caption.
_PICTURE_FILE = re.compile(
    r"[^\s<>|]{1,200}\.(?:png|jpe?g|gif|webp|svg|avif|heic|bmp|tiff?|mp4|webm|mov)", re.IGNORECASE
)
_BLOCK_ID = re.compile(r"[ \t]\^[0-9a-f]{6}$")


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
    source = replace_highlights(text, fence_code)
    is_mdx = is_mdx or mdx_syntax.has_mdx_import(source)
    parser = mdx_syntax.build_mdx_parser() if is_mdx else select_parser(source)
    tokens = parser.parse(source, {"footnotes": find_footnote_names(source)})
    if "[!" in source:
        _unwrap_callouts(tokens)
    if "<" not in source:
        return markdown_escapes.resolve_escapes(_render_tokens(tokens, title))
    parts: list[str] = []
    plain_tokens: list[Token] = []
    for block, has_html in group_blocks(tokens):
        if not has_html:
            plain_tokens += block
            continue
        parts += [
            _render_tokens(plain_tokens, title if not parts else ""),
            html_blocks_to_markdown(block),
        ]
        plain_tokens = []
    parts.append(_render_tokens(plain_tokens, title if not parts else ""))
    return markdown_escapes.resolve_escapes("\n\n".join(part for part in parts if part.strip()))


def _render_tokens(tokens: Sequence[Token], title: str) -> str:
    from markdown_it.tree import SyntaxTreeNode

    if not tokens:
        return ""
    blocks = list(SyntaxTreeNode(tokens).children)
    if title and blocks and _is_title(blocks[0], title):
        blocks = blocks[1:]
    return _render_blocks(blocks)


def _unwrap_callouts(tokens: Sequence[Token]) -> None:
    """Turn callouts, which the parser reports as block quotations, into plain blocks."""
    callout_stack: list[bool] = []
    for index, token in enumerate(tokens):
        if token.type == "blockquote_open":
            inline_token = tokens[index + 2] if index + 2 < len(tokens) else token
            callout_match = (
                _CALLOUT.match(inline_token.content) if inline_token.type == "inline" else None
            )
            is_own_text = (
                callout_match is not None
                and callout_match[1].strip().lower() not in _QUOTATION_CALLOUTS
            )
            callout_stack.append(is_own_text)
            if is_own_text:
                token.type, token.tag = "callout_open", "div"
            if callout_match:
                _remove_callout_mark(inline_token, callout_match.end())
        elif token.type == "blockquote_close" and callout_stack and callout_stack.pop():
            token.type, token.tag = "callout_close", "div"


def _remove_callout_mark(inline: Token, length: int) -> None:
    """Remove the first `length` characters of a line from its text tokens.

    The callout's title becomes a separate line.
    """
    children = inline.children or []
    for child in children:
        if child.type == "softbreak":
            child.type = "hardbreak"
            break
        removed_length = min(length, len(child.content)) if child.type == "text" else 0
        child.content = child.content[removed_length:]
        length -= removed_length


def _is_title(node: SyntaxTreeNode, title: str) -> bool:
    if node.type != "heading" or node.tag != "h1":
        return False
    heading = _render_inline(node.children).lower()
    return re.findall(r"\w+", heading) == re.findall(r"\w+", title.lower())


def _render_blocks(nodes: Iterable[SyntaxTreeNode], *, separator: str = "\n\n") -> str:
    return separator.join(text for node in nodes if (text := _render_block(node)).strip())


def _render_block(node: SyntaxTreeNode) -> str:
    match node.type:
        case "paragraph":
            is_item = node.parent is not None and node.parent.type == "list_item"
            return _render_inline(node.children if is_item else _remove_pictures(node.children))
        case "heading":
            words = _HEADING_ID.sub("", _render_inline(node.children))
            return f"{'#' * int(node.tag[1])} {words}" if words else ""
        case "fence" | "code_block":
            language = node.info.split()[0] if node.type == "fence" and node.info.strip() else ""
            return fence_code(node.content, language) if node.content.strip() else ""
        case "math_block":
            return node.content
        case "callout":
            return _render_blocks(node.children)
        case "blockquote":
            return indent(_render_blocks(node.children), first_prefix="> ", next_prefix="> ")
        case "bullet_list" | "ordered_list":
            return _render_list(node)
        case "table":
            return _render_table(node)
        case _:  # a thematic break has no text
            return ""


def _render_list(node: SyntaxTreeNode) -> str:
    first_number = int(node.attrs.get("start", 1) or 1)
    is_tight = all(
        child.hidden
        for item in node.children
        for child in item.children
        if child.type == "paragraph"
    )
    separator = "\n" if is_tight else "\n\n"
    items: list[str] = []
    for offset, item in enumerate(node.children):
        marker = f"{first_number + offset}. " if node.type == "ordered_list" else "- "
        content = _render_blocks(item.children, separator=separator)
        if content.strip():
            items.append(indent(content, first_prefix=marker))
    return separator.join(items)


def _render_table(node: SyntaxTreeNode) -> str:
    rows = [
        [_render_inline(cell.children) for cell in row.children]
        for section in node.children
        for row in section.children
    ]
    return render_table(rows)


def _remove_pictures(nodes: Sequence[SyntaxTreeNode]) -> Sequence[SyntaxTreeNode]:
    """Return a paragraph's inline nodes without first lines that are only a picture's file name."""
    rest = [child for inline in nodes for child in inline.children]
    while rest:
        breaks = [position for position, node in enumerate(rest) if node.type == "softbreak"]
        line = rest[: breaks[0]] if breaks else rest
        is_code = any(node.type == "code_inline" for node in line)
        if is_code or not _PICTURE_FILE.fullmatch(_join_inline(line).strip()):
            break
        rest = rest[len(line) + 1 :]
    return rest


def _render_inline(nodes: Sequence[SyntaxTreeNode]) -> str:
    """Render inline nodes on one line, except for hard breaks."""
    text = _join_inline(nodes)
    lines = [_SPACES.sub(" ", line).strip() for line in text.split("\n")]
    text = "\n".join(line for line in lines if line)
    return _BLOCK_ID.sub("", text) if "^" in text[-7:] else text


def _render_inline_node(node: SyntaxTreeNode) -> str:
    match node.type:
        case "inline" | "link":
            return _join_inline(node.children)
        case "text" | "math_inline":
            return node.content
        case "text_special":
            return markdown_escapes.mark_escaped_character(node.content, node.markup)
        case "code_inline":
            fence = "`" * (max((len(run) for run in re.findall("`+", node.content)), default=0) + 1)
            padding = " " if node.content[:1] == "`" or node.content[-1:] == "`" else ""
            return f"{fence}{padding}{node.content}{padding}{fence}"
        case "em" | "strong" | "s":
            content = _join_inline(node.children)
            return f"{node.markup}{content}{node.markup}" if content.strip() else content
        case "hardbreak":
            return "\n"
        case "html_inline":
            return "\n" if _LINE_BREAK.match(node.content) else ""
        case _:  # images
            return ""


def _join_inline(nodes: Sequence[SyntaxTreeNode]) -> str:
    """Join inline nodes in order; a line break becomes a space, or nothing between ideographs."""
    text = ""
    for position, node in enumerate(nodes):
        if node.type == "softbreak":
            next_text = (
                _render_inline_node(nodes[position + 1]) if position + 1 < len(nodes) else ""
            )
            text += "" if is_east_asian(text[-1:]) and is_east_asian(next_text[:1]) else " "
        else:
            text += _render_inline_node(node)
    return text
