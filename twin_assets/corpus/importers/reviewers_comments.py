"""Remove reviewers' comments, which are other people's words, from a document.

Scope: HTML and text files exported by word processors.
Out of scope: the author's own hidden comments (`obsidian_comments`), and readers' comments below a
page, which `html_cleaning` removes.

Formats: Google Docs' "Web page" and "Plain text" (the comments follow the text, which refers to
them as `[a]`), Word's "Web page" (`mso-element:comment-list`), and LibreOffice's HTML. pandoc
ignores comments in .docx and .odt files; other people's suggested insertions are rejected
(`text_formats`).
"""
# pyright: strict

from __future__ import annotations

import re

# The bounds prevent quadratic time on a page with many unclosed tags.
_TAG_CONTENT, _ANY_CONTENT = "[^<>]{0,400}", ".{0,20000}?"
_HTML_COMMENT = re.compile(
    rf"<div{_TAG_CONTENT}>\s{{0,9}}(?:<p{_TAG_CONTENT}>\s{{0,9}})?<a\s{_TAG_CONTENT}href=[\"']?#cmnt_ref\d+"
    rf"{_ANY_CONTENT}</div>"  # Google Docs
    rf"|<sup{_TAG_CONTENT}>\s{{0,9}}<a\s{_TAG_CONTENT}href=[\"']?#cmnt\d+{_ANY_CONTENT}</sup>"
    rf"|<div{_TAG_CONTENT}mso-element:\s?comment-list.*?(?=</body>|\Z)"  # Word
    rf"|<span{_TAG_CONTENT}class=[\"']?MsoCommentReference{_ANY_CONTENT}</span>"
    rf"|<div{_TAG_CONTENT}\btitle=[\"']?(?:annotation|comment)[\"']?{_TAG_CONTENT}>{_ANY_CONTENT}</div>",
    re.DOTALL | re.IGNORECASE,
)
# A comment follows its marker directly; an author's footnote, `[a] …`, has a space in between.
_FIRST_TEXT_COMMENT = re.compile(r"^\[a\](?![:(\[\s])", re.MULTILINE)
_COMMENT_LABELS = re.compile(r"^\[([a-z]{1,2})\](?![:(\[\s])", re.MULTILINE)
_MARKER = r"(?<=\S)\[{}\](?![:(\[])"


def remove_reviewers_comments(text: str, *, markup: str) -> str:
    """Return the text without reviewers' comments.

    Args:
        text: the text of the document, without its header.
        markup: `html`, `markdown` or `text`.
    """
    if markup == "html":
        return _HTML_COMMENT.sub("", text)
    first_comment = next(
        (
            match
            for match in _FIRST_TEXT_COMMENT.finditer(text)
            if re.search(_MARKER.format("a"), text[: match.start()])
        ),
        None,
    )
    if first_comment is None:
        return text
    author_text, comments = text[: first_comment.start()], text[first_comment.start() :]
    for label in dict.fromkeys(_COMMENT_LABELS.findall(comments)):
        author_text = re.sub(_MARKER.format(label), "", author_text)
    return author_text.rstrip() + "\n"
