"""Elements cut out of an XML stream one by one, so that a damaged one costs itself alone.

Belongs here: finding `<item>…</item>` outside of CDATA, parsing one safely.
Does not belong here: what an item means (one importer a format).

XML: https://www.w3.org/TR/xml/. Parsing is defusedxml's: no declared entities, no external ones,
no document type (https://github.com/tiran/defusedxml#how-to-avoid-xml-vulnerabilities). A parser
of the whole would stop at the first control character, which WordPress writes and XML forbids.
"""
# pyright: strict

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, ParseError

MAX_ITEM_CHARACTERS = 16 << 20
"""A longer item is `too_large`; no more than this and one read's worth is held at a time."""

_READ_AT_ONCE = 1 << 20
_CLOSINGS = {"<![CDATA[": "]]>", "<!--": "-->"}
_LONGEST_TAG = 4096
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&#(x?)([0-9A-Fa-f]{1,8});")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_DECLARED = re.compile(r"\sxmlns:([A-Za-z_][\w.-]*)\s*=\s*([\"'])([^\"'<>&]*)\2")


@dataclass(frozen=True)
class XmlItem:
    """One element, from `<` to `>`.

    Attributes:
        text: as it stands in the document; bytes that are not UTF-8 as lone surrogates.
        before: what stands between the element before it (or the document's start) and this one.
        damage: "", or a word for `Skipped`: `malformed_row` (another element begins before this one
            ends), `torn` (the document ends), `too_large`.
    """

    text: str
    before: str = ""
    damage: str = ""


class _Window:
    """The part of a stream that is looked at; positions count from its beginning."""

    def __init__(self, pieces: Iterable[bytes], encoding: str) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self.text = ""
        self.ended = False

    def grow(self) -> None:
        """Read on, by half of what is held, so that an item is not copied for each 64 KiB."""
        new: list[str] = []
        wanted = max(_READ_AT_ONCE, len(self.text) // 2)
        while wanted > 0 and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            new.append(self._decoder.decode(piece or b"", self.ended))
            wanted -= len(new[-1])
        self.text += "".join(new)

    def find(self, closing: str, at: int) -> int:
        """Where `closing` is from `at` on, within the longest item; -1: nowhere."""
        while (position := self.text.find(closing, at, at + MAX_ITEM_CHARACTERS)) < 0:
            if self.ended or len(self.text) - at >= MAX_ITEM_CHARACTERS:
                return -1
            self.grow()
        return position


def items(
    pieces: Iterable[bytes], *, tags: Sequence[str], encoding: str = "utf-8"
) -> Iterator[XmlItem]:
    """The outermost elements of these names, in order; markup in CDATA and comments is text.

    The last item is empty (`text == ""`): its `before` is what follows the last element.
    """
    names = "|".join(map(re.escape, tags))
    mark = re.compile(rf"<!\[CDATA\[|<!--|<(?P<end>/)?(?:{names})(?=[\s>/])[^<>]*>")
    window = _Window(pieces, encoding)
    keep, at, start = 0, 0, -1  # `keep`: the end of the last item; `start`: of the one that is open
    unclosed: set[str] = set()
    while True:
        match = mark.search(window.text, at)
        if match is None:
            if window.ended:
                break
            # A mark may be cut in two by the end of what was read.
            at = max(at, window.text.rfind("<", max(at, len(window.text) - _LONGEST_TAG)))
            if start >= 0 and len(window.text) - start > MAX_ITEM_CHARACTERS:
                yield XmlItem("", window.text[keep:start], "too_large")
                keep, start = len(window.text), -1
            if start < 0 and keep < len(window.text) - MAX_ITEM_CHARACTERS:
                keep = len(window.text) - _LONGEST_TAG
            cut = keep if start < 0 else min(keep, start)
            window.text = window.text[cut:]
            keep, at, start = keep - cut, max(at - cut, 0), start - cut if start >= 0 else -1
            window.grow()
            continue
        at = match.end()
        closing = _CLOSINGS.get(match[0])
        if closing:
            end = -1 if closing in unclosed else window.find(closing, at)
            if end < 0:  # what it hides is looked at after all
                unclosed.add(closing)
            elif start >= 0 or _balanced(window.text[at:end], mark):
                at = end + len(closing)
        elif match["end"]:
            if start >= 0:
                yield XmlItem(window.text[start:at], window.text[keep:start])
                keep, start = at, -1
        else:
            if start >= 0:
                begun = match.start()
                yield XmlItem(window.text[start:begun], window.text[keep:start], "malformed_row")
                keep = begun
            start = match.start()
            if match[0].endswith("/>"):
                yield XmlItem(match[0], window.text[keep:start])
                keep, start = at, -1
    if start >= 0:
        yield XmlItem(window.text[start:], window.text[keep:start], "torn")
        keep = len(window.text)
    yield XmlItem("", window.text[keep:])


def _balanced(text: str, mark: re.Pattern[str]) -> bool:
    """Whether as many items end as begin: else damage hid what would have closed the comment."""
    tags = [match["end"] for match in mark.finditer(text) if match[0] not in _CLOSINGS]
    return 2 * sum(end is not None for end in tags) == len(tags)


def hidden(item: XmlItem, *, tags: Sequence[str]) -> list[XmlItem]:
    """Elements that begin within an item that is damaged: an unclosed CDATA had swallowed them."""
    names = "|".join(map(re.escape, tags))
    begins = [match.start() for match in re.finditer(rf"<(?:{names})(?=[\s>])", item.text)]
    bounds = [*begins, len(item.text)]
    return [XmlItem(item.text[begin:end]) for begin, end in pairwise(bounds[1:])]


def declared_namespaces(head: str) -> dict[str, str]:
    """Prefix → address, of the declarations in a document's beginning."""
    return {match[1]: match[3] for match in _DECLARED.finditer(head[:20_000])}


def parse(item: XmlItem, *, namespaces: Mapping[str, str]) -> Element | None:
    """The element; None when it is damaged, not UTF-8 or no XML.

    Args:
        item: as `items` cut it.
        namespaces: prefix → address, for the prefixes that the document's root declares.
    """
    fromstring: Any = import_module("defusedxml.ElementTree").fromstring
    refused: Any = import_module("defusedxml").DefusedXmlException
    if item.damage or _NOT_UTF8.search(item.text):
        return None
    declared = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in namespaces.items())
    body = _FORBIDDEN.sub(_allowed, item.text)
    try:
        root: Element = fromstring(f"<twin {declared}>{body}</twin>", forbid_dtd=True)
    except (ParseError, refused, ValueError):
        return None
    return root[0] if len(root) else None


def _allowed(match: re.Match[str]) -> str:
    """A reference to a character that XML allows, as it was; to another, or a raw one: nothing."""
    if match[2] is None:
        return ""
    try:
        code = int(match[2], 16 if match[1] else 10)
    except ValueError:  # letters in a decimal reference: the parser says so
        return match[0]
    allowed = code in {9, 10, 13} or 32 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
    return match[0] if allowed or 0x10000 <= code <= 0x10FFFF else ""
