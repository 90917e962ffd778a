"""A Markdown post → clean Markdown: words, punctuation and code stay, everything else goes.

Belongs here: rendering the parser's tree back to Markdown without link targets, images, raw HTML
tags, reference definitions, footnote marks and template tags. Does not belong here: HTML posts
(`html_cleaning`), whether a post is kept (`cleaning`).

The tree is markdown-it-py's (CommonMark 0.31, tables and strikethrough of GitHub Flavored
Markdown): https://markdown-it-py.readthedocs.io/. Nothing is cut out of the source by patterns,
because a pattern cannot tell `[text](target)` in a sentence from the same characters in a code
block.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from twin_assets.corpus.code_blocks import fenced, replace_highlights
from twin_assets.corpus.html_fragment import fragment_as_markdown, is_east_asian
from twin_assets.corpus.template_tags import without_template_tags

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def clean_markdown(text: str, *, title: str = "") -> str:
    """Clean one post.

    Args:
        text: Markdown, without front matter.
        title: a first heading of level one that says the same is left out.

    Returns:
        Markdown: blocks apart by one empty line, a paragraph is one line, code as it was.
    """
    tree = SyntaxTreeNode(_parser().parse(replace_highlights(text, fenced)))
    blocks = list(tree.children)
    if blocks and _is_title(blocks[0], title):
        blocks = blocks[1:]
    return _blocks(blocks)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _is_title(node: SyntaxTreeNode, title: str) -> bool:
    if node.type != "heading" or node.tag != "h1":
        return False
    heading = _inline(node.children).lower()
    return re.findall(r"\w+", heading) == re.findall(r"\w+", title.lower())


def _blocks(nodes: Iterable[SyntaxTreeNode], *, between: str = "\n\n") -> str:
    return between.join(text for node in nodes if (text := _block(node)).strip())


def _block(node: SyntaxTreeNode) -> str:
    match node.type:
        case "paragraph":
            return _inline(node.children)
        case "heading":
            words = _inline(node.children)
            return f"{'#' * int(node.tag[1])} {words}" if words else ""
        case "fence" | "code_block":
            language = node.info.split()[0] if node.type == "fence" and node.info.strip() else ""
            return fenced(node.content, language) if node.content.strip() else ""
        case "html_block":
            return without_template_tags(fragment_as_markdown(node.content)).strip()
        case "blockquote":
            return _indented(_blocks(node.children), first="> ", rest="> ")
        case "bullet_list" | "ordered_list":
            return _list(node)
        case "table":
            return _table(node)
        case _:  # a thematic break has no words
            return ""


def _list(node: SyntaxTreeNode) -> str:
    number = int(node.attrs.get("start", 1) or 1)
    tight = all(
        child.hidden
        for item in node.children
        for child in item.children
        if child.type == "paragraph"
    )
    between = "\n" if tight else "\n\n"
    items: list[str] = []
    for offset, item in enumerate(node.children):
        mark = f"{number + offset}. " if node.type == "ordered_list" else "- "
        content = _blocks(item.children, between=between)
        if content.strip():
            items.append(_indented(content, first=mark, rest=" " * len(mark)))
    return between.join(items)


def _indented(text: str, *, first: str, rest: str) -> str:
    lines = [(rest + line).rstrip() for line in text.split("\n")]
    return (
        first + lines[0][len(rest) :] + "".join("\n" + line for line in lines[1:]) if text else ""
    )


def _table(node: SyntaxTreeNode) -> str:
    rows = [row for section in node.children for row in section.children]
    lines = [
        "| " + " | ".join(_inline(cell.children) for cell in row.children) + " |" for row in rows
    ]
    if len(lines) > 1:
        lines.insert(1, "|" + " --- |" * len(rows[0].children))
    return "\n".join(lines)


def _inline(nodes: Sequence[SyntaxTreeNode]) -> str:
    """The words of a run of inline nodes, on one line but for hard breaks."""
    text = "".join(_piece(node) for node in nodes)
    text = without_template_tags(text)
    lines = [re.sub(r"[ \t]{2,}", " ", line).strip() for line in text.split("\n")]
    return "\n".join(line for line in lines if line)


def _piece(node: SyntaxTreeNode) -> str:
    match node.type:
        case "inline" | "link":
            return _joined(node.children)
        case "text" | "text_special":
            return node.content
        case "code_inline":
            fence = "`" * (max((len(run) for run in re.findall("`+", node.content)), default=0) + 1)
            pad = " " if node.content[:1] == "`" or node.content[-1:] == "`" else ""
            return f"{fence}{pad}{node.content}{pad}{fence}"
        case "em" | "strong" | "s":
            inner = _joined(node.children)
            return f"{node.markup}{inner}{node.markup}" if inner.strip() else inner
        case "hardbreak":
            return "\n"
        case "html_inline":
            return "\n" if _BREAK.match(node.content) else ""
        case _:  # images
            return ""


def _joined(nodes: Sequence[SyntaxTreeNode]) -> str:
    """Inline nodes in order; a line end in the source is a space, between ideographs nothing."""
    text = ""
    for position, node in enumerate(nodes):
        if node.type == "softbreak":
            after = _piece(nodes[position + 1]) if position + 1 < len(nodes) else ""
            text += "" if is_east_asian(text[-1:]) and is_east_asian(after[:1]) else " "
        else:
            text += _piece(node)
    return text
