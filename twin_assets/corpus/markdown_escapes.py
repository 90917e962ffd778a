"""Escape characters in Markdown text with a backslash where they would otherwise be markup.

Scope: the escapes that clean Markdown needs. Out of scope: parsing, and the text of HTML posts
(`html_markdown` escapes text that resembles a tag).

The author's `\\*args`, `1\\. May` and `&lt;div&gt;` must remain readable as written. In
`snake\\_case` and `e.g\\.`, the backslash is unnecessary. The need for it depends on the adjacent
characters, which the parser does not report. Until the text is complete, an escaped character is
therefore replaced with a private-use character (https://www.unicode.org/faq/private_use.html).
"""
# pyright: strict

from __future__ import annotations

import re

_PRIVATE_USE_START = 0x10FE00
_MARKED_CHARACTER = re.compile(f"[{chr(_PRIVATE_USE_START)}-{chr(_PRIVATE_USE_START + 0x7F)}]")
_PAIRED_MARKS = "*_~$`"
_MARKUP_START = re.compile(
    r"<(?=[/!?A-Za-z])|&(?=#?\w{1,31};)|\[(?=\[|\^|.*\]\()|!(?=\[)|\\(?=[^\w\s])"
)
_LINE_START = re.compile(r"^(?:[ >]|[-+*] |\d{1,9}[.)] )*$")
_NUMBERED = re.compile(r"^[ >]*\d{1,9}$")


def mark_escaped_character(character: str) -> str:
    """Return an escaped character or entity (`&lt;`), marked for `resolve_escapes`."""
    is_ascii = len(character) == 1 and character.isascii()
    return chr(_PRIVATE_USE_START + ord(character)) if is_ascii else character


def resolve_escapes(text: str) -> str:
    """Return the text with its marked characters restored, with a backslash where necessary."""
    if text.isascii() or not _MARKED_CHARACTER.search(text):
        return text
    return "\n".join(map(_resolve_line, text.split("\n")))


def _resolve_line(line: str) -> str:
    plain_line = _MARKED_CHARACTER.sub(lambda match: chr(ord(match[0]) - _PRIVATE_USE_START), line)
    return _MARKED_CHARACTER.sub(
        lambda match: (
            ("\\" if _needs_backslash(plain_line, match.start()) else "")
            + plain_line[match.start()]
        ),
        line,
    )


def _needs_backslash(line: str, index: int) -> bool:
    """Return whether the character at this position would be markup without a backslash."""
    character, before, following = line[index], line[:index], line[index + 1 : index + 2]
    is_before_space = following in {"", " "}
    is_at_start = bool(_LINE_START.match(before))
    if character in _PAIRED_MARKS:
        is_item = character == "*" and is_at_start and is_before_space
        is_alone = character != "`" and before[-1:] in {"", " "} and is_before_space
        is_in_word = character == "_" and before[-1:].isalnum() and following.isalnum()
        return is_item or (line.count(character) > 1 and not is_alone and not is_in_word)
    if character in "-+#>=":
        return is_at_start and (is_before_space or character in {following, ">"})
    if character in ".)":
        return is_before_space and bool(_NUMBERED.match(before))
    return bool(_MARKUP_START.match(line, index))
