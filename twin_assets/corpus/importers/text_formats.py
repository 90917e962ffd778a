"""Posts in other formats than Markdown and HTML, made Markdown: what each is read by.

Belongs here: suffixes, conversion, the fields that a format keeps elsewhere than in front matter.
Does not belong here: which of such files are posts (`site_layout`), reading a post (`posts`).

reStructuredText, Org, AsciiDoc, Textile, Word and OpenDocument are read by pandoc (3.9 in
`pypandoc-binary`), the text of a PDF by `pypdf`: both in the extra `formats`, 34 MB to fetch and
160 MB on disk, installed in 6 s. Of what was compared, markitdown reads none of the first four and
no OpenDocument, and brings 30 packages of 82 MB; nbconvert brings 31 for a list of cells in JSON.
Formats: https://pandoc.org/MANUAL.html, https://nbformat.readthedocs.io,
https://docs.getpelican.com/en/latest/content.html, https://orgmode.org/manual/Export-Settings.html,
https://docs.asciidoctor.org/asciidoc/latest/attributes/document-attributes/.
"""
# pyright: strict

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import yaml

EXTRA = "llm-twin[formats]"
_PANDOC: Mapping[str, str] = {
    "rst": "rst",
    "org": "org",
    **dict.fromkeys(("adoc", "asciidoc", "asc"), "asciidoc"),
    "textile": "textile",
    "dj": "djot",
    "docx": "docx",
    "odt": "odt",
}
_WITH_EXTRA = frozenset({*_PANDOC, "pdf"})
OFFICE = frozenset({"docx", "odt", "pdf"})
"""Formats of files that are no text: zips, and PDF."""

NOT_MARKDOWN = frozenset({*_WITH_EXTRA, "ipynb", "txt"})
_SECONDS = 60
_MOST_MEMORY = "-M1g"
_MOST_EXPANDED = 64_000_000
_FIELD = re.compile(
    r"^(?:#\+(?P<org>[A-Za-z_]+):|:(?P<adoc>[A-Za-z][\w-]*):|\.\. (?P<nikola>[a-z]+):)"
    r"[ \t]*(?P<value>.*)$",
    re.MULTILINE,
)
_ADOC_DATE = re.compile(r"\A=[^\n]*\n(?:[^\n]*\n)?(?:v[\d.]+,[ ]*)?(\d{4}-\d{2}-\d{2})[^\n]*\n")
_CORE = {"docx": "docProps/core.xml", "odt": "meta.xml"}
_CORE_FIELD = re.compile(
    rb"<(dcterms:created|meta:creation-date|dc:title|dc:creator|meta:initial-creator)"
    rb"(?:\s[^<>]*)?>([^<]+)<"
)
_CORE_NAMES = {b"dcterms:created": "date", b"meta:creation-date": "date", b"dc:title": "title"}
# Who made it; `dc:creator` of an OpenDocument is who saved it last.
_MADE_BY = {"docx": b"dc:creator", "odt": b"meta:initial-creator"}
# What programs and machines write where nobody has said a name.
_NOBODY = re.compile(
    r"(?:(?:microsoft|windows|office|user|benutzer|utilisateur|usuario|usuário|utente|gebruiker)[\s-]*)+"
    r"|(?:ms|your|the|my|hp|dell|lenovo|asus|acer|sony|toshiba|samsung|pc|home|owner|customer)"
    r"(?:[\s-]+\w+)?|python-docx|pandoc|libreoffice.*|openoffice.*|apache poi|docx4j|un-?named"
    r"|\(?(?:anonymous|unspecified|unknown|none|null|author|admin(?:istrator)?)\)?|\W*",
    re.IGNORECASE,
)
_HIDDEN_CELLS = frozenset({"hide", "remove_cell", "remove-cell", "hide_cell", "hide-cell", "draft"})


class FormatError(ValueError):
    """A file that its format's reader refuses; the message is the reader's, in one line."""


def suffix_of(name: str) -> str:
    """The suffix by which a format is known, lower case; "" for every other file."""
    suffix = name[name.rfind(".") + 1 :].lower() if "." in name else ""
    return suffix if suffix in NOT_MARKDOWN else ""


def needs_extra(suffix: str) -> bool:
    """Whether files of this suffix could be read if the extra were installed."""
    return suffix in _WITH_EXTRA and not is_read(suffix)


def is_read(suffix: str) -> bool:
    """Whether files of this suffix can be read here."""
    if suffix in _PANDOC:
        return _pandoc() != ""
    return find_spec("pypdf") is not None if suffix == "pdf" else suffix in NOT_MARKDOWN


def as_markdown(body: bytes, suffix: str, *, text: str = "") -> str:
    """A file in one of these formats as Markdown, with front matter where it has fields.

    Args:
        body: the file's bytes.
        suffix: from `suffix_of`; not `txt`, which stays as it is.
        text: the same decoded, for a format of text.

    Raises:
        FormatError: it is damaged, or not what its suffix says.
    """
    if suffix == "ipynb":
        return _of_notebook(text)
    if suffix == "pdf":
        return _of_pdf(body)
    written = _by_pandoc(body if suffix in OFFICE else text.encode(), _PANDOC[suffix])
    fields = _core_fields(body, suffix) if suffix in OFFICE else _fields(text, suffix)
    return _with_fields(written, fields)


def _with_fields(markdown: str, fields_named: Mapping[str, Any]) -> str:
    """Markdown of pandoc, whose front matter gives way to what the file says itself; but a byline
    that stands in the text counts more than who made the file."""
    fields: dict[str, Any] = {}
    head = re.match(r"---\n(.*?\n)---\n", markdown, re.DOTALL)
    if head is not None:
        head_fields = yaml.load(head[1], Loader=yaml.BaseLoader)
        fields = cast("dict[str, Any]", head_fields) if isinstance(head_fields, dict) else {}
        markdown = markdown[head.end() :]
    fields_named = {
        key: value for key, value in fields_named.items() if key != "author" or key not in fields
    }
    fields = {key: value for key, value in fields.items() if key not in fields_named} | dict(
        fields_named
    )
    if "date" in fields:
        fields["date"] = re.sub(r"[\\<>\[\]]", "", str(fields["date"])).strip()
    if not fields:
        return markdown
    block = yaml.safe_dump(fields, allow_unicode=True, default_flow_style=False, sort_keys=False)
    return f"---\n{block}---\n\n{markdown.lstrip()}"


def _fields(text: str, suffix: str) -> dict[str, Any]:
    """Org's keywords, AsciiDoc's attributes, Nikola's comments; pandoc knows a few of them."""
    kind = {"org": "org", "rst": "nikola"}.get(suffix, "adoc")
    if suffix in {"textile", "dj"}:
        return {}
    fields: dict[str, Any] = {}
    for match in _FIELD.finditer(text[:4_000]):
        name = match[kind]
        # An attribute of AsciiDoc is said by its name alone.
        value = match["value"].strip() or ("true" if kind == "adoc" else "")
        if name and value:
            fields[name.lower().removeprefix("hugo_").removeprefix("page-")] = value
    if suffix in {"adoc", "asciidoc", "asc"} and (dated := _ADOC_DATE.match(text)):
        fields.setdefault("date", dated[1])
    if "filetags" in fields:
        fields["tags"] = [tag for tag in str(fields.pop("filetags")).split(":") if tag.strip()]
    return fields


def _core_fields(body: bytes, suffix: str) -> dict[str, Any]:
    """When a document was made, its title, and by whom, where that is a name."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            if packed.getinfo(_CORE[suffix]).file_size > _MOST_EXPANDED:
                return {}
            core = packed.read(_CORE[suffix])
    except (zipfile.BadZipFile, KeyError, NotImplementedError, OSError):
        return {}  # pandoc read it; what it says of itself is missing
    fields: dict[str, Any] = {}
    for name, value in _CORE_FIELD.findall(core):
        said = html.unescape(value.decode("utf-8", "replace")).strip()
        if said and (field := _CORE_NAMES.get(name, "")):
            fields.setdefault(field, said)
        elif name == _MADE_BY[suffix]:
            fields |= _byline(said)
    return fields


def _byline(name: str) -> dict[str, str]:
    """The field `author` of a name; none where a program stands in its place."""
    names = [one.strip() for one in re.split(r"[;\n\0]", name)]
    said = ", ".join(one for one in names if not _NOBODY.fullmatch(one))
    return {"author": said} if said else {}


def _by_pandoc(body: bytes, reader: str) -> str:
    """Markdown, with pandoc's metadata as YAML; it may read no other file and no network."""
    if reader in {"docx", "odt"}:
        _refuse_bomb(body)
    command = [
        *(_pandoc(), "+RTS", _MOST_MEMORY, "-RTS", "--sandbox", "--standalone", "--quiet"),
        *("--wrap=none", "--from", reader, "--to", "gfm+tex_math_dollars-raw_html"),
    ]
    try:
        completed = subprocess.run(
            command, input=body, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"pandoc took more than {_SECONDS} s") from error
    if completed.returncode:
        raise FormatError(" ".join(completed.stderr.decode("utf-8", "replace").split())[:200])
    return completed.stdout.decode("utf-8")


def _refuse_bomb(body: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            total = sum(member.file_size for member in packed.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise FormatError("no zip") from error
    if total > _MOST_EXPANDED:
        raise FormatError(f"it expands to {total:,} bytes")


def _of_pdf(body: bytes) -> str:
    """The text of a PDF's pages; one of pictures has none. Lines of a paragraph are joined."""
    pypdf: Any = import_module("pypdf")
    errors: Any = import_module("pypdf.errors")
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        pages = [str(page.extract_text()) for page in reader.pages]
        about = reader.metadata
        title = str(about.title or "") if about else ""
        author = str(about.author or "") if about else ""
        made = about.creation_date if about else None
    # ValueError and the like: what a damaged file makes of its own numbers.
    except (errors.PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            RecursionError) as error:  # fmt: skip
        raise FormatError(" ".join(str(error).split())[:200]) from error
    fields = ({"title": title} if title.strip() else {}) | _byline(author)
    if made is not None:
        fields["date"] = made.isoformat()
    return _with_fields("\n\n".join(_paragraphs(page) for page in pages), fields)


def _paragraphs(page: str) -> str:
    """Lines of a page as paragraphs: a line that ends a sentence before the margin ends one."""
    lines = [line.strip() for line in page.splitlines()]
    width = max(map(len, lines), default=0)
    text = ""
    for line in lines:
        if not line:
            text = text.rstrip() + "\n\n"
            continue
        text += line.removesuffix("-") if _is_hyphenated(line) else line + " "
        if len(line) < 0.8 * width and line[-1] in '.!?:»”"…':
            text = text.rstrip() + "\n\n"
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _is_hyphenated(line: str) -> bool:
    return len(line) > 1 and line.endswith("-") and line[-2].islower()


def _of_notebook(text: str) -> str:
    """Cells of Markdown as they are, of code as fenced blocks; outputs are not written by hand."""
    try:
        notebook: Any = json.loads(text)
        cells: Any = notebook.get("cells") or notebook["worksheets"][0]["cells"]
        about: Any = notebook.get("metadata") or {}
        language = about.get("kernelspec", {}).get("language") or "python"
        parts = [_of_cell(cell, str(language)) for cell in cells]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise FormatError(f"no notebook ({type(error).__name__})") from error
    return "\n\n".join(part for part in parts if part).strip() + "\n"


def _of_cell(cell: Mapping[str, Any], language: str) -> str:
    tags = cell.get("metadata", {}).get("tags", [])
    if not _HIDDEN_CELLS.isdisjoint(tags):
        return ""
    source: object = cell.get("source", cell.get("input", ""))
    lines = cast("list[object]", source) if isinstance(source, list) else [source]
    written = "".join(map(str, lines))
    kind = cell.get("cell_type")
    if kind in {"markdown", "raw"}:
        return written.strip()
    if kind == "heading":
        return f"{'#' * int(cell.get('level', 1))} {written.strip()}"
    return f"```{language}\n{written.strip()}\n```" if written.strip() else ""


@cache
def _pandoc() -> str:
    """Pandoc's path; "" where the extra is not installed."""
    if find_spec("pypandoc") is None:
        return ""
    pypandoc: Any = import_module("pypandoc")
    try:
        return str(pypandoc.get_pandoc_path())
    except OSError:  # the package without its binary, and none on this machine
        return ""
