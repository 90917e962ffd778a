"""The text of bytes in any encoding: byte order marks, a page's declaration, or a guess.

charset-normalizer finds the script (Cyrillic, Greek, Korean …). For Latin letters it chose the
Central European encoding for French and Turkish and the Western one for Polish, so here the Latin
encoding is chosen that damages the fewest words; the language breaks ties. Czech in ISO 8859-2 is
decoded as Windows-1250, which damages none of its words.
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
_LATIN = ("cp1252", "cp1250", "cp1254", "iso8859_2", "mac_roman", "cp850")
"""Encodings in order of preference if they cause equal damage."""
_JAPANESE = ("shift_jis", "euc_jp", "iso2022_jp")
_OTHER_SCRIPTS = (
    *("cp1251", "koi8_r", "cp866", "cp1253", "cp1255", "cp1256", "gb18030", "big5", "euc_kr"),
)
_USUAL_ENCODINGS = {
    **dict.fromkeys(("cs", "hr", "hu", "pl", "ro", "sk", "sl", "sr"), ("cp1250", "iso8859_2")),
    **dict.fromkeys(("az", "tr"), ("cp1254",)),
}
_USUAL_NAMES = {
    **{"iso8859-1": "windows-1252", "iso8859-2": "iso-8859-2", "euc_jp": "euc-jp"},
    **{"euc_kr": "euc-kr", "cp949": "euc-kr", "cp932": "shift_jis", "utf-8-sig": UTF_8},
    **{"utf-16-le": "utf-16", "utf-16-be": "utf-16"},
}
"""Usual names that differ from Python's; `cp1250` and its neighbors follow one pattern."""
_KANA = re.compile(r"[\u3040-\u30ff]")
_KANA_SHARE = 0.2  # share of non-ASCII characters: at least half in Japanese, 0 in misread Korean
_MAX_CHARACTERS = 20_000
_MIN_LANGUAGE_SCORE = 0.3  # a Czech sentence with wrong accents scores .93, a single word .2
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
        return _decode(body, (declared,) if declared else ())
    except UnknownEncodingError:
        return _decode_mixed_utf_8(body) or _decode(body, _guess_encodings(body))


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


def _guess_encodings(body: bytes) -> Sequence[str]:
    """Return the encoding of a text that is not UTF-8, or nothing."""
    texts: dict[str, str] = {}
    for encoding in (*_JAPANESE, *_LATIN):
        try:
            texts[encoding] = body.decode(encoding)[:_MAX_CHARACTERS]
        except UnicodeDecodeError:
            continue
    for encoding in _JAPANESE:
        text = texts.pop(encoding, "")
        foreign_count = sum(not character.isascii() for character in text)
        if foreign_count and len(_KANA.findall(text)) >= _KANA_SHARE * foreign_count:
            return (encoding,)
    import charset_normalizer

    match = charset_normalizer.from_bytes(body, cp_isolation=[*_LATIN, *_OTHER_SCRIPTS]).best()
    if match is not None and match.encoding in _OTHER_SCRIPTS:
        return (match.encoding,)
    damage = {encoding: _count_damage(text) for encoding, text in texts.items()}
    likely = [encoding for encoding in texts if damage[encoding] == min(damage.values())]
    if not likely:
        return ()
    text = texts[likely[0]]
    max_damage = 0 if match is None else 0.5 * sum(not letter.isascii() for letter in text)
    if damage[likely[0]] > max_damage:
        return ()
    if len({texts[encoding] for encoding in likely}) > 1:
        from twin_assets.corpus.language import score_languages

        # Words without accents identify the language; a short page is mostly English tags.
        scores = score_languages(_TAG.sub(" ", text))
        language = max(scores, key=lambda code: scores[code], default="")
        if scores.get(language, 0.0) >= _MIN_LANGUAGE_SCORE:
            usual = [name for name in _USUAL_ENCODINGS.get(language, ()) if name in likely]
            return [*usual, *likely]
    return likely


def _count_damage(text: str) -> int:
    """Count signs of a wrong encoding: symbols and capitals inside words, control characters."""
    count = 0
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if character.isascii():
            continue
        category = unicodedata.category(character)
        name = unicodedata.name(character, "")
        is_letter = category in {"Lu", "Ll", "Lo"} and character not in "ﬁﬂ"
        if category == "Cc":
            count += 1
        elif is_letter and name.startswith(("LATIN", "FEMININE", "MASCULINE")):
            is_inner_capital = character.isupper() and before.islower()
            count += is_inner_capital or (character in "ªº" and before.isalpha())
        elif character not in "’‘'·-\u00ad\u2010\u2011":  # what belongs inside words
            # A box character or fraction counts next to one letter, other symbols between two.
            is_symbol = category in {"So", "Sm", "Sk", "No", "Lm"} and character not in "®™©°№"
            count += before.isalpha() + after.isalpha() >= (1 if is_symbol else 2)
    return count
