"""Count the words that a document misses or has gained, by a reader that no converter uses.

The reader is plain: it knows which elements hold a page's words, not which of them are the post.
Navigation, notices, other people's comments, code, footnotes and captions are not missed, because
a document rightly leaves them out.
"""
# pyright: strict

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from twin_assets.corpus.code_blocks import iter_prose_lines, replace_highlights
from twin_assets.corpus.importers.html_head import drop_hidden_elements, parse_html

MAX_CHANGED_SHARE = 0.02
"""The largest share of a post's words that its document may miss, or have gained."""

_MIN_BLOCK_WORDS = 5
_MAX_LINK_SHARE = 0.5
_MAX_SKIPPED_SHARE = 0.3
_MIN_CHANGED_WORDS = 8

# Numbers, single letters and formulas look different in Markdown.
# A script without spaces has no words but its characters.
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])[^\W\d_]){{2,}}")
# The bounds keep the time linear where marks are not closed.
_ADDRESS = re.compile(r"(?<!\S)\S{0,300}(?:@|://|www\.)\S{0,2000}")
_INLINE_CODE = re.compile(
    # A formula that Pandoc has written ends with its dollar.
    r"(?<![\\$])\$`[^`$]{1,1000}`\$"
    r"|(?<!\\)(`+)(?!`)(?:(?!\n[ \t]*\n).){1,1000}?(?<!`)\1(?!`)",
    re.DOTALL,
)
# Two prices of a sentence or of a list are no formula (https://pandoc.org/MANUAL.html#math).
_FORMULA = re.compile(
    r"\\\(.{1,1000}?\\\)"
    r"|(?<![\\$\w])\$(?!\s)(?:[^$\\\n]|\\.|\n(?![ \t]*(?:[*+-]|\d+[.)])[ \t])){1,1000}"
    r"(?<!\s)\$(?!\d)",
    re.DOTALL,
)
_LINK_TARGET = re.compile(
    r"\](?:\([^()\s]{0,2000}(?:\([^()\s]{0,500}\)[^()\s]{0,500})?\)|:[ \t]*\S+)"
)
_EMPHASIS_OR_ESCAPE = re.compile(r"\*{1,3}|~~|\\(?=[^\w\s])")
_HTML_TAG = re.compile(r"(?<!\\)</?[a-z][\w-]{0,60}(?:\s[^<>]{0,500})?/?>", re.IGNORECASE)
_TEMPLATE_TAG = re.compile(r"\{%[^%]{0,500}%\}|\{\{[^{}]{0,500}\}\}")
_NOTE = re.compile(r"\s*(?:\[\d{1,3}\]|[↩↑^†‡*]\s)")

_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd"}
    | {"details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer"}
    | {"form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend", "li"}
    | {"main", "menu", "nav", "ol", "optgroup", "option", "p", "pre", "section", "summary"}
    | {"table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul"}
)
_SKIPPED = frozenset(
    {"aside", "audio", "button", "canvas", "code", "figcaption", "footer", "form", "head", "iframe"}
    | {"input", "kbd", "math", "nav", "noscript", "object", "pre", "samp", "script", "select"}
    | {"style", "sup", "svg", "template", "textarea", "title", "tt", "video"}
    | {"h1", "h2", "h3", "h4", "h5", "h6"}
)
_SKIPPED_NAME = re.compile(
    r"(?:^|[-_\s])(?:ads?|advert\w*|archive\w*|author|banner|bibliography|bio|breadcrumbs?|byline"
    r"|caption|category|categories|citation|comments?|commentlist|cookies?|copyright|disqus\w*|endnotes?|foot"
    r"|footer|footnotes?|giscus|header|hidden|katex|licen[cs]e|marginnote|masthead|math|mathjax"
    r"|menu|meta|modal|nav\w*|newsletter|next|pager|pagination|pingbacks?|popup|prev\w*|promo\w*"
    r"|recommend\w*|references|related\w*|repl(?:y|ies)|respond|search\w*|share\w*|sharing|sidebar"
    r"|sidenote|signup|social\w*|sr-only|subscri\w+|tags?|toc|trackbacks?|utterances|webmentions?"
    r"|widgets?)(?:$|[-_\s])",
    re.IGNORECASE,
)


_ORG_LINE = re.compile(
    r"\*+[ \t].*|[ \t]*(?:\\begin\{.*|\#\+.*|\#[ \t].*|\#|\|.*|:[ \t].*"
    r"|(?:CLOCK|SCHEDULED|DEADLINE|CLOSED):.*)"
)
# A heading with its text, and the deeper headings below it.
_ORG_UNEXPORTED = re.compile(
    r"^(\*+)[ \t]+(?:[A-Z]{2,20}[ \t]+)?(?:\[\#\w\][ \t]+)?"
    r"(?:COMMENT\b[^\n]*|[^\n]*[ \t]:(?:[\w@\#%]+:)*noexport:(?:[\w@\#%]+:)*[ \t]*)"
    r"(?:\n(?!(?!\1\*)\*+[ \t])[^\n]*)*",
    re.MULTILINE,
)
_ORG_INLINE = re.compile(
    r"\[\[[^\[\]]{0,2000}\]\[(?P<words>[^\[\]]{0,2000})\]\]|\[\[[^\[\]]{0,2000}\]\]"
    r"|\[(?:fn|cite(?:/[\w/-]{1,60})?):[^\[\]]{0,2000}\]|@@[^@]{0,2000}@@|\{\{\{[^{}]{0,500}\}\}\}"
    r"|(?<!\w)(?P<code>[=~])(?=\S)[^\n]{1,300}?(?<=\S)(?P=code)(?!\w)"
    r"|[<\[]\d{4}-\d\d-\d\d[^<>\[\]]{0,40}[>\]]"
)
_ASCIIDOC_LINE = re.compile(
    r"=+[ \t].*|\#+[ \t].*|:!?[\w-]+!?:.*|//.*|\[[^\]]*\][ \t]*|\.\w.*|\|.*"
    r"|(?:image|video|audio|include|ifdef|ifndef|ifeval|endif|toc|gist)::.*"
)
# A paragraph, or an open block, below the name of its kind.
_ASCIIDOC_LISTING = re.compile(
    r"^\[(?:source|listing|literal)\b[^\]\n]{0,200}\][ \t]*\n(?:--[ \t]*\n(?:[^\n]*\n)*?--[ \t]*$"
    r"|(?:(?!-{4}|\.{4}|`{3}|\.\w|\[)[^\n]*\S[^\n]*(?:\n|\Z))+)",
    re.MULTILINE,
)
_ASCIIDOC_FENCE = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,}|\|={3,})[^\n]*")
_ASCIIDOC_INLINE = re.compile(
    r"(?:(?:https?|ftp|irc)://|(?:link|mailto|xref):|\{[\w-]{1,60}\})[^\s\[\]<>]{0,2000}"
    r"\[\"?(?P<words>[^\[\]]{0,1000}?)\"?(?:,[^\[\]]{0,300}=[^\[\]]{0,300})?\]"
    r"|(?:footnote(?:ref)?|image|icon|kbd|btn|menu|pass|stem|indexterm2?|anchor):[^\s\[]{0,300}"
    r"\[(?:[^\[\]]|\[[^\[\]]{0,1000}\]){0,2000}\]"
    r"|<<[^<>]{0,500}>>|\[\[[^\[\]]{0,500}\]\]|\+{3}(?:(?!\+{3})[\s\S]){0,2000}\+{3}"
    r"|`[^`]{1,1000}`|\+[^+\n]{1,300}\+|\{[\w-]{1,60}\}|\[[^\]\n]{0,100}\](?=\#)"
)


@dataclass(frozen=True)
class SourceWords:
    """The words of a source.

    Attributes:
        prose: the words of its running text, with their number.
        all: every word in it.
    """

    prose: Counter[str] = field(default_factory=Counter[str])
    all: Counter[str] = field(default_factory=Counter[str])

    def count_changes(self, markdown: str) -> tuple[int, int]:
        """Return the number of words of the prose that a document misses, and of its new words."""
        document = count_markdown_words(markdown)
        return (self.prose - document).total(), (document - self.all).total()

    def is_changed(self, markdown: str) -> bool:
        """Return whether a document misses, or has gained, too many words."""
        changed = max(self.count_changes(markdown))
        return changed >= _MIN_CHANGED_WORDS and changed > MAX_CHANGED_SHARE * self.prose.total()


def read_html_words(
    source: str, *, is_notice: Callable[[str], bool] = lambda _block: False
) -> SourceWords:
    """Read the words of a page or of a fragment.

    Args:
        is_notice: whether a block is a platform's button or notice, which a document leaves out.
    """
    source = replace_highlights(source, lambda _code, _language: " ")
    tree = parse_html(_TEMPLATE_TAG.sub(" ", source))
    if tree is None:
        return SourceWords()
    drop_hidden_elements(tree, source)
    _separate_blocks(tree)
    root = _find_root(tree)
    everything = _count_all_words(str(tree.text_content()))
    limit = _MAX_SKIPPED_SHARE * count_words([str(root.text_content())]).total()
    blocks: list[tuple[str, str]] = []
    _collect_blocks(root, limit, blocks)
    prose: Counter[str] = Counter()
    for text, link_text in blocks:
        words = count_words([_remove_formulas(text)])
        if (
            not _NOTE.match(text)
            and not is_notice(text)
            and words.total() >= _MIN_BLOCK_WORDS
            and count_words([link_text]).total() < _MAX_LINK_SHARE * words.total()
        ):
            prose += words
    return SourceWords(prose, everything)


def read_org_words(source: str) -> SourceWords:
    """Read the words of an Org file (https://orgmode.org/worg/org-syntax.html)."""

    def find_end(line: str, _is_first: bool, _is_after_blank: bool) -> str:
        if (block := re.match(r"\s*#\+begin_(\S+)", line, re.IGNORECASE)) is not None:
            is_text = block[1].lower() in {"quote", "verse", "center"}
            return "" if is_text else rf"\s*#\+end_{re.escape(block[1])}\b.*"
        if (formula := re.match(r"\s*\\begin\{(\w+\*?)\}", line)) is not None:
            last_line = rf".*\\end\{{{re.escape(formula[1])}\}}.*"
            return "" if re.fullmatch(last_line, line) else last_line
        if line.strip() == r"\[":
            return r".*\\\].*"
        if re.fullmatch(r"\s*:[\w-]+:\s*", line):
            return r"\s*:end:\s*"
        return r"\s*" if line.startswith("[fn:") else ""

    prose = _ORG_UNEXPORTED.sub("", source.replace("\r\n", "\n"))
    return _read_plain_words(prose, find_end, _ORG_LINE, _ORG_INLINE)


def read_asciidoc_words(source: str) -> SourceWords:
    """Read the words of an AsciiDoc file (https://docs.asciidoctor.org/asciidoc/latest/)."""

    def find_end(line: str, is_first: bool, is_after_blank: bool) -> str:
        if fence := _ASCIIDOC_FENCE.fullmatch(line):
            return rf"{re.escape(fence[1])}\s*"
        is_literal = is_after_blank and re.match(r"\s+(?![*.-]+\s|\d+\.|\S+::)", line)
        return r"\s*" if is_literal or (is_first and line.startswith("= ")) else ""

    prose = _ASCIIDOC_LISTING.sub("", source.replace("\r\n", "\n"))
    words = _read_plain_words(prose, find_end, _ASCIIDOC_LINE, _ASCIIDOC_INLINE)
    return replace(words, all=words.all | _count_all_words(source))


def _read_plain_words(
    source: str,
    find_end: Callable[[str, bool, bool], str],
    skipped_line: re.Pattern[str],
    inline: re.Pattern[str],
) -> SourceWords:
    """Read lines outside blocks that are no prose, with the words of their links.

    Args:
        find_end: takes a line, whether it is the first, and whether an empty line precedes it;
            returns the pattern of the last line of the block that it opens, or "".
    """
    prose: list[str] = []
    end, previous = "", ""
    for number, line in enumerate(source.replace("\r\n", "\n").split("\n")):
        if end:
            end = "" if re.fullmatch(end, line, re.IGNORECASE) else end
        elif not (end := find_end(line, number == 0, not previous.strip())):
            prose.append("" if skipped_line.fullmatch(line) else line)
        previous = line
    text = inline.sub(
        lambda match: f" {_INLINE_CODE.sub(' ', match['words'] or '')} ", "\n".join(prose)
    )
    prose_words = count_words(map(_remove_formulas, text.split("\n\n")))
    # A word may end where a macro begins.
    return SourceWords(prose_words, prose_words | _count_all_words(source))


def _separate_blocks(tree: Any) -> None:
    """Add a space at both ends of each block, as its source may have none between two blocks."""
    for element in tree.iter(*_BLOCKS):
        element.text = f" {element.text or ''}"
        element.tail = f" {element.tail or ''}"
        if len(element):
            element[-1].tail = f"{element[-1].tail or ''} "


def _find_root(tree: Any) -> Any:
    """Return the page's only article, or else its main part, or else all of it."""
    for name in ("article", "main"):
        elements = [
            element
            for element in tree.iter(name)
            if not any(ancestor.tag == name for ancestor in element.iterancestors())
        ]
        if len(elements) == 1:
            return elements[0]
    return tree


def _collect_blocks(root: Any, limit: float, blocks: list[tuple[str, str]]) -> None:
    """Append the text of each block of running text, and the part of it in links."""
    parts: list[str] = []
    links: list[str] = []

    def end_block() -> None:
        if parts:
            blocks.append(("".join(parts), " ".join(links)))
        parts.clear()
        links.clear()

    # An explicit stack: a post with a thousand open tags exceeds Python's limit of recursion.
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        element, is_end = stack.pop()
        if is_end:
            if element.tag in _BLOCKS:
                end_block()
            if element.tail and element is not root:
                parts.append(str(element.tail))
            continue
        stack.append((element, True))
        if element is not root and _is_skipped(element, limit):
            continue
        if element.tag in _BLOCKS:
            end_block()
        parts.append(str(element.text or ""))
        if element.tag == "a":
            links.append(str(element.text_content()))
        stack += [(child, False) for child in reversed(element)]
    end_block()


def _is_skipped(element: Any, limit: float) -> bool:
    """Return whether an element holds no running text of the post."""
    if not isinstance(element.tag, str) or element.tag in _SKIPPED:
        return True
    if element.tag == "body":
        return False
    names = f"{element.get('class') or ''} {element.get('id') or ''} {element.get('role') or ''}"
    return bool(
        _SKIPPED_NAME.search(names) and count_words([str(element.text_content())]).total() <= limit
    )


def count_markdown_words(markdown: str) -> Counter[str]:
    """Count the words of a document outside its code and the tags of raw HTML."""
    prose = "\n".join(line for _, line in iter_prose_lines(markdown))
    prose = html.unescape(_HTML_TAG.sub(" ", _LINK_TARGET.sub("] ", _INLINE_CODE.sub(" ", prose))))
    paragraphs = map(_remove_formulas, prose.split("\n\n"))
    return count_words(_EMPHASIS_OR_ESCAPE.sub("", paragraph) for paragraph in paragraphs)


def _remove_formulas(paragraph: str) -> str:
    parts = paragraph.split("$$")
    outside = " ".join(parts[::2]) if len(parts) % 2 else paragraph
    return _FORMULA.sub(" ", outside)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Count the words in texts, without addresses, in one spelling of each."""
    words: Counter[str] = Counter()
    for text in texts:
        plain_text = _ADDRESS.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
        words.update(_WORD.findall(plain_text))
    return words


def _count_all_words(text: str) -> Counter[str]:
    """Count the words of a text and of its addresses, beside which other words may stand."""
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
