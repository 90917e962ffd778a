"""The text of a WordPress post, as its editor stores it, converted to HTML.

Blocks:
https://developer.wordpress.org/block-editor/getting-started/fundamentals/markup-representation-block/
Shortcodes: https://codex.wordpress.org/Shortcode.
Paragraphs: https://developer.wordpress.org/reference/functions/wpautop/.
"""
# pyright: strict

from __future__ import annotations

import html
import re

# What is kept as it is: code in brackets, and elements whose white space or brackets are text.
_SPAN = re.compile(
    r"\[(?P<code>code|sourcecode|source|highlight|php|python|bash|js|css|sql|java|ruby)"
    r"(?P<attributes>\s[^\[\]]*)?\]"
    r"|<(?P<verbatim>pre|code|script|style|textarea)\b[^<>]*>|(?P<comment><!--\s*/?wp:)"
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
    # The marks are noncharacters.
    source = re.sub("[\ufdd0\ufdd1]", "", content.replace("\r\n", "\n").replace("\r", "\n"))
    spans: list[str] = []
    parts: list[str] = []
    position = 0
    missing_marks: set[str] = set()
    for start in _SPAN.finditer(source):
        code, verbatim = start["code"], start["verbatim"]
        end_mark = f"[/{code}]" if code else f"</{verbatim}>" if verbatim else "-->"
        if start.start() < position or end_mark in missing_marks:
            continue
        # Searching for the end is linear, unlike `.*?` where the end is missing.
        end = source.find(end_mark, start.end())
        if end < 0:
            missing_marks.add(end_mark)
            continue
        parts.append(source[position : start.start()])
        position = end + len(end_mark)
        if start["comment"]:
            continue
        span = source[start.end() : end]
        spans.append(_render_code(start, span) if code else source[start.start() : position])
        mark = f"\ufdd0{len(spans) - 1}\ufdd1"
        parts.append(mark if verbatim == "code" else f"\n\n{mark}\n\n")
    text = "".join([*parts, source[position:]])
    text = _SHORTCODE.sub("", _SHORTCODE_WITH_CONTENT.sub("", text))
    # `[[name]]` shows a shortcode literally.
    text = re.sub(r"\[(\[[^\[\]]*\])\]", r"\1", text)
    text = text if "<!-- wp:" in content else _make_paragraphs(text)
    return _PLACEHOLDER.sub(lambda match: spans[int(match[1])], text).strip()


def _render_code(start: re.Match[str], code: str) -> str:
    named = _LANGUAGE.search(start["attributes"] or "")
    is_general = start["code"] in {"code", "sourcecode", "source", "highlight"}
    language = named[1] if named else "" if is_general else start["code"]
    css_class = f' class="language-{language}"' if language else ""
    escaped_code = html.escape(html.unescape(code).strip("\n"), quote=False)
    return f"<pre><code{css_class}>{escaped_code}</code></pre>"


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
