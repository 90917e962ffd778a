"""Parse Markdown syntax beyond CommonMark: mathematics, footnotes, wiki links.

Scope: parser rules for unchanged mathematics, footnotes, `[[page]]`, template tags, and the end of
raw HTML. Out of scope: Markdown of the parsed post (`markdown_cleaning`), the meaning of raw
HTML (`html_in_markdown`), MDX (`mdx_syntax`).

Syntax: https://pandoc.org/MANUAL.html#math (`$` between words is money), https://docs.mathjax.org
(`\\(`, `\\[`, environments), https://github.github.com/gfm/,
https://pandoc.org/MANUAL.html#footnotes, https://help.obsidian.md/links. Every search here is
bounded; otherwise each mark that is never closed would cost a search to the end of the text.
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

_MAX_FORMULA = 2_000
_MAX_BLOCK_LINES = 200
_MAX_NOTES_IN_NOTES = 4
# To exclude prices, no space may be inside the dollar signs and no digit after them.
_INLINE_FORMULA = re.compile(r"\$(?!\s)(?:[^$\\]|\\.){1,2000}(?<!\s)\$(?!\d)", re.DOTALL)
_DISPLAYED_FORMULA = re.compile(r"\$\$(?:[^$\\]|\\.|\$(?!\$)){1,2000}?\$\$", re.DOTALL)
_MARKUP_CHARACTER = re.compile(r"[\\_*{}<&~^\[`|]")
_NO_FORMULA = re.compile(r"\]\(|`|https?:|\n[ \t]*\n")
_ENVIRONMENT = re.compile(r"\\begin\{([A-Za-z]{1,40}\*?)\}")
_FORMULA_END_MARKS = {"$$": "$$", "\\[": "\\]", "\\\\[": "\\\\]"}
_FORMULA_LABEL = re.compile(r"[ \t]*(?:\(\d+\)|\{#[^{}]{1,80}\})?[.,;:]?[ \t]*")
_NOTE = re.compile(r"\[\^([^\[\]\s]{1,100})\]:[ \t]*")
_NOTE_MARK = re.compile(r"\[\^([^\[\]\s]{1,100})\]")
_NOTE_LINE = re.compile(r"^[ \t>]*\[\^([^\[\]\s]{1,100})\]:", re.MULTILINE)
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
_MORE_TERMINATORS = _TERMINATORS + "${"


def select_parser(text: str) -> MarkdownIt:
    """Return a post's parser: CommonMark, with further rules if the text may need them."""
    return _parser(bool(_BEYOND_COMMONMARK.search(text)))


def find_footnote_names(text: str) -> frozenset[str]:
    """Return the names of a post's footnotes; `[^name]` with any other name is text."""
    return frozenset(_NOTE_LINE.findall(text)) if "[^" in text else frozenset()


def basic_parser() -> MarkdownIt:
    """Return a CommonMark parser with GitHub's tables and strikethrough and separate escapes."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")
    parser.block.ruler.at(
        "html_block", _html_block, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    # Link targets are not kept, and no rule here begins at any other character.
    parser.normalizeLink = _keep_url
    parser.inline.terminator_re = re.compile("[" + re.escape(_TERMINATORS) + "]")
    return parser


def enable_extensions(parser: MarkdownIt) -> MarkdownIt:
    """Add this module's rules to the parser."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "math_block", _math_block, interrupts)
    parser.block.ruler.before("fence", "template", _template, interrupts)
    parser.block.ruler.before("reference", "note", _note, {"alt": ["paragraph", "reference"]})
    parser.inline.ruler.before("escape", "forms", _inline_extension)
    parser.inline.terminator_re = re.compile("[" + re.escape(_MORE_TERMINATORS) + "]")
    return parser


def _keep_url(url: str) -> str:
    return url


@lru_cache(maxsize=2)
def _parser(with_extensions: bool) -> MarkdownIt:
    return enable_extensions(basic_parser()) if with_extensions else basic_parser()


def _inline_extension(state: StateInline, silent: bool) -> bool:
    """Try the syntax that may begin here, in one rule, because each rule runs at every mark."""
    rule = _INLINE_RULES.get(state.src[state.pos])
    return rule is not None and rule(state, silent)


def _push(state: StateInline, kind: str, content: str, end: int, *, silent: bool) -> bool:
    if not silent:
        token = state.push(kind, "", 0)
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
    for opening, closing in (
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("\\\\(", "\\\\)"),
        ("\\\\[", "\\\\]"),
    ):
        if source.startswith(opening, start):
            end = _find_formula_end(source, closing, start + len(opening))
            return end > 0 and _match_formula(state, end, silent=silent, mark_length=len(opening))
    if match := _ENVIRONMENT.match(source, start):
        end = _find_formula_end(source, f"\\end{{{match[1]}}}", match.end())
        return end > 0 and _match_formula(state, end, silent=silent)
    return False


def _find_formula_end(source: str, mark: str, start: int) -> int:
    """Return the end of a formula that `mark` closes, or 0 if there is none nearby."""
    position = source.find(mark, start, start + _MAX_FORMULA)
    return position + len(mark) if position >= 0 else 0


def _match_formula(state: StateInline, end: int, *, silent: bool, mark_length: int = 1) -> bool:
    """Match a formula that parsing would change; any other text may be two prices."""
    text = state.src[state.pos : end]
    if end > state.posMax or _NO_FORMULA.search(text):
        return False
    return bool(_MARKUP_CHARACTER.search(text, mark_length, len(text) - mark_length)) and _push(
        state, "math_inline", " ".join(text.split()), end, silent=silent
    )


def _bracket_rule(state: StateInline, silent: bool) -> bool:
    source, start = state.src, state.pos
    following = source[start + 1 : start + 2]
    if following == "[":
        return _wiki_link_rule(state, silent)
    match = _NOTE_MARK.match(source, start) if following == "^" else None
    if match is None or not (match[1] in state.env.get("notes", ()) or match[1].isdecimal()):
        return False
    is_inside_word = (
        source[start - 1 : start].isalnum() and source[match.end() : match.end() + 1].isalnum()
    )
    separator = " " if is_inside_word and source[start - 1].isascii() else ""
    return _push(state, "text", separator, match.end(), silent=silent)


def _wiki_link_rule(state: StateInline, silent: bool) -> bool:
    match = _WIKI_LINK.match(state.src, state.pos)
    if match is None or match[2][0].isspace():
        return False
    if match[2].upper() in state.env.get("references", {}):  # [[1]], where [1]: is defined
        return False
    words = "" if match[1] else extract_wiki_link_text(match[2])
    return _push(state, "text", words, match.end(), silent=silent)


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
    return match is not None and _push(state, "text", "", match.end(), silent=silent)


_INLINE_RULES: dict[str, Callable[[StateInline, bool], bool]] = {
    "$": _dollar_rule,
    "\\": _backslash_rule,
    "[": _bracket_rule,
    "!": _exclamation_rule,
    "{": _brace_rule,
}


def _line_text(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    first = _line_text(state, start)
    if first[:1] not in {"$", "\\"}:
        return False
    opening = next((mark for mark in _FORMULA_END_MARKS if first.startswith(mark)), "")
    closing = _FORMULA_END_MARKS.get(opening, "")
    if not opening and (match := _ENVIRONMENT.match(first)):
        opening, closing = match[0], f"\\end{{{match[1]}}}"
    last = _last_line(state, start, end, opening, closing) if opening else None
    if last is None:
        return False
    content = state.getLines(start, last + 1, state.sCount[start], False)
    if "\\" not in content and any(state.isEmpty(line) for line in range(start, last)):
        return False  # two marks with prose between them
    if opening == "\\[" and not _MARKUP_CHARACTER.search(content, 2, len(content) - 2):
        return False
    if not silent:
        state.line = last + 1
        token = state.push("math_block", "", 0)
        token.map = [start, last + 1]
        token.content = "\n".join(line.rstrip() for line in content.split("\n") if line.strip())
    return True


def _last_line(state: StateBlock, start: int, end: int, opening: str, closing: str) -> int | None:
    """Return the line where a displayed formula ends without text after it, or None."""
    for line in range(start, min(end, start + _MAX_BLOCK_LINES)):
        if line > start and not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None
        text = _line_text(state, line)
        position = text.find(closing, len(opening) if line == start else 0)
        if position >= 0:
            return line if _FORMULA_LABEL.fullmatch(text, position + len(closing)) else None
    return None


def _template(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match a template tag over several lines, one of which might otherwise begin a block."""
    begin = state.bMarks[start] + state.tShift[start]
    if state.src[begin : begin + 1] != "{" or state.is_code_block(start):
        return False
    match = TEMPLATE_TAG.match(state.src, begin, state.eMarks[end - 1])
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


def _note(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match `[^1]: text` and its further, indented paragraphs, which keep their position."""
    if state.is_code_block(start):
        return False
    match = _NOTE.match(_line_text(state, start))
    depth = state.env.get("note_depth", 0)
    if match is None or depth >= _MAX_NOTES_IN_NOTES:
        return False
    if silent:
        return True
    lines = [_line_text(state, start)[match.end() :]]
    after_empty = False
    line = start + 1
    while line < end:
        empty = state.isEmpty(line)
        indent = state.sCount[line] - state.blkIndent
        if not empty and (
            (after_empty and indent < 2) or indent < 0 or _NOTE.match(_line_text(state, line))
        ):
            break
        lines.append("" if empty else state.getLines(line, line + 1, state.blkIndent + 4, False))
        after_empty = empty
        line += 1
    state.env["note_depth"] = depth + 1
    state.md.block.parse("\n".join(lines), state.md, state.env, state.tokens)
    state.env["note_depth"] = depth
    state.line = line
    return True


def _html_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
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
    first = _line_text(state, start)
    if first.lower().startswith(_RAW_TEXT_STARTS):
        return True
    last = _find_html_end(state, start, state.line, end)
    if last != state.line:
        state.line = last
        token.map = [start, last]
        token.content = state.getLines(start, last, state.blkIndent, True)
    return True


def _find_html_end(state: StateBlock, start: int, line: int, end: int) -> int:
    """Return the line after raw HTML that begins at `start`; CommonMark ends it before `line`."""
    if _MARKDOWN_ATTRIBUTE.match(_line_text(state, start)):
        return start + 1
    current = start
    while current < line:
        text = _line_text(state, current)
        if current > start and state.sCount[current] < 4 and _FENCE_START.match(text):
            return current
        element_end = _find_element_end(state, current, end, text)
        current = element_end if element_end is not None else current + 1
        line = max(line, current)
        if current == line:
            line = _find_indented_tags_end(state, line, end)
    return line


def _find_element_end(state: StateBlock, first: int, end: int, text: str) -> int | None:
    """Return the end of an element that begins in this line without Markdown content, or None."""
    for opens, closes in _RAW_ELEMENTS:
        if (match := opens.search(text)) and not closes.search(text, match.end()):
            return _find_line(state, first + 1, min(end, first + _MAX_BLOCK_LINES), closes)
    if _UNFINISHED_TAG.search(text):
        return _find_line(state, first + 1, min(end, first + _MAX_TAG_LINES), _TAG_END)
    return None


def _find_indented_tags_end(state: StateBlock, line: int, end: int) -> int:
    """Return the line after following tags that are indented like code."""
    following = line
    while following < end and state.isEmpty(following):
        following += 1
    if (
        not line < following < end
        or state.sCount[following] - state.blkIndent < 4
        or not _line_text(state, following).startswith("<")
    ):
        return line
    while following < end and not state.isEmpty(following):
        following += 1
    return following


def _find_line(state: StateBlock, start: int, end: int, pattern: re.Pattern[str]) -> int | None:
    for line in range(start, end):
        if not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None
        if pattern.search(_line_text(state, line)):
            return line
    return None
