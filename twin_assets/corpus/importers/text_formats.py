"""Convert posts in formats other than Markdown and HTML to Markdown.

pandoc (3.9 in `pypandoc-binary`) reads reStructuredText, Org, AsciiDoc, Textile, Word and
OpenDocument, and `pypdf` reads the text of a PDF. Both belong to the extra `formats`, which
downloads 34 MB, uses 160 MB on disk, and installs in 6 s. The alternative markitdown supports
neither the first four formats nor OpenDocument, and adds 30 packages (82 MB). nbconvert adds 31
packages to read a list of cells in JSON.
Formats: https://pandoc.org/MANUAL.html, https://nbformat.readthedocs.io.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import yaml

from twin_assets.corpus.importers.document_fields import (
    NOTEBOOK_ERRORS,
    FormatError,
    has_foreign_suggestions,
    load_notebook,
    open_pdf,
    reject_zip_bomb,
)
from twin_assets.corpus.importers.native_fields import remove_asciidoc_bylines, remove_rst_fields
from twin_assets.corpus.importers.post_head import PostHead
from twin_assets.corpus.importers.suffixes import (
    EXTRA_SUFFIXES,
    NON_MARKDOWN_SUFFIXES,
    PANDOC_FORMATS,
)
from twin_resources.errors import TwinError
from twin_resources.processes.program_progress import run_for_output

EXTRA = "llm-twin[formats]"
_MAX_CPU_S = 60.0  # a post takes 0.1 s; other load does not affect CPU time
_MAX_MEMORY = "-M1g"
# An underscore in a name is no subscript, unless braces follow it. A file's own line comes later.
_ORG_NAMES_WITH_UNDERSCORES = "#+OPTIONS: ^:{}\n"
# A block of code, which is kept, or a footnote's definition. pandoc reads a colon behind its name
# as the mark of a listing.
_ORG_CODE_OR_NOTE = re.compile(
    r"^[ \t]*\#\+begin_(?P<block>src|example|export)\b.*?^[ \t]*\#\+end_(?P=block)\b"
    r"|^(?P<note>\[fn:[\w-]{1,100}\]):[ \t]*",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
# pandoc leaves citations in the text, with escaped brackets: https://orgmode.org/manual/Citations.
_ORG_CITATION = re.compile(r"[ \t]?\\\[cite(?:/[\w/-]{1,60})?:[^\[\]]{0,2000}@[^\[\]]{0,2000}\\\]")
# Where a cell holds blocks, pandoc writes this instead of the table, unless it may write HTML.
_LEFT_OUT_TABLE = re.compile(r"^\[TABLE\]$", re.MULTILINE)
_HTML_TABLE = re.compile(r"^<table\b.*?</table>", re.MULTILINE | re.DOTALL)
# A literal block or code in a line, which is kept, or a reference of Sphinx with its own words,
# which pandoc shows as code, with its target.
_RST_CODE_OR_REFERENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?=\S)(?:(?!\.\.[ ])[^\n]*::"
    r"|\.\.[ ](?:code(?:-block)?|sourcecode|raw|math|highlight)::[^\n]*)[ \t]*\n"
    r"(?:[ \t]*\n|(?P=indent)[ \t]+[^\n]*(?:\n|\Z))*"
    r"|``[^\n]+?``(?!`)"
    r"|:(?:\w+:)?(?:doc|ref|term):`(?P<words>[^`<>]*[^`<>\s\\])\s*<[^`<>]+>`",
    re.MULTILINE,
)
_RST_MARK = re.compile(r"(?<!\\)[*|_]")
# A delimited block or code in a line, which is kept, or a link. pandoc reads the words of a link as
# attributes (`.` a class, `#` an id), as Asciidoctor does only where they contain "=":
# https://docs.asciidoctor.org/asciidoc/latest/macros/link-macro
_ASCIIDOC_CODE_OR_LINK = re.compile(
    r"^(?P<fence>-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,})[^\n]*\n.*?^(?P=fence)[ \t]*$|`[^`\n]+`"
    r"|(?P<target>(?:(?:https?|ftp|irc)://|(?:link|mailto):|\{[\w-]+\})[^\s\[\]<>]*)"
    r"\[(?P<text>(?:[^\[\]\n]|\n(?!\s*\n))+)\]",
    re.MULTILINE | re.DOTALL,
)
# pandoc prints blocks of comments, conditions and the lines below titles, takes the last letter of
# a cell for the kind of the next one, and does not know listings in open blocks. It fails at a file
# that it cannot read, and at an offset below the first level of headings; an included file is a
# post of its own.
_ASCIIDOC_BLOCK = re.compile(
    r"^(?P<code>(?P<fence>-{4,}|\.{4,}|\+{4,}|`{3,})[^\n]*\n(?:[^\n]*\n)*?(?P=fence)[ \t]*$)"
    r"|^(?P<slashes>/{4,})[ \t]*\n(?:[^\n]*\n)*?(?P=slashes)[ \t]*(?:\n|\Z)"
    r"|^(?:ifn?def|ifeval|endif)::[^\n\[]{0,200}\[[^\n]{0,500}\][ \t]*(?:\n|\Z)"
    r"|^(?:include::[^\[\n]{1,500}\[[^\]\n]{0,500}\]|:!?leveloffset!?:[^\n]{0,100})[ \t]*$"
    r"|^(?P<title>(?=\S*\w)[^\s|\[.][^\n]{0,200})\n(?P<underline>(?P<mark>[-~^+])(?P=mark)+)[ \t]*$"
    r"|^(?P<row>\|[^\n]*[^\s|\\]\|[^\n]*)$"
    r"|^(?P<style>\[(?:source|listing)[^\]\n]{0,200}\][ \t]*\n)--[ \t]*\n"
    r"(?P<listing>(?:[^\n]*\n)*?)--[ \t]*$",
    re.MULTILINE,
)
_ASCIIDOC_LEVELS = {"-": "==", "~": "===", "^": "====", "+": "====="}
_ASCIIDOC_CELL_END = re.compile(r"(?P<word>[^\s|]+)\|")
_ASCIIDOC_CELL_KIND = re.compile(r"(?:\d+(?:\.\d+)?[*+])?[<^>.]*[adehlmsv]?|.*\\")
_ASCIIDOC_ATTRIBUTE = re.compile(r"[.#,%=]")
_ASCIIDOC_VALUE = re.compile(r"^:([\w-]+):[ \t]+(\S+)[ \t]*$", re.MULTILINE)
_HIDDEN_CELLS = frozenset({"hide", "remove_cell", "remove-cell", "hide_cell", "hide-cell", "draft"})


def needs_extra(suffix: str) -> bool:
    """Return whether files with this suffix could be read if the extra were installed."""
    return suffix in EXTRA_SUFFIXES and not is_readable(suffix)


def is_readable(suffix: str) -> bool:
    """Return whether files with this suffix can be read in this environment."""
    if suffix in PANDOC_FORMATS:
        return _find_pandoc_path() != ""
    return find_spec("pypdf") is not None if suffix == "pdf" else suffix in NON_MARKDOWN_SUFFIXES


def convert_to_markdown(head: PostHead) -> tuple[str, dict[str, Any]]:
    """Return a file in one of these formats as Markdown, and the fields that its reader found.

    Args:
        head: a post in a format other than `txt`, which needs no conversion.

    Raises:
        FormatError: the file is damaged, or not in the format of its suffix.
    """
    if head.suffix == "ipynb":
        return _notebook_to_markdown(head.body), {}
    if head.suffix == "pdf":
        return _extract_pdf_text(head.document), {}
    reader = PANDOC_FORMATS[head.suffix]
    body = head.document or _prepare_for_pandoc(head.body, reader).encode()
    markdown = _run_pandoc(body, reader)
    if _LEFT_OUT_TABLE.search(markdown):
        tables = _HTML_TABLE.findall(_run_pandoc(body, reader, extensions=""))
        if len(tables) == len(_LEFT_OUT_TABLE.findall(markdown)):
            markdown = _LEFT_OUT_TABLE.sub(lambda _: tables.pop(0), markdown)
    if reader == "org":
        markdown = _ORG_CITATION.sub("", markdown)
    metadata_match = re.match(r"---\n(.*?\n)---\n", markdown, re.DOTALL)
    if metadata_match is None:
        return markdown, {}
    try:
        fields = yaml.load(metadata_match[1], Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return markdown, {}  # a table between two rules, not metadata
    known_fields = cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
    return markdown[metadata_match.end() :].lstrip(), {
        key.lower(): known_fields[key] for key in known_fields
    }


def _prepare_for_pandoc(text: str, reader: str) -> str:
    """Return a text that pandoc reads as the format's own programs do."""
    if reader == "org":
        return _ORG_NAMES_WITH_UNDERSCORES + _ORG_CODE_OR_NOTE.sub(
            lambda match: f"{match['note']} " if match["note"] else match[0], text
        )
    if reader == "rst":
        return _RST_CODE_OR_REFERENCE.sub(_rewrite_reference, remove_rst_fields(text))
    if reader == "asciidoc":
        text = text.replace("\r\n", "\n")
        text = _ASCIIDOC_BLOCK.sub(_rewrite_block, text)
        text = remove_asciidoc_bylines(text)
        values = dict(_ASCIIDOC_VALUE.findall(text))
        return _ASCIIDOC_CODE_OR_LINK.sub(partial(_rewrite_link, values=values), text)
    return text


def _rewrite_reference(match: re.Match[str]) -> str:
    """Return the words of a reference whose target is in another file; code stays as it is."""
    if not match["words"]:
        return match[0]
    return _RST_MARK.sub(lambda mark: f"\\{mark[0]}", match["words"])


def _rewrite_block(match: re.Match[str]) -> str:
    """Return a block of AsciiDoc in the form that pandoc reads, or "" for what no reader sees."""
    if match["title"]:
        is_underlined = abs(len(match["title"]) - len(match["underline"])) <= 2
        return f"{_ASCIIDOC_LEVELS[match['mark']]} {match['title']}" if is_underlined else match[0]
    if match["row"]:
        return _ASCIIDOC_CELL_END.sub(
            lambda end: (
                end[0] if _ASCIIDOC_CELL_KIND.fullmatch(end["word"]) else f"{end['word']} |"
            ),
            match["row"],
        )
    if match["style"]:
        return f"{match['style']}----\n{match['listing']}----"
    return match["code"] or ""


def _rewrite_link(match: re.Match[str], *, values: Mapping[str, str]) -> str:
    """Return a link that pandoc reads with all its words; without a known address, the words."""
    target, text = match["target"], match["text"]
    if target and target.startswith("{"):
        name, _, rest = target[1:].partition("}")
        if re.match(r"footnote(?:ref)?:|[a-z]+:\S*$", rest):
            # `{empty}` before a macro separates it from a word, which pandoc does by itself.
            return match[0].removeprefix("{empty}")
        if not re.match(r"https?://|link:", values.get(name, "")):
            return match[0] if not text or "=" in text else text
        target = values[name] + rest
    if not text:
        return match[0]
    if text.startswith('"') or not _ASCIIDOC_ATTRIBUTE.search(text):
        return f"{target}[{text}]"
    words, attributes = text, ""
    if "=" in text:  # only then has the macro attributes, and the words end at the first comma
        words, comma, attributes = text.partition(",")
        attributes = comma + attributes
        if re.match(r"\s*[\w-]+=", words):
            return f"{target}[{text}]"
    escaped = words.replace('"', '\\"').replace("=", "&#61;")
    return f'{target}["{escaped}"{attributes}]'


def _run_pandoc(body: bytes, reader: str, *, extensions: str = "-raw_html") -> str:
    """Return Markdown with YAML metadata; pandoc has no access to other files or the network.

    Args:
        extensions: further extensions of the Markdown that pandoc writes.
    """
    if reader in {"docx", "odt"}:
        reject_zip_bomb(body)
    has_suggestions = reader == "docx" and has_foreign_suggestions(body)
    command = [
        *(_find_pandoc_path(), "+RTS", _MAX_MEMORY, "-RTS", "--sandbox", "--standalone", "--quiet"),
        *(["--track-changes=reject"] if has_suggestions else []),
        *("--wrap=none", "--from", reader, "--to", f"gfm+tex_math_dollars{extensions}"),
    ]
    try:
        process = run_for_output(command, input_bytes=body, max_cpu_s=_MAX_CPU_S)
    except TwinError as error:
        raise FormatError(f"pandoc was {error.found}") from error
    if process.returncode:
        raise FormatError(" ".join(process.stderr.decode("utf-8", "replace").split())[:200])
    return process.stdout.decode("utf-8")


def _extract_pdf_text(body: bytes) -> str:
    """Return the text of a PDF with its lines joined; "" if its pages are pictures."""
    with open_pdf(body) as reader:
        return "\n\n".join(_join_lines(str(page.extract_text())) for page in reader.pages)


def _join_lines(page: str) -> str:
    """Join a page's lines into paragraphs; a sentence end before the margin ends a paragraph."""
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


def _notebook_to_markdown(text: str) -> str:
    """Return Markdown cells unchanged and code cells as fenced blocks, without outputs."""
    try:
        _, metadata, cells = load_notebook(text)
        language = metadata.get("kernelspec", {}).get("language") or "python"
        parts = [_cell_to_markdown(cell, str(language)) for cell in cells]
    except NOTEBOOK_ERRORS as error:
        raise FormatError(f"it is not a notebook ({type(error).__name__})") from error
    return "\n\n".join(part for part in parts if part).strip() + "\n"


def _cell_to_markdown(cell: Mapping[str, Any], language: str) -> str:
    tags = cell.get("metadata", {}).get("tags", [])
    if not _HIDDEN_CELLS.isdisjoint(tags):
        return ""
    source: object = cell.get("source", cell.get("input", ""))
    lines = cast("list[object]", source) if isinstance(source, list) else [source]
    text = "".join(map(str, lines))
    cell_type = cell.get("cell_type")
    if cell_type in {"markdown", "raw"}:
        return text.strip()
    if cell_type == "heading":
        return f"{'#' * int(cell.get('level', 1))} {text.strip()}"
    return f"```{language}\n{text.strip()}\n```" if text.strip() else ""


@cache
def _find_pandoc_path() -> str:
    """Return pandoc's path, or "" if the extra is not installed."""
    if find_spec("pypandoc") is None:
        return ""
    pypandoc: Any = import_module("pypandoc")
    try:
        return str(pypandoc.get_pandoc_path())
    except OSError:  # neither the package nor the machine has the pandoc binary
        return ""
