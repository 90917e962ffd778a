"""Escape characters of a Markdown text with a backslash where they would otherwise be markup.

Scope: the escapes that clean Markdown needs. Out of scope: parsing, and text of HTML posts
(`html_markdown` escapes text that resembles a tag).

The author's `\\*args`, `1\\. May`, `&lt;div&gt;` must remain readable as written; in `snake\\_case`
and `e.g\\.` the backslash is unnecessary. The need for it depends on the adjacent characters, which
the parser does not show. Until the text is complete, an escaped character is therefore replaced by
a private-use character (https://www.unicode.org/faq/private_use.html).
"""
# pyright: strict

from __future__ import annotations

import re

_FIRST = 0x10FE00
_MARKED = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + 0x7F)}]")
_ALWAYS = frozenset("`")
_PAIRED = "*_~$"
_TAG_OR_NAME = re.compile(r"<[/!?A-Za-z]|&#?\w{1,31};")
_LINE_START = re.compile(r"^(?:[ >]|[-+*] |\d{1,9}[.)] )*$")
_NUMBERED = re.compile(r"^[ >]*\d{1,9}$")


def marked(character: str, source: str) -> str:
    """Return an escaped or named character (`&lt;`), marked until `resolved`.

    Args:
        character: the character itself.
        source: the source text of the character.
    """
    if (
        len(character) == 1
        and character.isascii()
        and (source[:1] == "\\" or character in "<&*_`[")
    ):
        return chr(_FIRST + ord(character))
    return character


def resolved(text: str) -> str:
    """Return the text with its marked characters, adding a backslash where necessary."""
    if text.isascii() or not _MARKED.search(text):
        return text
    lines = text.split("\n")
    return "\n".join(_line(line) if _MARKED.search(line) else line for line in lines)


def _line(line: str) -> str:
    plain = _MARKED.sub(lambda match: chr(ord(match[0]) - _FIRST), line)
    return _MARKED.sub(
        lambda match: ("\\" if _needed(plain, match.start()) else "") + plain[match.start()], line
    )


def _needed(plain: str, at: int) -> bool:
    """Return whether the character at this position would be markup without a backslash."""
    character, before, after = plain[at], plain[at - 1 : at], plain[at + 1 : at + 2]
    if character in _ALWAYS:
        return plain.count(character) > 1
    if character in _PAIRED:
        if character == "_" and before.isalnum() and after.isalnum():
            return False
        if character in "*" and _LINE_START.match(plain[:at]) and after in {" ", ""}:
            return True
        alone = (before in {"", " "}) and (after in {"", " "})
        return plain.count(character) > 1 and not alone
    if character in "<&":
        return bool(_TAG_OR_NAME.match(plain, at))
    if character == "[":
        return "](" in plain[at:] or plain.startswith("[[", at) or plain.startswith("[^", at)
    if character in "-+#>=":
        follows = after in {" ", "", character} or character == ">"
        return follows and bool(_LINE_START.match(plain[:at]))
    if character in ".)":
        return after in {" ", ""} and bool(_NUMBERED.match(plain[:at]))
    if character == "\\":
        return after != "" and not after.isalnum() and not after.isspace()
    return character == "!" and after == "["
