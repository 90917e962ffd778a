"""Parse Markdown beyond CommonMark: formulas, notes, wiki links, tags, directives, raw HTML.

Syntax: https://pandoc.org/MANUAL.html#math (`$` between words is money), https://docs.mathjax.org
(`\\(`, `\\[`, environments), https://github.github.com/gfm/,
https://pandoc.org/MANUAL.html#footnotes, https://help.obsidian.md/links and
https://help.obsidian.md/callouts, https://github.com/remarkjs/remark-directive (also Docusaurus',
VuePress' and Quarto's admonitions). Every search is bounded, because each unclosed mark would
otherwise cause a search to the end of the text.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from twin_assets.corpus.template_tags import TEMPLATE_TAG

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.ruler import RuleOptionsType
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline

_DISPLAYED_FORMULAS = (
    r"(\$\$)(?:[^$\\]|\\.|\$(?!\$)){1,4000}\$\$"
    r"|(\\\\?)\[(?:[^\\]|\\(?!\])){1,4000}\2\]"
    r"|\\begin\{([A-Za-z]{1,40}\*?)\}.{0,4000}?\\end\{\3\}"
)
_FORMULA_OR_TAG_LINES = re.compile(
    rf"(?:{_DISPLAYED_FORMULAS})[ \t]*(?:\(\d+\)|\{{#[^{{}}]{{1,80}}\}})?[.,;:]?"
    rf"|{TEMPLATE_TAG.pattern}",
    re.DOTALL,
)
# To exclude prices, a formula has no space inside its dollar signs and no digit after them.
_FORMULA = re.compile(
    rf"{_DISPLAYED_FORMULAS}|\$(?!\s)(?:[^$\\]|\\.){{1,2000}}(?<!\s)\$(?!\d)"
    r"|(\\\\?)\((?:[^\\]|\\(?!\))){1,2000}\4\)",
    re.DOTALL,
)
_MARKUP_CHARACTER = re.compile(r"[\\_*{}<&~^\[`|]")
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_NON_FORMULA = re.compile(r"\]\(|`|https?:|\n[ \t]*\n")
_FOOTNOTE = re.compile(r"\[\^([^\[\]\s]{1,100})\]:[ \t]*")
_FOOTNOTE_MARK = re.compile(r"\[\^([^\[\]\s]{1,100})\]")
_WIKI_LINK = re.compile(r"(!?)\[\[([^\[\]\s][^\[\]\n]{0,300})\]\](?!\(|\[(?!\^))")
# `:::note[A title]`, `::: tip A title`, `::: {.box}` and the end `:::`; `::video[A title]{#id}`.
_DIRECTIVE_LINE = re.compile(
    r":{3,40}[ \t]*(?:[A-Za-z][\w-]{0,60})?(?:\[(?P<label>[^\[\]\n]{0,500})\])?[ \t]*"
    r"(?:\{[^{}\n]{0,500}\})?(?:[ \t]+(?P<title>[^:{}\n][^{}\n]{0,200}?))?[ \t]*:{0,40}[ \t]*"
    r"|::[A-Za-z][\w-]{0,60}(?=[\[{])(?:\[(?P<leaf>[^\[\]\n]{0,500})\])?"
    r"(?:\{[^{}\n]{0,500}\})?[ \t]*"
)
_DIRECTIVE_NAME = re.compile(r"(?<![\w:]):[A-Za-z][\w-]{0,40}\Z")
_DIRECTIVE_WORDS = re.compile(
    r"\[((?:[^\[\]\\]|\\.|\[[^\[\]]{0,500}\]){0,1000}+)\](?![(\[])(?:\{[^{}\n]{0,500}\})?",
    re.DOTALL,
)
_HEADING_ID = re.compile(r"[ \t]*\{[#.][^{}\n]{0,200}\}$")
_BLOCK_ID = re.compile(r"[ \t]\^[0-9a-f]{6}$")
# Some site generators show the picture that a line names, with the next line as its caption.
_PICTURE_LINES = re.compile(
    r"(?:[^\s<>|\[\]`]{1,200}\.(?:png|jpe?g|gif|webp|svg|avif|heic|bmp|tiff?|mp4|webm|mov)"
    r"[ \t]*(?:\n|\Z))+",
    re.IGNORECASE,
)
# The first line of a callout: `[!note] a title`.
_CALLOUT = re.compile(r"\[![ \t]*([^\[\]|\n]{1,60})(?:\|[^\]\n]{0,80})?\][+-]?[ \t]*")
_QUOTATION_CALLOUTS = frozenset({"quote", "cite", "quotation"})
_RAW_TEXT_START = re.compile(r"<(?:(?:pre|script|style|textarea)\b|[!?])", re.IGNORECASE)
_MARKDOWN_ATTRIBUTE = re.compile(
    r"<\w[^<>]{0,300}?\bmarkdown=[\"']?(?:1|block|span|true)\b", re.IGNORECASE
)
_HTML_LINES = re.compile(
    r"""
    (?: <pre\b.{0,10000}?</pre\s*>
      | <script\b.{0,10000}?</script\s*>
      | <style\b.{0,10000}?</style\s*>
      | <!--.{0,10000}?-->
      | <[a-z](?:[^<>\n]*\n){0,5}[^<>\n]*>
      | [^\n<]+ | <
      | \n(?:[ \t]*\n)+(?=(?:[ ]{4}|\t)[ \t]*<)  # tags that are indented like code
      | \n(?![ \t]*(?:\n|\Z) | [ ]{0,3}(?:`{3,}[^`\n]*$|~{3,}))
    )*+""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_TERMINATORS = re.compile(r"[\n!&*<\[\\\]_`~${]")


def build_basic_parser() -> MarkdownIt:
    """Return a parser of CommonMark, GitHub's tables and strikethrough, and this module's rules."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    # Of the default, 20, a list takes two, and what comes after a deeper block is lost.
    parser.options["maxNesting"] = 40
    # An escaped character stays a token of its own, as it may need its backslash again.
    parser.disable("text_join")
    parser.normalizeLink = lambda url: url  # no link's target is kept
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    block, inline = parser.block.ruler, parser.inline.ruler
    line_rule = build_line_rule(_FORMULA_OR_TAG_LINES, _read_formula_or_tag)
    block.before("fence", "formula_or_tag", line_rule, interrupts)
    block.before("reference", "footnote", _footnote_rule, {"alt": ["paragraph", "reference"]})
    block.before("fence", "directive", _directive_rule, interrupts)
    block.at("html_block", _html_block_rule, {"alt": ["paragraph", "reference", "blockquote"]})
    inline.before("escape", "extension", _inline_rule)
    # No rule begins at any other character.
    parser.inline.terminator_re = _TERMINATORS
    parser.core.ruler.before("inline", "edit", _edit_inline_sources)
    return parser


def build_line_rule(
    pattern: re.Pattern[str], read: Callable[[str, re.Match[str]], tuple[str, str] | None]
) -> Callable[[StateBlock, int, int, bool], bool]:
    """Return a rule for a pattern that fills one or more whole lines.

    Args:
        read: takes the lines without the marks of their container, and the match; returns the type
            and the content of the token, or None if it is something else.
    """

    def line_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        position = state.bMarks[start] + state.tShift[start]
        found = pattern.match(state.src, position, state.eMarks[end - 1])
        if found is None or state.is_code_block(start):
            return False
        last = start
        while state.eMarks[last] < found.end():
            last += 1
        leaves_container = any(
            state.sCount[line] < state.blkIndent and not state.isEmpty(line)
            for line in range(start, last + 1)
        )
        if leaves_container or state.src[found.end() : state.eMarks[last]].strip():
            return False
        token_fields = read(state.getLines(start, last + 1, state.sCount[start], False), found)
        if token_fields is not None and not silent:
            state.line = last + 1
            token = state.push(token_fields[0], "", 0)
            token.map = [start, last + 1]
            token.content = token_fields[1]
        return token_fields is not None

    return line_rule


def _read_formula_or_tag(text: str, found: re.Match[str]) -> tuple[str, str] | None:
    """Return a formula, or nothing of a template tag with a line that might begin a block."""
    if text.startswith("{"):
        return ("html_block", "") if "\n" in text else None
    if "\\" not in text and _EMPTY_LINE.search(text):
        return None  # two marks with prose between them
    if found[2] == "\\" and not _MARKUP_CHARACTER.search(text, 2, len(text) - 2):
        return None
    lines = (line.rstrip() for line in text.split("\n"))
    return "math_block", "\n".join(line for line in lines if line)


def _footnote_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match the mark of a footnote; its text and the indented blocks below stay in place."""
    position = state.bMarks[start] + state.tShift[start]
    found = _FOOTNOTE.match(state.src, position, state.eMarks[start])
    if found is None or state.is_code_block(start):
        return False
    if silent:
        return True
    state.env.setdefault("footnotes", set()).add(found[1])
    unchanged = state.bMarks[start], state.tShift[start], state.sCount[start]
    state.level += 1
    state.blkIndent += 4
    state.bMarks[start], state.tShift[start], state.sCount[start] = found.end(), 0, state.blkIndent
    state.md.block.tokenize(state, start, end)
    state.bMarks[start], state.tShift[start], state.sCount[start] = unchanged
    state.blkIndent -= 4
    state.level -= 1
    return True


def _directive_rule(state: StateBlock, start: int, _end: int, silent: bool) -> bool:
    """Match a directive's line, of which only a title is kept; its content is the lines after."""
    position = state.bMarks[start] + state.tShift[start]
    if not state.src.startswith("::", position) or state.is_code_block(start):
        return False
    found = _DIRECTIVE_LINE.fullmatch(state.src, position, state.eMarks[start])
    if found is None:
        return False
    if not silent:
        state.line = start + 1
        title = found["label"] or found["title"] or found["leaf"] or ""
        state.push("paragraph_open", "p", 1)
        inline = state.push("inline", "", 0)
        inline.map, inline.content, inline.children = [start, start + 1], title.strip(), []
        state.push("paragraph_close", "p", -1)
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
    line_start = state.bMarks[start]
    position = line_start + state.tShift[start]
    is_in_quotation = line_start > 0 and state.src[line_start - 1] != "\n"
    if silent or is_in_quotation or _RAW_TEXT_START.match(state.src, position):
        return True
    line = start + 1
    if not _MARKDOWN_ATTRIBUTE.match(state.src, position):
        found = _HTML_LINES.match(state.src, position, state.eMarks[end - 1])
        while (
            found is not None
            and line < end
            and state.bMarks[line] < found.end()
            and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent)
        ):
            line += 1
    state.line = line
    token = state.tokens[-1]
    token.map = [start, line]
    token.content = state.getLines(start, line, state.blkIndent, True)
    return True


def _inline_rule(state: StateInline, silent: bool) -> bool:
    """Match a formula, a template tag, a footnote mark or a wiki link; one rule is faster."""
    source, start = state.src, state.pos
    kind, content = "text", ""
    match source[start]:
        case "$" | "\\":
            kind = "math_inline"
            found = _FORMULA.match(source, start, state.posMax)
            if found is None or not _is_formula(found):
                return False
            content = " ".join(found[0].split())
        case "{":
            found = TEMPLATE_TAG.match(source, start, state.posMax)
        case "[" if source.startswith("[^", start):
            found = _FOOTNOTE_MARK.match(source, start, state.posMax)
            if found is None or found[1] not in state.env.get("footnotes", ()):
                return False
            content = _separate_words(
                source[start - 1 : start], source[found.end() : found.end() + 1]
            )
        case "[" if not silent and ":" in state.pending[-42:] and _open_directive(state):
            return True
        case "[" | "!":
            found = _WIKI_LINK.match(source, start, state.posMax)
            if found is None or found[2].upper() in state.env.get("references", {}):
                return False  # also [[1]], where [1]: is defined
            content = "" if found[1] else _read_wiki_link(found[2])
        case _:
            return False
    if found is None:
        return False
    if not silent:
        state.push(kind, "", 0).content = content
    state.pos = found.end()
    return True


def _open_directive(state: StateInline) -> bool:
    """Parse the words of `:name[words]{attributes}`, of which only they are kept."""
    name, last = _DIRECTIVE_NAME.search(state.pending[-44:]), state.posMax
    found = _DIRECTIVE_WORDS.match(state.src, state.pos, last) if name else None
    if name is None or found is None:
        return False
    state.pending = state.pending[: -len(name[0])]
    state.pos, state.posMax = found.span(1)
    state.md.inline.tokenize(state)
    state.pos, state.posMax = found.end(), last
    return True


def _is_formula(found: re.Match[str]) -> bool:
    """Return whether parsing would change a formula; any other match may be two prices."""
    mark_length = 1 + len(found[2] or found[4] or "")
    return not _NON_FORMULA.search(found[0]) and bool(
        _MARKUP_CHARACTER.search(found[0], mark_length, len(found[0]) - mark_length)
    )


def _separate_words(previous: str, following: str) -> str:
    return " " if previous.isascii() and previous.isalnum() and following.isalnum() else ""


def _read_wiki_link(inner: str) -> str:
    """Return the visible text of `[[inner]]`: its label, or else the page's or heading's name."""
    page, _, label = inner.replace("\\|", "|").partition("|")
    if label.strip():
        return label.strip()
    page, _, heading = page.partition("#")
    heading = "" if heading.startswith("^") else heading.replace("#", " ").strip()
    return page.rsplit("/", 1)[-1].strip().removesuffix(".md") or heading


def _edit_inline_sources(state: StateCore) -> None:
    """Remove names of pictures and ids from the blocks, and make callouts plain blocks."""
    for index, token in enumerate(state.tokens):
        if token.type != "inline":
            continue
        container = state.tokens[index - 2].type if index > 1 else ""
        if token.content.startswith("[!") and container == "blockquote_open":
            _unwrap_callout(state, index)
        if state.tokens[index - 1].type == "heading_open":
            token.content = _HEADING_ID.sub("", token.content)
        elif container != "list_item_open" and (found := _PICTURE_LINES.match(token.content)):
            token.content = token.content[found.end() :]
        if "^" in token.content[-7:]:
            token.content = _BLOCK_ID.sub("", token.content)


def _unwrap_callout(state: StateCore, index: int) -> None:
    """Remove a callout's mark; its title becomes a line, and the author's are no quotation."""
    inline, quotation = state.tokens[index], state.tokens[index - 2]
    callout = _CALLOUT.match(inline.content)
    if callout is None:
        return
    inline.content = inline.content[callout.end() :].replace("\n", "  \n", 1)
    if callout[1].strip().lower() in _QUOTATION_CALLOUTS:
        return
    quotation.tag = "div"
    for token in state.tokens[index:]:
        if token.type == "blockquote_close" and token.level == quotation.level:
            token.tag = "div"
            return
