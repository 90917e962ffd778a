"""Build one post in each format, with each kind of head (the metadata above the text).

Scope: building posts. Out of scope: expected results (`test_post_head`).
"""

from __future__ import annotations

import html
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from xml.sax.saxutils import escape

WORDS = "Along the river it went for an hour, and on the other bank stood the old willows."
TITLE, AUTHOR, DAY = "On walking", "Ana Ruiz", "2020-03-05"

Fields = Mapping[str, object]

SUFFIXES = (
    *("md", "markdown", "mdx", "qmd", "html", "txt", "rst", "org", "adoc", "textile", "dj"),
    *("ipynb", "docx", "odt"),
)
EXTRA_SUFFIXES = frozenset({"rst", "org", "adoc", "textile", "dj", "docx", "odt"})
HEADS = ("yaml", "toml", "json", "lines", "logseq", "below the title", "its own")

# Ways to hide a post: name → (key, value, reason).
HIDING_FIELDS: Mapping[str, tuple[str, object, str]] = {
    "draft": ("draft", True, "draft"),
    "draft in words": ("draft", "until the book is out", "draft"),
    "isDraft": ("isDraft", "yes", "draft"),
    "published": ("published", False, "draft"),
    "publish": ("publish", "no", "draft"),
    "status": ("status", "Draft", "draft"),
    "status in German": ("status", "Entwurf", "draft"),
    "status with a mark": ("status", "📝 In progress", "draft"),
    "private": ("private", True, "private"),
    "visibility": ("visibility", "private", "private"),
    "public": ("public", False, "private"),
    "members": ("visibility", "members", "paid"),
    "hidden": ("hidden", True, "unlisted"),
    "an unknown key": ("keep_private", True, "private"),
}

_HEADINGS = {"rst": "{0}\n##########\n", "org": "#+TITLE: {0}\n", "adoc": "= {0}\n"}
_HEADINGS |= {"textile": "h1. {0}\n", "txt": "{0}\n==========\n"}


def build_post(suffix: str, head: str, fields: Fields) -> bytes:
    """Build the bytes of a post.

    Args:
        suffix: one of `SUFFIXES`.
        head: one of `HEADS`.
        fields: added to the default title, author and date, or replacing them.
    """
    fields = {"title": TITLE, "author": AUTHOR, "date": DAY, **fields}
    if head == "its own" and suffix in _NATIVE_BUILDERS:
        return _NATIVE_BUILDERS[suffix](fields)
    head_text = _build_head(suffix, head, fields)
    if suffix == "ipynb":
        return _build_notebook(head_text, {})
    if suffix in {"docx", "odt"}:
        return build_document(suffix, [*head_text.splitlines(), "", WORDS], {})
    if suffix == "html":
        return _build_page(head_text, head)
    return f"{head_text}\n{WORDS}\n".encode()


def _build_head(suffix: str, head: str, fields: Fields) -> str:
    lines = {key: _format_value(value) for key, value in fields.items()}
    if head == "toml":
        rows = (f"{key} = {_format_toml(key, value)}\n" for key, value in fields.items())
        return f"+++\n{''.join(rows)}+++\n"
    if head == "json":
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"
    if head == "lines":
        return "".join(f"{key}: {value}\n" for key, value in lines.items())
    if head == "logseq":
        return "".join(f"{key}:: {value}\n" for key, value in lines.items())
    if head == "below the title":
        rows = (f"{key}: {value}\n" for key, value in lines.items() if key != "title")
        return _HEADINGS.get(suffix, "# {0}\n").format(TITLE) + "\n" + "".join(rows)
    rows = (f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
    return f"---\n{''.join(rows)}---\n"


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _format_toml(key: str, value: object) -> str:
    return str(value) if key == "date" else json.dumps(value, ensure_ascii=False)


def _build_page(head_text: str, head: str) -> bytes:
    body = f"<p>{WORDS}</p>\n"
    if head == "below the title":
        _, *lines = head_text.splitlines()
        fields = "<br>\n".join(html.escape(line) for line in lines if line)
        return f"<h1>{TITLE}</h1>\n<p>{fields}</p>\n{body}".encode()
    return (head_text + "\n" + body).encode()


def _build_meta_page(fields: Fields) -> bytes:
    tags = "".join(
        f'<meta name="{key}" content="{html.escape(_format_value(value))}">\n'
        for key, value in fields.items()
        if key != "title"
    )
    head = f"<head><title>{TITLE}</title>\n{tags}</head>"
    return f"<html>{head}<body><p>{WORDS}</p></body></html>".encode()


def _build_rst(fields: Fields) -> bytes:
    rows = "".join(
        f":{key}: {_format_value(value)}\n" for key, value in fields.items() if key != "title"
    )
    return f"{_HEADINGS['rst'].format(TITLE)}\n{rows}\n{WORDS}\n".encode()


def _build_asciidoc(fields: Fields) -> bytes:
    rows = "".join(
        f":{key}: {_format_value(value)}\n"
        for key, value in fields.items()
        if key not in {"title", "author"}
    )
    return f"= {TITLE}\n{AUTHOR} <ana@a.example>\n{rows}\n{WORDS}\n".encode()


def _build_org(fields: Fields) -> bytes:
    rows = "".join(f"#+{key.upper()}: {_format_value(value)}\n" for key, value in fields.items())
    return f"{rows}\n{WORDS}\n".encode()


def _build_notebook(head_text: str, metadata: Fields) -> bytes:
    cells = [{"cell_type": "raw", "source": head_text.splitlines(True)}] if head_text else []
    cells.append({"cell_type": "markdown", "source": [WORDS]})
    notebook = {"cells": cells, "metadata": dict(metadata), "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook).encode()


def build_document(suffix: str, lines: list[str], properties: Fields) -> bytes:
    """Build a word-processor document with a paragraph for each line."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (_build_word_parts if suffix == "docx" else _build_odt_parts)(
            lines, properties
        ).items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _build_word_parts(lines: list[str], properties: Fields) -> dict[str, str]:
    office = "http://schemas.openxmlformats.org"
    word_namespace = f"{office}/wordprocessingml/2006/main"
    custom = "".join(
        f'<property fmtid="{{D5CDD505-2E9C-101B-9397-08002B2CF9AE}}" pid="{number}" '
        f'name="{key}"><vt:lpwstr>{escape(_format_value(value))}</vt:lpwstr></property>'
        for number, (key, value) in enumerate(properties.items(), start=2)
        if key not in {"title", "author", "date"}
    )
    creator = escape(_format_value(properties.get("author", AUTHOR)))
    core = (
        f"<dc:title>{TITLE}</dc:title><dc:creator>{creator}</dc:creator>"
        f"<dcterms:created>{DAY}T00:00:00Z</dcterms:created>"
        if properties
        else ""
    )
    relationships = f"{office}/officeDocument/2006/relationships"
    text = "".join(
        f'<w:p><w:r><w:t xml:space="preserve">{escape(line)}</w:t></w:r></w:p>' for line in lines
    )
    return {
        "[Content_Types].xml": f'<Types xmlns="{office}/package/2006/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{office}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relationships}/officeDocument" Target="word/document.xml"/>'
        "</Relationships>",
        "word/document.xml": f'<w:document xmlns:w="{word_namespace}"><w:body>{text}</w:body>'
        "</w:document>",
        "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{office}/package/2006/metadata/core-'
        'properties" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:dcterms="http://purl.org/dc/terms/">{core}</cp:coreProperties>',
        "docProps/custom.xml": f'<Properties xmlns="{office}/officeDocument/2006/custom-properties"'
        f' xmlns:vt="{office}/officeDocument/2006/docPropsVTypes">{custom}</Properties>',
    }


def _build_odt_parts(lines: list[str], properties: Fields) -> dict[str, str]:
    namespaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "meta", "style")
    )
    custom = "".join(
        f'<meta:user-defined meta:name="{key}">{escape(_format_value(value))}</meta:user-defined>'
        for key, value in properties.items()
        if key not in {"title", "author", "date"}
    )
    creator = escape(_format_value(properties.get("author", AUTHOR)))
    core = (
        f"<dc:title>{TITLE}</dc:title><meta:initial-creator>{creator}</meta:initial-creator>"
        f"<meta:creation-date>{DAY}T00:00:00Z</meta:creation-date>"
        if properties
        else ""
    )
    text = "".join(f"<text:p>{escape(line)}</text:p>" for line in lines)
    return {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f"<office:document-content{namespaces}><office:body><office:text>{text}"
        "</office:text></office:body></office:document-content>",
        "styles.xml": f"<office:document-styles{namespaces}><office:styles/>"
        "</office:document-styles>",
        "meta.xml": f'<office:document-meta{namespaces} xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<office:meta>{core}{custom}</office:meta></office:document-meta>",
    }


_NATIVE_BUILDERS: Mapping[str, Callable[[Fields], bytes]] = {
    "html": _build_meta_page,
    "rst": _build_rst,
    "adoc": _build_asciidoc,
    "org": _build_org,
    "ipynb": lambda fields: _build_notebook("", fields),
    "docx": lambda fields: build_document("docx", [WORDS], fields),
    "odt": lambda fields: build_document("odt", [WORDS], fields),
}
