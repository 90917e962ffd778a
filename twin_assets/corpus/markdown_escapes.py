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
_CODE_MARKS = frozenset("`")
_PAIRED_MARKS = "*_~$"
_TAG_OR_NAME = re.compile(r"<[/!?A-Za-z]|&#?\w{1,31};")
_LINE_START = re.compile(r"^(?:[ >]|[-+*] |\d{1,9}[.)] )*$")
_NUMBERED = re.compile(r"^[ >]*\d{1,9}$")


def mark_escaped_character(character: str, source: str) -> str:
    """Return an escaped character or entity (`&lt;`), marked for `resolve_escapes`.

    Args:
        character: the unescaped character.
        source: the character's source text.
    """
    if (
        len(character) == 1
        and character.isascii()
        and (source[:1] == "\\" or character in "<&*_`[")
    ):
        return chr(_PRIVATE_USE_START + ord(character))
    return character


def resolve_escapes(text: str) -> str:
    """Return the text with its marked characters restored, with a backslash where necessary."""
    if text.isascii() or not _MARKED_CHARACTER.search(text):
        return text
    lines = text.split("\n")
    return "\n".join(
        _resolve_line(line) if _MARKED_CHARACTER.search(line) else line for line in lines
    )


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
    character = line[index]
    previous_character = line[index - 1 : index]
    next_character = line[index + 1 : index + 2]
    if character in _CODE_MARKS:
        return line.count(character) > 1
    if character in _PAIRED_MARKS:
        if character == "_" and previous_character.isalnum() and next_character.isalnum():
            return False
        if character in "*" and _LINE_START.match(line[:index]) and next_character in {" ", ""}:
            return True
        is_alone = (previous_character in {"", " "}) and (next_character in {"", " "})
        return line.count(character) > 1 and not is_alone
    if character in "<&":
        return bool(_TAG_OR_NAME.match(line, index))
    if character == "[":
        return "](" in line[index:] or line.startswith("[[", index) or line.startswith("[^", index)
    if character in "-+#>=":
        is_marker = next_character in {" ", "", character} or character == ">"
        return is_marker and bool(_LINE_START.match(line[:index]))
    if character in ".)":
        return next_character in {" ", ""} and bool(_NUMBERED.match(line[:index]))
    if character == "\\":
        return (
            next_character != "" and not next_character.isalnum() and not next_character.isspace()
        )
    return character == "!" and next_character == "["
