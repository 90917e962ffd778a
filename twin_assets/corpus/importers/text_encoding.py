"""The text of bytes in any encoding: byte order marks, a page's declaration, or a guess.

charset-normalizer finds the script (Cyrillic, Greek, Korean …). Of Latin letters it takes French
for Central European and Polish for Western ones, so here the language decides, which words without
accents show. Texts in Mac OS Roman, DOS or ISO 8859-2 then have symbols and capitals inside their
words, and are refused.
Sources: https://charset-normalizer.readthedocs.io, https://encoding.spec.whatwg.org
"""
# pyright: strict

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence

UTF_8 = "utf-8"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TAG = re.compile(r"<[^<>]*>")
_DECLARED_ENCODING = re.compile(
    rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)|\A\s*<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)",
    re.IGNORECASE,
)
_MULTI_BYTE = frozenset({"shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"})
_OTHER_SCRIPTS = frozenset({"cp1251", "koi8_r", "cp866", "cp1253", "cp1255", "cp1256"})
_LATIN = {
    **dict.fromkeys(("cs", "hr", "hu", "pl", "ro", "sk", "sl", "sr"), "cp1250"),
    **dict.fromkeys(("az", "tr"), "cp1254"),
}
"""Encodings by language; of any other language, it is the Western one."""
_USUAL_NAMES = {
    **{"iso8859-1": "windows-1252", "euc_jp": "euc-jp"},
    **{"euc_kr": "euc-kr", "cp949": "euc-kr", "cp932": "shift_jis", "utf-8-sig": UTF_8},
    **{"utf-16-le": "utf-16", "utf-16-be": "utf-16"},
}
"""Usual names that differ from Python's; `cp1250` and its neighbors follow one pattern."""
_MAX_CHARACTERS = 20_000
_MIN_LANGUAGE_SCORE = 0.3  # a Czech sentence with wrong accents scores .93, a single word .2
_OTHER_CHARACTERS = re.compile(r"[^\x00-\x7f]+")
_INNER_CHARACTER = re.compile(r"(?<=[a-z])[^\x00-\x7f’‘·…\u00ad\u2010-\u2014](?=[a-z])")
_MAX_DAMAGE = 0.1  # share of the characters inside words
_MAX_PASTED_BYTES = 200  # a file with more pasted bytes is not UTF-8


class UnknownEncodingError(ValueError):
    """Bytes that no known encoding decodes to text."""


def decode_text(body: bytes, *, is_page: bool = False) -> tuple[str, str]:
    """Return the text and the usual name of its encoding (`utf-8`, `windows-1252`, `shift_jis` …).

    Args:
        body: the whole file, which must not be empty.
        is_page: whether the file is HTML, which may declare its encoding.

    Raises:
        UnknownEncodingError: no known encoding yields text.
    """
    if marked := next((name for mark, name in _BYTE_ORDER_MARKS if body.startswith(mark)), ""):
        return _decode(body, (marked,))
    if b"\0" in body:
        # In Latin text in UTF-16, every second byte is zero.
        head = body[:_MAX_CHARACTERS]
        zeros = (head[::2].count(0), head[1::2].count(0))
        if len(body) % 2 or min(zeros) or max(zeros) <= 0.2 * len(head):
            raise UnknownEncodingError
        return _decode(body, ("utf_16_le" if zeros[1] else "utf_16_be",))
    declaration = _DECLARED_ENCODING.search(body[:4096]) if is_page else None
    declared = b"".join(filter(None, declaration.groups())).decode() if declaration else ""
    has_escapes = b"\x1b$" in body  # ISO 2022, which consists of ASCII bytes
    if not has_escapes and not (body.isascii() and declared.casefold().startswith("iso-2022")):
        try:
            return body.decode(), UTF_8
        except UnicodeDecodeError:
            pass  # an older encoding, found below
    # Browsers read declared Latin-1 as Windows-1252, the real encoding of nearly all such pages.
    if declared.casefold() in {"iso-8859-1", "latin1", "latin-1", "ascii"}:
        declared = "cp1252"
    try:
        return _decode(body, (declared, *(["iso2022_jp"] if has_escapes else [])))
    except UnknownEncodingError:
        return _decode_mixed_utf_8(body) or _decode_by_guess(body)


def has_byte_order_mark(body: bytes) -> bool:
    """Return whether the bytes begin with a byte order mark, after which NUL bytes are expected."""
    return body.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS))


def _decode(body: bytes, encodings: Sequence[str]) -> tuple[str, str]:
    """Return the text in the first encoding that reads every byte, and its usual name."""
    for encoding in encodings:
        try:
            name = codecs.lookup(encoding).name
            return body.decode(encoding), _USUAL_NAMES.get(
                name, re.sub("^cp125", "windows-125", name)
            )
        except (UnicodeDecodeError, LookupError):
            continue
    raise UnknownEncodingError


def _decode_mixed_utf_8(body: bytes) -> tuple[str, str] | None:
    """Decode UTF-8 with a few pasted Windows-1252 bytes, or return None for any other bytes."""
    text = body.decode(UTF_8, "surrogateescape")  # each invalid byte is U+DC80 and up
    invalid = re.findall("[\udc80-\udcff]", text)
    utf_8_count = sum(not character.isascii() for character in text) - len(invalid)
    try:
        pasted = "".join(invalid).encode("ascii", "surrogateescape").decode("cp1252")
    except UnicodeDecodeError:
        return None
    if len(invalid) > _MAX_PASTED_BYTES or utf_8_count <= len(invalid):
        return None
    characters = iter(pasted)
    return (
        re.sub("[\udc80-\udcff]", lambda _: next(characters), text),
        f"{UTF_8} with windows-1252",
    )


def _decode_by_guess(body: bytes) -> tuple[str, str]:
    """Decode a text that is not UTF-8 by its letters and its language."""
    import charset_normalizer

    from twin_assets.corpus.language import score_languages

    scripts = [*sorted(_MULTI_BYTE | _OTHER_SCRIPTS), "cp1252", "cp1250", "cp1254"]
    match = charset_normalizer.from_bytes(body, cp_isolation=scripts).best()
    encodings = [match.encoding] if match is not None else []
    # Single signs, such as the quotation marks of English, do not show another script.
    runs = _OTHER_CHARACTERS.findall(str(match) if match is not None else "")
    is_other_script = sum(len(run) for run in runs if len(run) > 1) * 2 > sum(map(len, runs))
    if not is_other_script or encodings[0] not in _MULTI_BYTE | _OTHER_SCRIPTS:
        head = body[:_MAX_CHARACTERS].decode("cp1252", "replace")
        scores = score_languages(_TAG.sub(" ", head))  # a short page is mostly English tags
        language = max(scores, key=lambda code: scores[code], default="")
        is_sure = scores.get(language, 0.0) >= _MIN_LANGUAGE_SCORE
        encodings = [_LATIN.get(language, "cp1252") if is_sure else "cp1252"]
    text, name = _decode(body, encodings)
    inner = _INNER_CHARACTER.findall(text) if encodings[0] not in _MULTI_BYTE else []
    is_wrong = [not (c.islower() and unicodedata.name(c, "").startswith("LATIN")) for c in inner]
    if sum(is_wrong) > _MAX_DAMAGE * len(inner):
        raise UnknownEncodingError
    return text, name
