"""Parse MDX: Markdown with `import`, `{expressions}` and components; only the prose is kept.

Scope: the parser's rules for MDX, and detecting MDX. Out of scope: rendering the parsed post
(`markdown_cleaning`), and HTML elements (`html_in_markdown`).

Grammar: https://mdxjs.com/docs/what-is-mdx/. A component is reduced to its children, like an
unknown HTML element. A component with "quote" in its name becomes a block quotation. Text that a
component renders from its attributes is lost. MDX allows Markdown between tags but no indented
code.
"""
# pyright: strict

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from twin_assets.corpus.markdown_syntax import build_basic_parser, enable_extensions

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.ruler import RuleOptionsType
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

_MAX_TAG_CHARACTERS = 4_000
_IMPORT = re.compile(
    r"import\s+(?:[\w$*{][^'\"\n;]{0,300}\sfrom\s+)?['\"][^'\"\n]{1,300}['\"];?[ \t]*$"
)
_MODULE_LINE = re.compile(
    r"import\s+(?:['\"]|[\w$*{},\s]+from\s|\{[ \t]*$|[\w$]+,?[ \t]*\{?[ \t]*$)"
    r"|export\s+(?:const|let|var|function|async|default|class|type|interface|\{|\*)"
)
_TAG_NAME = re.compile(r"</?([A-Za-z][\w.:-]{0,80})?(?=[\s/>])|<>|</>")
_STRING = re.compile(r"\{\s*(?:'([^'\\\n]*)'|\"([^\"\\\n]*)\"|`([^`\\$]*)`)\s*\}")
_BRACES = re.compile(r"[{}]")


def has_mdx_import(text: str) -> bool:
    """Return whether the first line of a post is an import."""
    first_line = text.lstrip()[:400].split("\n", 1)[0]
    return first_line.startswith("import") and bool(_IMPORT.match(first_line))


@lru_cache(maxsize=1)
def build_mdx_parser() -> MarkdownIt:
    """Return the parser for MDX posts."""
    markdown = enable_extensions(build_basic_parser()).disable(["code", "autolink", "html_inline"])
    options: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote"]}
    markdown.block.ruler.before("fence", "module", _module_rule, {"alt": []})
    markdown.block.ruler.at("html_block", _flow_rule, options)
    markdown.inline.ruler.before("extension", "element", _inline_rule)
    return markdown


def _module_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match `import` and `export` up to the first blank line outside braces."""
    line_start = state.bMarks[start]
    if state.tShift[start] or not state.src.startswith(("import", "export"), line_start):
        return False
    if not _MODULE_LINE.match(state.src, line_start, state.eMarks[start]):
        return False
    if silent:
        return True
    line, open_brace_count = start, 0
    while line < end and (open_brace_count > 0 or not state.isEmpty(line)):
        text = state.src[state.bMarks[line] : state.eMarks[line]]
        open_brace_count += sum(1 if brace == "{" else -1 for brace in _BRACES.findall(text))
        line += 1
    state.line = line
    return True


def _flow_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match tags or expressions that fill one or more whole lines."""
    block_start = state.bMarks[start] + state.tShift[start]
    if state.src[block_start : block_start + 1] not in {"<", "{"}:
        return False
    tags: list[str] = []
    position, limit = block_start, state.eMarks[end - 1]
    while position < limit and state.src[position] in "<{":
        tag_end = _find_tag_end(state.src, position, limit)
        if not tag_end:
            return False
        if state.src[position] == "<":
            tags.append(_to_html_tag(state.src[position:tag_end]))
        position = tag_end
        while state.src[position : position + 1] in {" ", "\t"}:
            position += 1
    line = start
    while line < end and state.eMarks[line] < position:
        line += 1
    if line >= end or state.src[position : state.eMarks[line]].strip():
        return False
    if not silent:
        state.line = line + 1
        token = state.push("html_block", "", 0)
        token.map = [start, line + 1]
        token.content = "".join(tags)
    return True


def _inline_rule(state: StateInline, silent: bool) -> bool:
    """Match an element's tag or an expression; only a string literal has text."""
    start = state.pos
    if state.src[start] not in "<{":
        return False
    end = _find_tag_end(state.src, start, state.posMax)
    if not end:
        return False
    if not silent and state.src[start] == "<":
        state.push("html_inline", "", 0).content = _to_html_tag(state.src[start:end])
    elif not silent:
        match = _STRING.fullmatch(state.src, start, end)
        state.push("text", "", 0).content = (
            (match[1] or match[2] or match[3] or "") if match else ""
        )
    state.pos = end
    return True


def _to_html_tag(tag: str) -> str:
    """Return a tag as HTML without attributes; a component becomes a quotation or ""."""
    match = _TAG_NAME.match(tag)
    name = (match[1] or "") if match else ""
    if "quote" in name.lower() and name != "q":
        name = "blockquote"
    if not name or name[0].isupper() or "." in name:
        return ""
    slash = "/" if tag.startswith("</") else ""
    end_tag = f"</{name}>" if tag.endswith("/>") and name != "br" else ""
    return f"<{slash}{name}>{end_tag}"


def _find_tag_end(source: str, start: int, limit: int) -> int:
    """Return the end of the tag or expression that starts at `start`, or 0 if there is none."""
    if source[start] == "{":
        return _find_closing_brace(source, start, limit)
    match = _TAG_NAME.match(source, start)
    if match is None:
        return 0
    if match[0].endswith(">"):
        return match.end()
    position, limit = match.end(), min(limit, start + _MAX_TAG_CHARACTERS)
    while position < limit:
        character = source[position]
        if character == ">":
            return position + 1
        if character in "\"'":
            position = source.find(character, position + 1, limit)
            if position < 0:
                return 0
        elif character == "{":
            position = _find_closing_brace(source, position, limit) - 1
            if position < 0:
                return 0
        elif character == "<":
            return 0
        position += 1
    return 0


def _find_closing_brace(source: str, start: int, limit: int) -> int:
    """Return the end of the braces that open at `start`, or 0 if there is none nearby."""
    open_brace_count, limit = 0, min(limit, start + _MAX_TAG_CHARACTERS)
    if source.find("}", start, limit) < 0:
        return 0
    for brace in _BRACES.finditer(source, start, limit):
        open_brace_count += 1 if brace[0] == "{" else -1
        if not open_brace_count:
            return brace.end()
    return 0
