"""Read the elements of an XML stream one by one with lxml.

Scope: reading safely, one element at a time.
Out of scope: the meaning of an element.

The parser neither expands entities nor accesses other files or the network
(https://lxml.de/FAQ.html#how-do-i-use-lxml-safely-as-a-web-service-endpoint). Reading stops at the
first error, because later elements may be inside a damaged one.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from twin_assets.corpus.importers.members import Archive, MemberError

# WordPress writes these bytes, but XML forbids them.
_CONTROL_BYTES = bytes({*range(32)} - {9, 10, 13})
MERGED_ITEM = re.compile(r"</(item|entry)\s*>\s*<\1[\s>]")
"""Pattern of text that runs into the next item because a CDATA section lost its end."""


def iter_elements(archive: Archive, name: str, *tags: str) -> Iterator[Any]:
    """Yield the elements with these names in the order of their end tags, then clear each one.

    Raises:
        MemberError: as in `Archive.pieces`, or `torn` if the document is damaged or truncated.
    """
    etree: Any = import_module("lxml.etree")
    parser = etree.XMLPullParser(
        events=("end",), tag=tags, resolve_entities=False, no_network=True, load_dtd=False
    )
    error: Exception | None = None
    try:
        for piece in archive.pieces(name):
            parser.feed(piece.translate(None, _CONTROL_BYTES))
            yield from _read_and_clear(parser)
        parser.close()
    except etree.XMLSyntaxError as syntax_error:
        error = syntax_error
    yield from _read_and_clear(parser)
    if error is not None:
        raise MemberError(name, "torn") from error


def _read_and_clear(parser: Any) -> Iterator[Any]:
    for _, element in parser.read_events():
        yield element
        element.clear(keep_tail=False)


def has_merged_items(element: Any) -> bool:
    """Return whether a text in the element runs into the next item (`MERGED_ITEM`)."""
    return any(MERGED_ITEM.search(text) for text in element.itertext())
