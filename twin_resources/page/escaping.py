"""Escape untrusted text so that a browser does not interpret it as markup.

Source: CommonMark on code spans and code blocks, https://spec.commonmark.org/0.31.2/#code-spans
"""
# pyright: strict

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt

_BLOCKS = MarkdownIt("commonmark", {"html": False})
_SPAN_OR_SIGN = re.compile(
    r"\\[!-/:-@\[-`{-~]"  # a backslash escape; Markdown shows `\<` as `<`
    r"|(?:(?P<span>(?<!`)`+)(?!`)(?P<code>(?:(?!\n[ \t]*\n).)+?)(?<!`)(?P=span)(?!`))"
    r"|(?P<sign>[<&])",
    re.DOTALL,
)
_HTML_ENTITIES = {"<": "&lt;", "&": "&amp;"}
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def escape_html(text: object) -> str:
    """Escape text for the content of an HTML element or a quoted attribute."""
    return html.escape(str(text), quote=True)


def escape_markdown(text: str) -> str:
    """Escape Markdown so that `<author>` appears as text; code looks as before.

    No `<` of the text is left outside a code block that every Markdown parser sees as one: the
    blocks that a parser finds are written again as closed fences at the start of a line (in a
    quotation, after its `>`), and all else is escaped. A fence inside a list therefore ends it.
    """
    text = re.sub(r"\r\n?", "\n", text)
    lines, position, quote_depth = text.split("\n"), 0, 0
    # Gradio reads `$$ … $$` as mathematics before it looks for fences, and shows it unescaped.
    build_block = _build_html_block if "$$" in text else _build_fence
    parts: list[str] = []
    for token in _BLOCKS.parse(text):
        if token.type in {"blockquote_open", "blockquote_close"}:
            quote_depth += token.nesting
        elif token.type in {"fence", "code_block"} and token.map:
            begin, end = token.map
            parts += [_escape_text("\n".join(lines[position:begin]))] if begin > position else []
            block = build_block(token.content, token.info)
            parts += [("> " * quote_depth + line).rstrip() for line in ("", *block, "")]
            position = end
    parts += [_escape_text("\n".join(lines[position:]))] if lines[position:] else []
    return "\n".join(parts)


def _build_fence(code: str, info: str) -> list[str]:
    language = re.match(r"[\w.+#-]*", info.strip())
    if info.strip() and not (language and language[0]):
        code = f"{info.strip()}\n{code}"  # no language, so the reader sees it
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return [
        f"{ticks}{language[0] if language else ''}",
        *code.removesuffix("\n").split("\n"),
        ticks,
    ]


def _build_html_block(code: str, _info: str) -> list[str]:
    return f"<pre><code>{escape_html(code)}</code></pre>".split("\n")


def _escape_text(text: str) -> str:
    return _SPAN_OR_SIGN.sub(_escape_match, text)


def _escape_match(match: re.Match[str]) -> str:
    if match["sign"]:
        return _HTML_ENTITIES[match["sign"]]
    code: str | None = match["code"]
    if code is None or not ("<" in code or "&" in code):
        return match[0]
    # Between backticks an entity would be shown literally, and a parser that sees no code span here
    # would see a tag.
    escaped = _PUNCTUATION.sub(lambda sign: _HTML_ENTITIES.get(sign[0], f"\\{sign[0]}"), code)
    return f"<code>{escaped}</code>"


def http_url_or_empty(url: str) -> str:
    """Return a URL with the scheme http or https unchanged, and "" for any other URL."""
    return url if url.startswith(("https://", "http://")) else ""
