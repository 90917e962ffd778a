"""Parse MDX: Markdown with `import`, `{expressions}` and components; only the prose is kept.

Grammar: https://mdxjs.com/docs/what-is-mdx/. A component is reduced to its children, like an
unknown HTML element. A component with "quote" in its name becomes a block quotation. Text that a
component renders from its attributes is lost. MDX allows Markdown between tags but no indented
code.
"""
# pyright: strict

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twin_assets.corpus.markdown_syntax import build_line_rule

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.ruler import RuleOptionsType
    from markdown_it.rules_inline import StateInline

_IMPORT = re.compile(
    r"\s*import\s+(?:[\w$*{][^'\"\n;]{0,300}\sfrom\s+)?['\"][^'\"\n]{1,300}['\"];?[ \t]*$",
    re.MULTILINE,
)


def _nest_braces(depth: int) -> str:
    """Return a pattern of braces in braces; possessive repetition keeps the time linear."""
    inner = rf"|{_nest_braces(depth - 1)}" if depth else ""
    return rf"\{{(?:[^{{}}]{inner}){{0,20000}}+\}}"


_BRACES = _nest_braces(4)
_STRINGS = r"\"[^\"]{0,4000}\"|'[^']{0,4000}'"
_ATTRIBUTES = rf"(?=[\s/>])(?:[^\"'{{}}<>]|{_STRINGS}|{_BRACES}){{0,4000}}+"
_TAG_OR_EXPRESSION = rf"<(/?)((?:[A-Za-z][\w.:-]{{0,80}})?){_ATTRIBUTES}>|{_BRACES}"
_NEXT = re.compile(_TAG_OR_EXPRESSION)
_LINES = re.compile(rf"(?:(?:{_TAG_OR_EXPRESSION})[ \t]*)+")
_MODULE_LINES = re.compile(
    r"(?:import\s+(?:['\"]|[\w$*{},\s]+from\s|\{[ \t]*$|[\w$]+,?[ \t]*\{?[ \t]*$)"
    r"|export\s+(?:const|let|var|function|async|default|class|type|interface|\{|\*))"
    rf"(?:{_BRACES}|[^\n]|\n(?![ \t]*(?:\n|\Z)))*+",
    re.MULTILINE,
)
_STRING = re.compile(r"\{\s*(?:'([^'\\\n]*)'|\"([^\"\\\n]*)\"|`([^`\\$]*)`)\s*\}")


def has_mdx_import(text: str) -> bool:
    """Return whether the first line of a post is an import."""
    return text.lstrip().startswith("import") and bool(_IMPORT.match(text))


def add_mdx_rules(parser: MarkdownIt) -> None:
    """Make a parser of `markdown_syntax` read MDX."""
    parser.disable(["code", "autolink", "html_inline"])
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote"]}
    module_rule = build_line_rule(_MODULE_LINES, _read_module)
    parser.block.ruler.before("fence", "module", module_rule, {"alt": []})
    parser.block.ruler.at("html_block", build_line_rule(_LINES, _read_tags), interrupts)
    parser.inline.ruler.before("extension", "element", _element_rule)


def _read_module(_text: str, _found: re.Match[str]) -> tuple[str, str]:
    return "html_block", ""


def _read_tags(_text: str, found: re.Match[str]) -> tuple[str, str]:
    return "html_block", "".join(map(_to_html_tag, _NEXT.finditer(found[0])))


def _element_rule(state: StateInline, silent: bool) -> bool:
    """Match an element's tag or an expression; only a string literal has text."""
    if state.src[state.pos] not in "<{":
        return False
    found = _NEXT.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent and found[0].startswith("<"):
        state.push("html_inline", "", 0).content = _to_html_tag(found)
    elif not silent:
        text = _STRING.fullmatch(found[0])
        state.push("text", "", 0).content = text[text.lastindex or 0] if text else ""
    state.pos = found.end()
    return True


def _to_html_tag(tag: re.Match[str]) -> str:
    """Return a tag as HTML without attributes; a component becomes a quotation or ""."""
    name = tag[2] or ""
    if "quote" in name.lower() and name != "q":
        name = "blockquote"
    if not name or name[0].isupper() or "." in name:
        return ""
    end_tag = f"</{name}>" if tag[0].endswith("/>") and name != "br" else ""
    return f"<{tag[1]}{name}>{end_tag}"
