"""The head of a post file in any format: its fields, read from the bytes before any conversion.

Only `read_post_head` creates a `PostHead`, converters accept only that type, and a `Post` keeps its
`PostHead`. Every post has therefore passed this stage.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twin_assets.corpus.importers import conversations, document_fields
from twin_assets.corpus.importers.document_fields import FormatError
from twin_assets.corpus.importers.front_matter import BrokenFrontMatterError, split_front_matter
from twin_assets.corpus.importers.html_head import HtmlHead, read_head
from twin_assets.corpus.importers.native_fields import read_native_fields
from twin_assets.corpus.importers.reviewers_comments import remove_reviewers_comments
from twin_assets.corpus.importers.suffixes import (
    BINARY_SUFFIXES,
    MAX_POST_BYTES,
    get_known_suffix,
    get_markup,
    get_max_file_bytes,
)
from twin_assets.corpus.importers.text_encoding import (
    UTF_8,
    UnknownEncodingError,
    decode_text,
    has_byte_order_mark,
)
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason


class UnreadablePostError(ValueError):
    """A post that cannot be imported; `reason` is the value of `problem` in its row."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class PostHead:
    """The head of one file; only `read_post_head` creates one.

    Attributes:
        suffix: the format if it is not Markdown or HTML (`suffixes.get_known_suffix`), or "".
        markup: the markup after conversion: `markdown`, `html` or `text`.
        encoding: the encoding of the bytes; UTF-8 for a binary document.
        text: the whole decoded text; "" for a binary document.
        body: the text below its front matter, without reviewers' comments; it still contains the
            format's own fields, which the converter reads.
        document: the bytes of a binary document, or b"".
        fields: the file's fields, with lower-case keys; front matter takes precedence.
        other_fields: further sets of fields that may hide the post.
        page: the head of an HTML page.
    """

    suffix: str
    markup: str
    encoding: str
    text: str
    body: str
    document: bytes
    fields: Mapping[str, Any]
    other_fields: tuple[Mapping[str, Any], ...]
    page: HtmlHead

    def find_hidden_reason(self, *folder_fields: Mapping[str, Any]) -> str:
        """Return the strictest reason in the file's or its folder's fields (`visibility_rules`)."""
        return find_hidden_reason(*(folder_fields or (self.fields,)), *self.other_fields)


def read_post_head(body: bytes, *, source_id: str) -> PostHead:
    """Read the head of a file, in any format that its name allows.

    Raises:
        UnreadablePostError: `broken_front_matter` (never closed), `not_its_format`, or a reason
            from `decode_with_encoding` or `conversations`.
    """
    name = source_id.rsplit("/", 1)[-1]
    suffix = get_known_suffix(name)
    markup = "text" if suffix == "txt" else get_markup(name) or "markdown"
    if suffix in BINARY_SUFFIXES:
        if len(body) > get_max_file_bytes(name):
            raise UnreadablePostError("too_large")
        text, encoding, document = "", UTF_8, body
    else:
        text, encoding = decode_with_encoding(body, markup=markup)
        document = b""
        if reason := conversations.find_rejection_reason(text, markup=markup):
            raise UnreadablePostError(reason)
    try:
        fields_suffix = "mdx" if name.lower().endswith(".mdx") else suffix
        front_fields, content, format_fields = _split_fields(
            text, document, suffix=fields_suffix, markup=markup
        )
    except BrokenFrontMatterError as error:
        raise UnreadablePostError("broken_front_matter") from error
    except FormatError as error:
        raise UnreadablePostError("not_its_format") from error
    content = remove_reviewers_comments(content, markup=markup)
    page = read_head(content) if markup == "html" else HtmlHead()
    merged_fields: dict[str, Any] = {}
    for fields in (front_fields, *format_fields):
        merged_fields = {**fields, **merged_fields}
    return PostHead(
        suffix=suffix,
        markup=markup,
        encoding=encoding,
        text=text,
        body=content,
        document=document,
        fields=merged_fields,
        other_fields=(*format_fields, page.meta),
        page=page,
    )


def _split_fields(
    text: str, document: bytes, *, suffix: str, markup: str
) -> tuple[Mapping[str, Any], str, list[Mapping[str, Any]]]:
    """Return the front matter, the text below it, and the format's own fields."""
    if suffix == "pdf":
        return {}, "", [document_fields.read_pdf_fields(document)]
    if document:
        return {}, "", [document_fields.read_office_fields(document, suffix)]
    if suffix == "ipynb":
        fields, content = document_fields.read_notebook_fields(text)
        return fields, content, []
    front_fields, content = split_front_matter(text)
    if markup == "html":
        return front_fields, content, [document_fields.read_html_fields(content)]
    native_fields = read_native_fields(content, suffix)
    return front_fields, content, [native_fields] if native_fields else []


def decode(body: bytes, *, markup: str) -> str:
    """Decode bytes in any encoding; see `decode_with_encoding`."""
    return decode_with_encoding(body, markup=markup)[0]


def decode_with_encoding(body: bytes, *, markup: str) -> tuple[str, str]:
    """Return the text and its encoding's name (`text_encoding.decode_text`).

    Raises:
        UnreadablePostError: `too_large`, `empty`, `binary` (it has NUL bytes), or `not_utf8`
            (text in an unknown encoding).
    """
    if len(body) > MAX_POST_BYTES:
        raise UnreadablePostError("too_large")
    if not body.strip():
        raise UnreadablePostError("empty")
    try:
        return decode_text(body, is_page=markup == "html")
    except UnknownEncodingError as error:
        is_text = has_byte_order_mark(body) or b"\0" not in body
        raise UnreadablePostError("not_utf8" if is_text else "binary") from error
