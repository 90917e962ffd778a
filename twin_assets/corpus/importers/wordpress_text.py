"""Convert the text of a WordPress post, as its editor stores it, to HTML.

Scope: block comments, shortcodes, and the paragraphs that WordPress derives from empty lines.
Out of scope: the export's items (`wordpress`), and converting HTML to Markdown (`html_cleaning`).

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


def convert_to_html(content: str) -> str:
    """Return a post's stored content as the HTML of its page, without the output of plug-ins."""
    has_blocks = "<!-- wp:" in content
    raw_blocks: list[str] = []

    def add_placeholder(markup: str) -> str:
        raw_blocks.append(markup)
        # These marks are noncharacters; those in the post itself are removed below.
        return f"\ufdd0{len(raw_blocks) - 1}\ufdd1"

    text = re.sub("[\ufdd0\ufdd1]", "", content.replace("\r\n", "\n").replace("\r", "\n"))
    text = _replace_spans(
        text,
        _CODE,
        lambda start_match: f"[/{start_match[1]}]",
        lambda start_match, code: (
            "\n\n" + add_placeholder(_render_code(start_match, code)) + "\n\n"
        ),
    )
    text = _replace_spans(
        text,
        _VERBATIM,
        lambda start_match: f"</{start_match[1]}>",
        lambda start_match, content_html: (
            add_placeholder(f"{start_match[0]}{content_html}</{start_match[1]}>")
            if start_match[1] == "code"
            else "\n\n"
            + add_placeholder(f"{start_match[0]}{content_html}</{start_match[1]}>")
            + "\n\n"
        ),
    )
    text = _replace_spans(text, _BLOCK_COMMENT, lambda _: "-->", lambda _start_match, _content: "")
    text = _SHORTCODE.sub("", _SHORTCODE_WITH_CONTENT.sub("", text))
    # `[[name]]` shows a shortcode literally.
    text = re.sub(r"\[(\[[^\[\]]*\])\]", r"\1", text)
    text = text if has_blocks else _make_paragraphs(text)
    for _ in range(2):  # twice, because a `<pre>` may contain code
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
    missing_marks: set[str] = set()
    for start_match in opening.finditer(text):
        end_mark = closing(start_match)
        if start_match.start() < position or end_mark in missing_marks:
            continue
        end = text.find(end_mark, start_match.end())
        if end < 0:
            missing_marks.add(end_mark)
            continue
        parts += [
            text[position : start_match.start()],
            replacement(start_match, text[start_match.end() : end]),
        ]
        position = end + len(end_mark)
    return "".join([*parts, text[position:]])


def _render_code(start: re.Match[str], code: str) -> str:
    language_match = _LANGUAGE.search(start[2] or "")
    shortcode_language = (
        start[1] if start[1] not in {"code", "sourcecode", "source", "highlight"} else ""
    )
    language = language_match[1] if language_match else shortcode_language
    class_attribute = f' class="language-{language}"' if language else ""
    escaped_code = html.escape(html.unescape(code).strip("\n"), quote=False)
    return f"<pre><code{class_attribute}>{escaped_code}</code></pre>"


def _make_paragraphs(text: str) -> str:
    """Turn empty lines into paragraphs and line ends into breaks, as the classic editor does."""
    separated_text = _BLOCK_END.sub(r"\1\n\n", _BLOCK_START.sub(r"\n\n\1", text))
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", separated_text):
        content = block.strip()
        if not content:
            continue
        if _STARTS_WITH_BLOCK.match(content) or _PLACEHOLDER.fullmatch(content):
            blocks.append(content)
        else:
            blocks.append("<p>" + re.sub(r"\s*\n\s*", "<br />\n", content) + "</p>")
    return "\n".join(blocks)
