"""Remove reviewers' comments from a document: other people's words beside the author's.

Scope: removing them from a page or text that a word processor wrote.
Out of scope: the author's own hidden comments (`obsidian_comments`), readers' comments below a
page, which extracting the main text removes (`html_cleaning`).

Forms: Google Docs' "Web page" and "Plain text" (comments after the text, `[a]` at their places),
Word's "Web page" (`mso-element:comment-list`), LibreOffice's HTML. pandoc reads no comments of
.docx and .odt; insertions that somebody else suggests are rejected (`text_formats`).
"""
# pyright: strict

from __future__ import annotations

import re

# Bounded, so that a page of unclosed tags does not take quadratic time.
_IN_TAG, _MOST = "[^<>]{0,400}", ".{0,20000}?"
_IN_PAGES = re.compile(
    rf"<div{_IN_TAG}>\s{{0,9}}(?:<p{_IN_TAG}>\s{{0,9}})?<a\s{_IN_TAG}href=[\"']?#cmnt_ref\d+"
    rf"{_MOST}</div>"  # Google Docs
    rf"|<sup{_IN_TAG}>\s{{0,9}}<a\s{_IN_TAG}href=[\"']?#cmnt\d+{_MOST}</sup>"
    rf"|<div{_IN_TAG}mso-element:\s?comment-list.*?(?=</body>|\Z)"  # Word
    rf"|<span{_IN_TAG}class=[\"']?MsoCommentReference{_MOST}</span>"
    rf"|<div{_IN_TAG}\btitle=[\"']?(?:annotation|comment)[\"']?{_IN_TAG}>{_MOST}</div>",
    re.DOTALL | re.IGNORECASE,
)
# A comment follows its mark at once; an author's own footnote, `[a] …`, has a space there.
_FIRST_IN_TEXT = re.compile(r"^\[a\](?![:(\[\s])", re.MULTILINE)
_NAMES = re.compile(r"^\[([a-z]{1,2})\](?![:(\[\s])", re.MULTILINE)
_MARK = r"(?<=\S)\[{}\](?![:(\[])"


def without_comments(text: str, *, markup: str) -> str:
    """Return the text without reviewers' comments.

    Args:
        text: the text below its head.
        markup: `html`, `markdown` or `text`.
    """
    if markup == "html":
        return _IN_PAGES.sub("", text)
    begin = next(
        (one for one in _FIRST_IN_TEXT.finditer(text) if _is_marked(text[: one.start()], "a")), None
    )
    if begin is None:
        return text
    own, comments = text[: begin.start()], text[begin.start() :]
    for name in dict.fromkeys(_NAMES.findall(comments)):
        own = re.sub(_MARK.format(name), "", own)
    return own.rstrip() + "\n"


def _is_marked(text: str, name: str) -> bool:
    return re.search(_MARK.format(name), text) is not None
