"""Read the fields of Word, OpenDocument, PDF, Jupyter and HTML documents.

Scope: a document's properties and the head, which is the block of fields at the top of its text.
Out of scope: its text (`text_formats`), the meaning of a field.

Formats: https://ecma-international.org/publications-and-standards/standards/ecma-376/ (core
properties), https://docs.oasis-open.org/office/OpenDocument/v1.3/,
https://nbformat.readthedocs.io, https://getnikola.com/handbook.html#jupyter-notebook-posts,
https://github.com/fastai/fastpages#customizing-blog-posts-with-front-matter.
"""
# pyright: strict

from __future__ import annotations

import html
import io
import json
import re
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

from twin_assets.corpus.importers.front_matter import split_front_matter
from twin_assets.corpus.importers.post_dates import FILE_CREATED_FIELD

CREATOR_FIELD = "made by"
"""Field for the user who saved the file, who is the author unless another field names one."""

_MAX_EXPANDED_BYTES = 64_000_000
_MAX_MEMBER_BYTES = 400_000
_MAX_PAGE_CHARACTERS = 40_000
_MAX_HEAD_LINES = 40
_MAX_DENSE_LINES = 12
_CORE_MEMBERS = {"docx": "docProps/core.xml", "odt": "meta.xml"}
_TEXT_MEMBERS = {"docx": "word/document.xml", "odt": "content.xml"}
_LINE_END = re.compile(r"</(?:w:p|text:[ph])>|<(?:w:br|text:line-break)\b[^>]*>")
_HIDDEN_TEXT = re.compile(
    r"<office:annotation\b.{0,9000}?</office:annotation>|<(?:w:instrText|w:delText)\b[^<]*</[^>]*>"
    r"|\A.*?<(?:w:body|office:text)\b[^>]*>",
    re.DOTALL,
)
_TAG = re.compile(r"<[^>]*>")
_INSERTED_BY = re.compile(rb"<w:ins\s[^>]*w:author=\"([^\"]*)\"")
_CORE_FIELD = re.compile(
    rb"<(dcterms:created|meta:creation-date|dc:title|dc:creator|meta:initial-creator"
    rb"|cp:contentStatus)(?:\s[^<>]*)?>([^<]+)<"
)
_USER_FIELD = re.compile(
    rb"<meta:user-defined\s[^<>]*meta:name=\"([^\"]+)\"[^<>]*>([^<]*)<"
    rb"|<property\s[^<>]*name=\"([^\"]+)\"[^<>]*>\s*<vt:\w+>([^<]*)<"
)
_CORE_NAMES = {
    b"dcterms:created": FILE_CREATED_FIELD,
    b"meta:creation-date": FILE_CREATED_FIELD,
    b"dc:title": "title",
    b"cp:contentStatus": "status",
}
# In an OpenDocument, `dc:creator` is the person who last saved it.
_CREATOR_TAGS = {"docx": b"dc:creator", "odt": b"meta:initial-creator"}
# Names that programs and machines write when no name was entered.
_PLACEHOLDER_NAME = re.compile(
    r"(?:(?:microsoft|windows|office|user|benutzer|utilisateur|usuario|usuário|utente|gebruiker)[\s-]*)+"
    r"|(?:ms|your|the|my|hp|dell|lenovo|asus|acer|sony|toshiba|samsung|pc|home|owner|customer)"
    r"(?:[\s-]+\w+)?|python-docx|pandoc|libreoffice.*|openoffice.*|apache poi|docx4j|un-?named"
    r"|\(?(?:anonymous|unspecified|unknown|none|null|author|admin(?:istrator)?)\)?|\W*",
    re.IGNORECASE,
)
# fastpages: a title, a summary, and a list of fields.
_FASTPAGES_HEAD = re.compile(
    r"\s*#[ \t]+(?P<title>[^\n]+)\n(?P<summary>(?:[ \t]*(?:>[^\n]*)?\n)*)"
    r"(?=(?:[-*][^\n]*\n)*[-*][ ]+(?:toc|badges|comments|hide|author|categories):)"
    r"(?P<fields>(?:[-*][ ]+[A-Za-z_]\w{0,30}:[^\n]*(?:\n|\Z))+)"
)
_BREAK = re.compile(r"<br\b[^>]*>\s*", re.IGNORECASE)
_NOTION_PROPERTY = re.compile(
    r"<tr\b[^>]*\bproperty-row\b[^>]*>\s*<th\b[^>]*>(.*?)</th>\s*<td\b[^>]*>(.*?)</td>",
    re.DOTALL | re.IGNORECASE,
)
_NAME_END = re.compile(r"</(?:th|dt)\s*>\s*<(?:td|dd)\b[^>]*>", re.IGNORECASE)
_BLOCK_END = re.compile(r"</(?:p|h[1-6]|div|li|td|dd|header)\b[^>]*>\s*", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^<>]*>", re.IGNORECASE)
_HIDDEN_ELEMENT = re.compile(
    r"<!--.*?-->|<(head|script|style|nav|template)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)


class FormatError(ValueError):
    """A file that its format's parser rejects; the message is the parser's, on one line."""


def read_office_fields(body: bytes, suffix: str) -> dict[str, Any]:
    """Return the date, title, status and author of a .docx or .odt, and the fields of its head.

    A file that is not a zip or lacks a part has no fields; its conversion reports the error.
    """
    core_xml = _read_member(body, _CORE_MEMBERS[suffix])
    fields: dict[str, Any] = {}
    for name, value in _CORE_FIELD.findall(core_xml):
        text = html.unescape(value.decode("utf-8", "replace")).strip()
        if text and (field := _CORE_NAMES.get(name, "")):
            fields.setdefault(field, text)
        elif name == _CREATOR_TAGS[suffix]:
            fields |= make_creator_field(text)
    custom_xml = _read_member(body, "docProps/custom.xml") if suffix == "docx" else core_xml
    for match in _USER_FIELD.finditer(custom_xml):
        key, value = (match[1], match[2]) if match[1] else (match[3], match[4])
        text = html.unescape(value.decode("utf-8", "replace")).strip()
        fields.setdefault(key.decode("utf-8", "replace").strip().lower(), text)
    xml = _HIDDEN_TEXT.sub("", _read_member(body, _TEXT_MEMBERS[suffix]).decode("utf-8", "replace"))
    head_lines = _LINE_END.split(xml)[:_MAX_HEAD_LINES]
    return fields | parse_head_fields([html.unescape(_TAG.sub("", line)) for line in head_lines])


def has_foreign_suggestions(body: bytes) -> bool:
    """Return whether a .docx contains tracked insertions by someone other than its creator."""
    core_fields = _CORE_FIELD.findall(_read_member(body, _CORE_MEMBERS["docx"]))
    creators = {value for name, value in core_fields if name == _CREATOR_TAGS["docx"]}
    inserter_names = set(
        _INSERTED_BY.findall(
            _read_member(body, _TEXT_MEMBERS["docx"], max_bytes=_MAX_EXPANDED_BYTES)
        )
    )
    return bool(inserter_names - creators)


def read_pdf_fields(body: bytes) -> dict[str, Any]:
    """Return a PDF's title, author and date properties, and the head on its first page.

    Raises:
        FormatError: the file is damaged.
    """
    with open_pdf(body) as reader:
        properties = reader.metadata
        title = str(properties.title or "") if properties else ""
        fields: dict[str, Any] = {"title": title} if title.strip() else {}
        fields |= make_creator_field(str(properties.author or "") if properties else "")
        created_at = properties.creation_date if properties else None
        if created_at is not None:
            fields[FILE_CREATED_FIELD] = created_at.isoformat()
        first_page = str(reader.pages[0].extract_text()) if len(reader.pages) else ""
        return fields | parse_head_fields(first_page.splitlines())


@contextmanager
def open_pdf(body: bytes) -> Generator[Any]:
    """Yield pypdf's reader of a file; errors within the block become a `FormatError`."""
    pypdf: Any = import_module("pypdf")
    errors: Any = import_module("pypdf.errors")
    damage_errors = (errors.PyPdfError, ValueError, LookupError, TypeError, AttributeError)
    try:
        yield pypdf.PdfReader(io.BytesIO(body))
    except (*damage_errors, RecursionError) as error:
        raise FormatError(" ".join(str(error).split())[:200]) from error


NOTEBOOK_ERRORS = (ValueError, RecursionError, LookupError, TypeError, AttributeError)
"""Exceptions that occur if a text is not a notebook."""


def load_notebook(text: str) -> tuple[Any, Any, Any]:
    """Return a notebook, its metadata and its cells, or raise one of `NOTEBOOK_ERRORS`."""
    notebook = json.loads(text)
    cells = notebook.get("cells") or notebook["worksheets"][0]["cells"]
    return notebook, notebook.get("metadata") or {}, cells


def read_notebook_fields(text: str) -> tuple[dict[str, Any], str]:
    """Return a notebook's fields, and its text without front matter; {} and `text` for other files.

    The fields are its metadata (including Nikola's) and the front matter of its first cell.
    """
    try:
        notebook, metadata, cells = load_notebook(text)
        first_cell: Any = cells[0] if cells else {}
        source: object = first_cell.get("source", "")
        nikola_fields: Any = metadata.get("nikola") or {}
        items = [*metadata.items(), *nikola_fields.items()]
    except NOTEBOOK_ERRORS:
        return {}, text
    fields = {str(key).lower(): value for key, value in items}
    if first_cell.get("cell_type") not in {"markdown", "raw"}:
        return fields, text
    lines = cast("list[object]", source) if isinstance(source, list) else [source]
    first_text = "".join(map(str, lines))
    front_matter, body = split_front_matter(first_text)
    if head := _FASTPAGES_HEAD.match(first_text):
        listed = re.sub(r"^[-*][ ]+", "", head["fields"], flags=re.MULTILINE)
        front_matter = split_front_matter(f"---\ntitle: {head['title']}\n{listed}\n---\n")[0]
        body = f"{head['summary'].strip()}\n\n{first_text[head.end() :]}"
    first_cell["source"] = body
    return fields | front_matter, json.dumps(notebook)


def read_html_fields(text: str) -> dict[str, Any]:
    """Return the fields in a page's opening text and the properties of a Notion page.

    An example of an opening text is `<h1>A</h1><p>Status: Draft</p>`.
    """
    body_tag = _BODY.search(text)
    body = _HIDDEN_ELEMENT.sub("", text[body_tag.end() if body_tag else 0 :][:_MAX_PAGE_CHARACTERS])
    rows = (
        [" ".join(html.unescape(_TAG.sub(" ", group)).split()) for group in match.groups()]
        for match in _NOTION_PROPERTY.finditer(body)
    )
    fields: dict[str, Any] = {key.lower(): value for key, value in rows if key}
    html_with_line_breaks = _BREAK.sub("\n", _NAME_END.sub(": ", body))
    plain_text = _TAG.sub("", _BLOCK_END.sub("\n\n", html_with_line_breaks))
    return parse_head_fields(html.unescape(plain_text).splitlines()) | fields


def parse_head_fields(lines: list[str]) -> dict[str, Any]:
    """Return the fields of the head in a document's first lines, at the top or below the title."""
    lines = [line.replace("\u00a0", " ").strip() for line in lines[:_MAX_HEAD_LINES]]
    while lines and not lines[0]:
        del lines[0]
    # Each field may be a separate paragraph, below a separate paragraph for the title.
    nonempty_lines = [line for line in lines if line][:_MAX_DENSE_LINES]
    candidates = (lines, lines[1:], nonempty_lines, nonempty_lines[1:])
    fields: dict[str, Any] = {}
    for candidate in candidates:
        fields = split_front_matter("\n".join([*candidate, ""]))[0] | fields
    return fields


def make_creator_field(name: str) -> Mapping[str, str]:
    """Return the field `CREATOR_FIELD` for a name, or no field for a placeholder name."""
    names = [name_part.strip() for name_part in re.split(r"[;\n\0]", name)]
    creator = ", ".join(
        name_part for name_part in names if not _PLACEHOLDER_NAME.fullmatch(name_part)
    )
    return {CREATOR_FIELD: creator} if creator else {}


def reject_zip_bomb(body: bytes) -> None:
    """Reject a zip that expands beyond the limit.

    Raises:
        FormatError: the file expands beyond the limit or is not a zip.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            expanded_bytes = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise FormatError("it is not a zip") from error
    if expanded_bytes > _MAX_EXPANDED_BYTES:
        raise FormatError(f"it expands to {expanded_bytes:,} bytes")


def _read_member(body: bytes, name: str, *, max_bytes: int = _MAX_MEMBER_BYTES) -> bytes:
    """Return the first bytes of one archive member, or b"" if it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive, archive.open(name) as stream:
            return stream.read(max_bytes)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, OSError, EOFError, RuntimeError):
        return b""  # converting the file reports the error
