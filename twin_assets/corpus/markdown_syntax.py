"""Parse Markdown syntax beyond CommonMark: mathematics, footnotes and wiki links.

Scope: parser rules for mathematics, footnotes, `[[page]]`, template tags, and the end of raw HTML.
Out of scope: rendering the parsed post (`markdown_cleaning`), the meaning of raw HTML
(`html_in_markdown`), and MDX (`mdx_syntax`).

Syntax: https://pandoc.org/MANUAL.html#math (`$` between words is money), https://docs.mathjax.org
(`\\(`, `\\[`, environments), https://github.github.com/gfm/,
https://pandoc.org/MANUAL.html#footnotes, https://help.obsidian.md/links. Every search is bounded,
because each unclosed mark would otherwise cause a search to the end of the text.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from twin_assets.corpus.template_tags import TEMPLATE_TAG

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.ruler import RuleOptionsType
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_MAX_FORMULA_CHARACTERS = 2_000
_MAX_BLOCK_LINES = 200
_MAX_FOOTNOTE_DEPTH = 4
# To exclude prices, a formula has no space inside its dollar signs and no digit after them.
_INLINE_FORMULA = re.compile(r"\$(?!\s)(?:[^$\\]|\\.){1,2000}(?<!\s)\$(?!\d)", re.DOTALL)
_DISPLAYED_FORMULA = re.compile(r"\$\$(?:[^$\\]|\\.|\$(?!\$)){1,2000}?\$\$", re.DOTALL)
_MARKUP_CHARACTER = re.compile(r"[\\_*{}<&~^\[`|]")
_NON_FORMULA = re.compile(r"\]\(|`|https?:|\n[ \t]*\n")
_ENVIRONMENT = re.compile(r"\\begin\{([A-Za-z]{1,40}\*?)\}")
_FORMULA_END_MARKS = {"$$": "$$", "\\[": "\\]", "\\\\[": "\\\\]"}
_FORMULA_LABEL = re.compile(r"[ \t]*(?:\(\d+\)|\{#[^{}]{1,80}\})?[.,;:]?[ \t]*")
_FOOTNOTE = re.compile(r"\[\^([^\[\]\s]{1,100})\]:[ \t]*")
_FOOTNOTE_MARK = re.compile(r"\[\^([^\[\]\s]{1,100})\]")
_FOOTNOTE_LINE = re.compile(r"^[ \t>]*\[\^([^\[\]\s]{1,100})\]:", re.MULTILINE)
_WIKI_LINK = re.compile(r"(!?)\[\[([^\[\]\n]{1,300})\]\](?!\(|\[(?!\^))")
_FENCE_START = re.compile(r" {0,3}(?:`{3,}[^`\n]*|~{3,}.*)$")
_RAW_TEXT_STARTS = ("<pre", "<script", "<style", "<textarea", "<!", "<?")
_RAW_ELEMENTS = (
    (re.compile(r"<pre\b", re.IGNORECASE), re.compile(r"</pre\s*>", re.IGNORECASE)),
    (re.compile(r"<script\b", re.IGNORECASE), re.compile(r"</script\s*>", re.IGNORECASE)),
    (re.compile(r"<style\b", re.IGNORECASE), re.compile(r"</style\s*>", re.IGNORECASE)),
    (re.compile(r"<!--"), re.compile(r"-->")),
)
_UNFINISHED_TAG = re.compile(r"<[A-Za-z][^<>]{0,2000}$")
_TAG_END = re.compile(">")
_MAX_TAG_LINES = 5
_MARKDOWN_ATTRIBUTE = re.compile(
    r"<\w[^<>]{0,300}?\bmarkdown=[\"']?(?:1|block|span|true)\b", re.IGNORECASE
)
_BEYOND_COMMONMARK = re.compile(r"\$|\\[\[(\\b]|\[\[|\[\^|\{")
_TERMINATORS = "\n!&*<[\\]_`~"
_EXTENDED_TERMINATORS = _TERMINATORS + "${"


def select_parser(text: str) -> MarkdownIt:
    """Return a post's parser: CommonMark, with further rules if the text may need them."""
    return _build_parser(bool(_BEYOND_COMMONMARK.search(text)))


def find_footnote_names(text: str) -> frozenset[str]:
    """Return the names of a post's footnotes; `[^name]` with any other name is text."""
    return frozenset(_FOOTNOTE_LINE.findall(text)) if "[^" in text else frozenset()


def build_basic_parser() -> MarkdownIt:
    """Return a CommonMark parser with GitHub's tables, strikethrough and separate escapes."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")
    parser.block.ruler.at(
        "html_block", _html_block_rule, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    # Link targets are removed later, and no rule begins at any other character.
    parser.normalizeLink = _keep_url
    parser.inline.terminator_re = re.compile("[" + re.escape(_TERMINATORS) + "]")
    return parser


def enable_extensions(parser: MarkdownIt) -> MarkdownIt:
    """Add this module's rules to the parser."""
    options: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "math_block", _math_block_rule, options)
    parser.block.ruler.before("fence", "template", _template_rule, options)
    footnote_options: RuleOptionsType = {"alt": ["paragraph", "reference"]}
    parser.block.ruler.before("reference", "footnote", _footnote_rule, footnote_options)
    parser.inline.ruler.before("escape", "extension", _inline_extension)
    parser.inline.terminator_re = re.compile("[" + re.escape(_EXTENDED_TERMINATORS) + "]")
    return parser


def _keep_url(url: str) -> str:
    return url


@lru_cache(maxsize=2)
def _build_parser(with_extensions: bool) -> MarkdownIt:
    return enable_extensions(build_basic_parser()) if with_extensions else build_basic_parser()


def _inline_extension(state: StateInline, silent: bool) -> bool:
    """Apply the rule for the current character; one combined rule is faster than several."""
    rule = _INLINE_RULES.get(state.src[state.pos])
    return rule is not None and rule(state, silent)


def _push_token(
    state: StateInline, token_type: str, content: str, end: int, *, silent: bool
) -> bool:
    if not silent:
        token = state.push(token_type, "", 0)
        token.content = content
    state.pos = end
    return True


def _dollar_rule(state: StateInline, silent: bool) -> bool:
    match = (
        _DISPLAYED_FORMULA if state.src.startswith("$$", state.pos) else _INLINE_FORMULA
    ).match(state.src, state.pos)
    return match is not None and _match_formula(state, match.end(), silent=silent)


def _backslash_rule(state: StateInline, silent: bool) -> bool:
    source, start = state.src, state.pos
    for opening_mark, closing_mark in (
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("\\\\(", "\\\\)"),
        ("\\\\[", "\\\\]"),
    ):
        if source.startswith(opening_mark, start):
            end = _find_formula_end(source, closing_mark, start + len(opening_mark))
            return end > 0 and _match_formula(
                state, end, silent=silent, mark_length=len(opening_mark)
            )
    if match := _ENVIRONMENT.match(source, start):
        end = _find_formula_end(source, f"\\end{{{match[1]}}}", match.end())
        return end > 0 and _match_formula(state, end, silent=silent)
    return False


def _find_formula_end(source: str, mark: str, start: int) -> int:
    """Return the end of a formula that `mark` closes, or 0 if there is none nearby."""
    position = source.find(mark, start, start + _MAX_FORMULA_CHARACTERS)
    return position + len(mark) if position >= 0 else 0


def _match_formula(state: StateInline, end: int, *, silent: bool, mark_length: int = 1) -> bool:
    """Match a formula that parsing would change; any other match may be two prices."""
    text = state.src[state.pos : end]
    if end > state.posMax or _NON_FORMULA.search(text):
        return False
    return bool(
        _MARKUP_CHARACTER.search(text, mark_length, len(text) - mark_length)
    ) and _push_token(state, "math_inline", " ".join(text.split()), end, silent=silent)


def _bracket_rule(state: StateInline, silent: bool) -> bool:
    source, start = state.src, state.pos
    next_character = source[start + 1 : start + 2]
    if next_character == "[":
        return _wiki_link_rule(state, silent)
    match = _FOOTNOTE_MARK.match(source, start) if next_character == "^" else None
    if match is None or not (match[1] in state.env.get("footnotes", ()) or match[1].isdecimal()):
        return False
    is_inside_word = (
        source[start - 1 : start].isalnum() and source[match.end() : match.end() + 1].isalnum()
    )
    separator = " " if is_inside_word and source[start - 1].isascii() else ""
    return _push_token(state, "text", separator, match.end(), silent=silent)


def _wiki_link_rule(state: StateInline, silent: bool) -> bool:
    match = _WIKI_LINK.match(state.src, state.pos)
    if match is None or match[2][0].isspace():
        return False
    if match[2].upper() in state.env.get("references", {}):  # [[1]], where [1]: is defined
        return False
    text = "" if match[1] else extract_wiki_link_text(match[2])
    return _push_token(state, "text", text, match.end(), silent=silent)


def extract_wiki_link_text(inner: str) -> str:
    """Return the visible text of `[[inner]]`: its label, or else the page's or heading's name."""
    page, _, label = inner.replace("\\|", "|").partition("|")
    if label.strip():
        return label.strip()
    page, _, heading = page.partition("#")
    heading = "" if heading.startswith("^") else heading.replace("#", " ").strip()
    return page.rsplit("/", 1)[-1].strip().removesuffix(".md") or heading


def _exclamation_rule(state: StateInline, silent: bool) -> bool:
    return state.src.startswith("![[", state.pos) and _wiki_link_rule(state, silent)


def _brace_rule(state: StateInline, silent: bool) -> bool:
    match = TEMPLATE_TAG.match(state.src, state.pos)
    return match is not None and _push_token(state, "text", "", match.end(), silent=silent)


_INLINE_RULES: dict[str, Callable[[StateInline, bool], bool]] = {
    "$": _dollar_rule,
    "\\": _backslash_rule,
    "[": _bracket_rule,
    "!": _exclamation_rule,
    "{": _brace_rule,
}


def _get_line_text(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _math_block_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    first_line = _get_line_text(state, start)
    if first_line[:1] not in {"$", "\\"}:
        return False
    opening_mark = next((mark for mark in _FORMULA_END_MARKS if first_line.startswith(mark)), "")
    closing_mark = _FORMULA_END_MARKS.get(opening_mark, "")
    if not opening_mark and (match := _ENVIRONMENT.match(first_line)):
        opening_mark, closing_mark = match[0], f"\\end{{{match[1]}}}"
    last_line = (
        _find_last_line(state, start, end, opening_mark, closing_mark) if opening_mark else None
    )
    if last_line is None:
        return False
    content = state.getLines(start, last_line + 1, state.sCount[start], False)
    if "\\" not in content and any(state.isEmpty(line) for line in range(start, last_line)):
        return False  # two marks with prose between them
    if opening_mark == "\\[" and not _MARKUP_CHARACTER.search(content, 2, len(content) - 2):
        return False
    if not silent:
        state.line = last_line + 1
        token = state.push("math_block", "", 0)
        token.map = [start, last_line + 1]
        token.content = "\n".join(line.rstrip() for line in content.split("\n") if line.strip())
    return True


def _find_last_line(
    state: StateBlock, start: int, end: int, opening: str, closing: str
) -> int | None:
    """Return the line where a displayed formula ends without text after it, or None."""
    for line in range(start, min(end, start + _MAX_BLOCK_LINES)):
        if line > start and not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None
        text = _get_line_text(state, line)
        position = text.find(closing, len(opening) if line == start else 0)
        if position >= 0:
            return line if _FORMULA_LABEL.fullmatch(text, position + len(closing)) else None
    return None


def _template_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match a template tag over several lines, one of which might otherwise begin a block."""
    tag_start = state.bMarks[start] + state.tShift[start]
    if state.src[tag_start : tag_start + 1] != "{" or state.is_code_block(start):
        return False
    match = TEMPLATE_TAG.match(state.src, tag_start, state.eMarks[end - 1])
    if match is None or match.end() <= state.eMarks[start]:
        return False
    line = start
    while state.eMarks[line] < match.end():
        line += 1
    if state.src[match.end() : state.eMarks[line]].strip():
        return False
    if not silent:
        state.line = line + 1
    return True


def _footnote_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match `[^1]: text` and any indented paragraphs after it; they stay in place."""
    if state.is_code_block(start):
        return False
    match = _FOOTNOTE.match(_get_line_text(state, start))
    depth = state.env.get("footnote_depth", 0)
    if match is None or depth >= _MAX_FOOTNOTE_DEPTH:
        return False
    if silent:
        return True
    lines = [_get_line_text(state, start)[match.end() :]]
    follows_empty_line = False
    line = start + 1
    while line < end:
        is_empty = state.isEmpty(line)
        indent = state.sCount[line] - state.blkIndent
        if not is_empty and (
            (follows_empty_line and indent < 2)
            or indent < 0
            or _FOOTNOTE.match(_get_line_text(state, line))
        ):
            break
        lines.append("" if is_empty else state.getLines(line, line + 1, state.blkIndent + 4, False))
        follows_empty_line = is_empty
        line += 1
    state.env["footnote_depth"] = depth + 1
    state.md.block.parse("\n".join(lines), state.md, state.env, state.tokens)
    state.env["footnote_depth"] = depth
    state.line = line
    return True


def _html_block_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match raw HTML as in CommonMark, but with a different end.

    It ends at a fence, whose code would otherwise be flattened, and at a tag with a `markdown`
    attribute. It continues to the end of an element whose content is not Markdown. It also
    continues over an empty line to indented tags, which would otherwise be code.
    """
    from markdown_it.rules_block import html_block

    if not html_block(state, start, end, silent):
        return False
    if silent:
        return True
    token: Token = state.tokens[-1]
    first_line = _get_line_text(state, start)
    if first_line.lower().startswith(_RAW_TEXT_STARTS):
        return True
    last_line = _find_html_end(state, start, state.line, end)
    if last_line != state.line:
        state.line = last_line
        token.map = [start, last_line]
        token.content = state.getLines(start, last_line, state.blkIndent, True)
    return True


def _find_html_end(state: StateBlock, start: int, line: int, end: int) -> int:
    """Return the line after raw HTML that begins at `start`; CommonMark ends it before `line`."""
    if _MARKDOWN_ATTRIBUTE.match(_get_line_text(state, start)):
        return start + 1
    current_line = start
    while current_line < line:
        text = _get_line_text(state, current_line)
        if current_line > start and state.sCount[current_line] < 4 and _FENCE_START.match(text):
            return current_line
        element_end = _find_element_end(state, current_line, end, text)
        current_line = element_end if element_end is not None else current_line + 1
        line = max(line, current_line)
        if current_line == line:
            line = _find_indented_tags_end(state, line, end)
    return line


def _find_element_end(state: StateBlock, first: int, end: int, text: str) -> int | None:
    """Return the end of an element that begins on this line and has no Markdown, or None."""
    for start_pattern, end_pattern in _RAW_ELEMENTS:
        if (match := start_pattern.search(text)) and not end_pattern.search(text, match.end()):
            return _find_line(state, first + 1, min(end, first + _MAX_BLOCK_LINES), end_pattern)
    if _UNFINISHED_TAG.search(text):
        return _find_line(state, first + 1, min(end, first + _MAX_TAG_LINES), _TAG_END)
    return None


def _find_indented_tags_end(state: StateBlock, line: int, end: int) -> int:
    """Return the line after any tags that follow and are indented like code."""
    next_line = line
    while next_line < end and state.isEmpty(next_line):
        next_line += 1
    if (
        not line < next_line < end
        or state.sCount[next_line] - state.blkIndent < 4
        or not _get_line_text(state, next_line).startswith("<")
    ):
        return line
    while next_line < end and not state.isEmpty(next_line):
        next_line += 1
    return next_line


def _find_line(state: StateBlock, start: int, end: int, pattern: re.Pattern[str]) -> int | None:
    for line in range(start, end):
        if not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None
        if pattern.search(_get_line_text(state, line)):
            return line
    return None
