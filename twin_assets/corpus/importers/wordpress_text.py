"""Convert the text of a WordPress post, as its editor stores it, to HTML.

Scope: block comments, shortcodes, and the paragraphs that WordPress derives from empty lines.
Out of scope: the export's items (`wordpress`), HTML to Markdown (`html_cleaning`).

Blocks:
https://developer.wordpress.org/block-editor/getting-started/fundamentals/markup-representation-block/
Shortcodes: https://codex.wordpress.org/Shortcode.
Paragraphs: https://developer.wordpress.org/reference/functions/wpautop/.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from collections.abc import Callable

_BLOCK_COMMENT = re.compile(r"<!--\s*/?wp:")
_CODE = re.compile(
    r"\[(code|sourcecode|source|highlight|php|python|bash|js|css|sql|java|ruby)(\s[^\[\]]*)?\]"
)
_LANGUAGE = re.compile(r"(?:lang|language)\s*=\s*[\"']?([\w+#-]+)")
# Shortcodes of WordPress, Jetpack and the large page builders. Any other word in brackets is text
# unless it has a shortcode's attributes (`[gallery-3 ids="1,2"]`).
_KNOWN_SHORTCODES = (
    "caption|wp_caption|gallery|playlist|audio|video|embed|youtube|vimeo|tweet|soundcloud|spotify|"
    "googlemaps|slideshare|ted|gist|instagram|contact-form(?:-7)?|contact-field|polldaddy|poll|"
    "subscribe2|jetpack[\\w-]*|more|nextpage|toc|footnotes?|button|divider|spacer|"
    "(?:vc|et_pb|fusion|av|su|cs|x)_\\w+"
)
_SHORTCODE_WITH_CONTENT = re.compile(
    r"\[(embed|youtube|vimeo|tweet|soundcloud|spotify|gist|instagram|googlemaps|contact-form(?:-7)?"
    r"|button|gallery|playlist|audio|video)(?:[\s=][^\[\]]*)?\][^\[\]]*\[/\1\]"
)
_SHORTCODE = re.compile(
    rf"(?<!\[)\[/?(?:{_KNOWN_SHORTCODES})(?:[\s=][^\[\]]*)?/?\](?!\])"
    r"|(?<!\[)\[[A-Za-z][\w-]*(?:\s+[\w-]+\s*=\s*(?:\"[^\"\[\]]*\"|'[^'\[\]]*'|[^\s\[\]\"']+))+\s*/?\](?!\])"
)
_VERBATIM = re.compile(r"<(pre|code|script|style|textarea)\b[^<>]*>")
_BLOCK_TAGS = (
    "table|thead|tfoot|tbody|caption|colgroup|tr|td|th|div|dl|dd|dt|ul|ol|li|pre|form|blockquote|"
    "address|style|p|h[1-6]|hr|fieldset|section|article|aside|header|footer|nav|figure|figcaption|"
    "details|summary"
)
_BLOCK_START = re.compile(rf"(<(?:{_BLOCK_TAGS})[\s/>])", re.IGNORECASE)
_BLOCK_END = re.compile(rf"(</(?:{_BLOCK_TAGS})\s*>|<hr\s*/?>)", re.IGNORECASE)
_PLACEHOLDER = re.compile("\ufdd0(\\d+)\ufdd1")
_STARTS_WITH_BLOCK = re.compile(rf"</?(?:{_BLOCK_TAGS})[\s/>]", re.IGNORECASE)


def to_html(content: str) -> str:
    """Return `content` as the post's page shows it, without the output of plug-ins."""
    has_blocks = "<!-- wp:" in content
    raw_blocks: list[str] = []

    def add_placeholder(markup: str) -> str:
        raw_blocks.append(markup)
        return f"\ufdd0{len(raw_blocks) - 1}\ufdd1"  # noncharacters, removed from the post below

    text = re.sub("[\ufdd0\ufdd1]", "", content.replace("\r\n", "\n").replace("\r", "\n"))
    text = _replace_spans(
        text,
        _CODE,
        lambda begin: f"[/{begin[1]}]",
        lambda begin, code: "\n\n" + add_placeholder(_render_code(begin, code)) + "\n\n",
    )
    text = _replace_spans(
        text,
        _VERBATIM,
        lambda begin: f"</{begin[1]}>",
        lambda begin, inner: (
            add_placeholder(f"{begin[0]}{inner}</{begin[1]}>")
            if begin[1] == "code"
            else "\n\n" + add_placeholder(f"{begin[0]}{inner}</{begin[1]}>") + "\n\n"
        ),
    )
    text = _replace_spans(text, _BLOCK_COMMENT, lambda _: "-->", lambda _begin, _inner: "")
    text = _SHORTCODE.sub("", _SHORTCODE_WITH_CONTENT.sub("", text))
    # `[[name]]` shows a shortcode literally.
    text = re.sub(r"\[(\[[^\[\]]*\])\]", r"\1", text)
    text = text if has_blocks else _make_paragraphs(text)
    for _ in range(2):  # twice: code within a `<pre>`
        text = _PLACEHOLDER.sub(lambda match: raw_blocks[int(match[1])], text)
    return text.strip()


def _replace_spans(
    text: str,
    opening: re.Pattern[str],
    closing: Callable[[re.Match[str]], str],
    replacement: Callable[[re.Match[str], str], str],
) -> str:
    """Replace each span from `opening` to the next `closing` in linear time, unlike `.*?`."""
    parts: list[str] = []
    position = 0
    missing: set[str] = set()
    for begin in opening.finditer(text):
        end_mark = closing(begin)
        if begin.start() < position or end_mark in missing:
            continue
        end = text.find(end_mark, begin.end())
        if end < 0:
            missing.add(end_mark)
            continue
        parts += [text[position : begin.start()], replacement(begin, text[begin.end() : end])]
        position = end + len(end_mark)
    return "".join([*parts, text[position:]])


def _render_code(begin: re.Match[str], inner: str) -> str:
    named = _LANGUAGE.search(begin[2] or "")
    short = begin[1] if begin[1] not in {"code", "sourcecode", "source", "highlight"} else ""
    language = named[1] if named else short
    mark = f' class="language-{language}"' if language else ""
    code = html.escape(html.unescape(inner).strip("\n"), quote=False)
    return f"<pre><code{mark}>{code}</code></pre>"


def _make_paragraphs(text: str) -> str:
    """Turn empty lines into paragraphs and line ends into breaks, as the classic editor does."""
    spaced = _BLOCK_END.sub(r"\1\n\n", _BLOCK_START.sub(r"\n\n\1", text))
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", spaced):
        inner = block.strip()
        if not inner:
            continue
        if _STARTS_WITH_BLOCK.match(inner) or _PLACEHOLDER.fullmatch(inner):
            blocks.append(inner)
        else:
            blocks.append("<p>" + re.sub(r"\s*\n\s*", "<br />\n", inner) + "</p>")
    return "\n".join(blocks)
