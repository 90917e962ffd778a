"""Decode the bytes of a text and name their encoding.

Scope: byte order marks, a page's declared encoding, and guessing among legacy encodings.
Out of scope: the meaning of the text (`posts`).

Method: charset-normalizer finds the script (Cyrillic, Greek, Korean …). For Latin letters, it chose
the Central European encoding for French and the Western one for Polish. This module therefore
chooses the Latin encoding that damages the fewest words; the language breaks ties. Czech in
ISO 8859-2 is decoded as Windows-1250, which damages none of its words.
Sources: https://charset-normalizer.readthedocs.io, https://encoding.spec.whatwg.org
"""
# pyright: strict

from __future__ import annotations

import codecs
import re
import unicodedata

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
# Encodings in order of preference if they cause equal damage.
_LATIN = ("cp1252", "cp1250", "cp1254", "iso8859_2", "mac_roman", "cp850")
_JAPANESE = ("shift_jis", "euc_jp", "iso2022_jp")
_OTHER_SCRIPTS = (
    *("cp1251", "koi8_r", "cp866", "cp1253", "cp1255", "cp1256", "gb18030", "big5", "euc_kr"),
)
# Usual names that differ from Python's; `cp1250` and its neighbors follow one pattern.
_USUAL_NAMES = {
    **{"iso8859-1": "windows-1252", "iso8859-2": "iso-8859-2", "euc_jp": "euc-jp"},
    **{"euc_kr": "euc-kr", "cp949": "euc-kr", "cp932": "shift_jis", "utf-8-sig": UTF_8},
    **{"utf-16-le": "utf-16", "utf-16-be": "utf-16"},
}
_WORD_PUNCTUATION = frozenset("’‘'·-\u00ad\u2010\u2011")  # characters that belong inside words
_INVALID_BYTE = re.compile("[\udc80-\udcff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_KANA_SHARE = 0.2  # share of non-ASCII characters: at least half in Japanese, 0 in misread Korean
_MAX_CHARACTERS = 20_000
_CENTRAL_EUROPEAN = ("cp1250", "iso8859_2")
_USUAL_ENCODINGS = {
    **dict.fromkeys(("cs", "hr", "hu", "pl", "ro", "sk", "sl", "sr"), _CENTRAL_EUROPEAN),
    **dict.fromkeys(("az", "tr"), ("cp1254",)),
}
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
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return _decode_strictly(body, encoding), _get_encoding_name(encoding)
    if b"\0" in body:
        encoding = _detect_utf_16(body)
        return _decode_strictly(body, encoding), _get_encoding_name(encoding)
    declaration = _DECLARED_ENCODING.search(body[:4096]) if is_page else None
    declared_name = (
        b"".join(filter(None, declaration.groups())).decode("ascii") if declaration else ""
    )
    if body.isascii() and not (declared_name.casefold().startswith("iso-2022") or b"\x1b$" in body):
        return body.decode("ascii"), UTF_8
    text = _try_decode(body, UTF_8) if b"\x1b$" not in body else None
    if text is not None:
        return text, UTF_8
    # Browsers read declared Latin-1 as Windows-1252, the real encoding of nearly all such pages.
    if (
        declared_name
        and (text := _try_decode(body, _resolve_browser_encoding(declared_name))) is not None
    ):
        return text, _get_encoding_name(_resolve_browser_encoding(declared_name))
    if (text := _decode_mixed_utf_8(body)) is not None:
        return text, f"{UTF_8} with windows-1252"
    encoding = _guess_encoding(body)
    return _decode_strictly(body, encoding), _get_encoding_name(encoding)


def has_byte_order_mark(body: bytes) -> bool:
    """Return whether the bytes begin with a byte order mark, after which NUL bytes are expected."""
    return body.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS))


def _guess_encoding(body: bytes) -> str:
    """Return Python's name for the encoding of a text that is not UTF-8.

    Raises:
        UnknownEncodingError: no encoding fits.
    """
    for encoding in _JAPANESE:
        text = _try_decode(body, encoding)
        if text is not None and _is_japanese(text):
            return encoding
    import charset_normalizer

    candidates = (*_LATIN, *_OTHER_SCRIPTS)
    best_match = charset_normalizer.from_bytes(body, cp_isolation=list(candidates)).best()
    encoding_name = best_match.encoding if best_match is not None else ""
    if encoding_name in _OTHER_SCRIPTS:
        return encoding_name
    encoding = _guess_latin(body)
    text = body.decode(encoding)[:_MAX_CHARACTERS]
    non_ascii = sum(not character.isascii() for character in text)
    max_damage = 0.5 * non_ascii if encoding_name else 0
    if _count_damage(text) > max_damage:
        raise UnknownEncodingError
    return encoding


def _guess_latin(body: bytes) -> str:
    """Return the Latin encoding that damages the fewest words.

    Raises:
        UnknownEncodingError: no Latin encoding can decode these bytes.
    """
    texts = {
        encoding: text for encoding in _LATIN if (text := _try_decode(body, encoding)) is not None
    }
    if not texts:
        raise UnknownEncodingError
    damage = {encoding: _count_damage(text) for encoding, text in texts.items()}
    likely_encodings = [encoding for encoding in texts if damage[encoding] == min(damage.values())]
    if len({texts[encoding] for encoding in likely_encodings}) == 1:
        return likely_encodings[0]
    usual_encodings = [
        encoding
        for encoding in _find_usual_encodings(texts[likely_encodings[0]])
        if encoding in likely_encodings
    ]
    return usual_encodings[0] if usual_encodings else likely_encodings[0]


def _count_damage(text: str) -> int:
    """Count signs of a wrong encoding: symbols and capitals inside words, control characters."""
    count = 0
    for index, character in enumerate(text[:_MAX_CHARACTERS]):
        if character.isascii():
            continue
        previous_character, next_character = text[index - 1 : index], text[index + 1 : index + 2]
        if unicodedata.category(character) == "Cc":
            count += 1
        elif not _is_latin(character):
            adjacent_letters = previous_character.isalpha() + next_character.isalpha()
            # A box character or fraction counts next to one letter, other symbols between two.
            count += character not in _WORD_PUNCTUATION and adjacent_letters >= (
                1 if _is_symbol(character) else 2
            )
        elif character.isupper():
            count += previous_character.isalpha() and previous_character.islower()
        elif character in "ªº":
            count += previous_character.isalpha()
    return count


def _is_latin(character: str) -> bool:
    """Return whether `character` is a Latin letter, and not a mark or ligature of Mac Roman."""
    if unicodedata.category(character) not in {"Lu", "Ll", "Lo"} or character in "ﬁﬂ":
        return False
    return unicodedata.name(character, "").startswith(("LATIN", "FEMININE", "MASCULINE"))


def _is_symbol(character: str) -> bool:
    """Return whether `character` is a symbol that never adjoins a word (box, fraction, accent)."""
    return (
        unicodedata.category(character) in {"So", "Sm", "Sk", "No", "Lm"}
        and character not in "®™©°№"
    )


def _find_usual_encodings(text: str) -> tuple[str, ...]:
    """Return the encodings usual for this language, or () if the language is uncertain.

    Words without accents identify the language even if the accents are wrong.
    """
    from twin_assets.corpus.language import score_languages

    scores = score_languages(_TAG.sub(" ", text))  # a short page is mostly English tags
    language = max(scores, key=lambda code: scores[code], default="")
    return (
        _USUAL_ENCODINGS.get(language, ())
        if scores.get(language, 0.0) >= _MIN_LANGUAGE_SCORE
        else ()
    )


def _is_japanese(text: str) -> bool:
    non_ascii = sum(not character.isascii() for character in text[:_MAX_CHARACTERS])
    return non_ascii > 0 and len(_KANA.findall(text[:_MAX_CHARACTERS])) >= _KANA_SHARE * non_ascii


def _detect_utf_16(body: bytes) -> str:
    """Return the UTF-16 variant of bytes without a byte order mark.

    In Latin text, every second byte is zero.

    Raises:
        UnknownEncodingError: the zeros are elsewhere, so the file is not text.
    """
    head = body[: 2 * (_MAX_CHARACTERS // 2)]
    even_zeros, odd_zeros = head[::2].count(0), head[1::2].count(0)
    if (
        len(body) % 2 == 0
        and min(even_zeros, odd_zeros) == 0
        and max(even_zeros, odd_zeros) > 0.4 * (len(head) // 2)
    ):
        return "utf_16_le" if odd_zeros else "utf_16_be"
    raise UnknownEncodingError


def _decode_mixed_utf_8(body: bytes) -> str | None:
    """Decode UTF-8 with a few pasted Windows-1252 bytes, or return None for any other bytes."""
    # Each invalid byte becomes a lone surrogate, U+DC80 and up.
    text = body.decode(UTF_8, "surrogateescape")
    surrogates = _INVALID_BYTE.findall(text)
    pasted_count = len(surrogates)
    pasted_text = _try_decode("".join(surrogates).encode("ascii", "surrogateescape"), "cp1252")
    if pasted_count > _MAX_PASTED_BYTES or pasted_text is None:
        return None
    characters = iter(pasted_text)
    text = _INVALID_BYTE.sub(lambda _: next(characters), text)
    utf_8_count = sum(not character.isascii() for character in text) - pasted_count
    return text if utf_8_count > pasted_count else None


def _resolve_browser_encoding(declared_name: str) -> str:
    return (
        "cp1252"
        if declared_name.casefold() in {"iso-8859-1", "latin1", "latin-1", "ascii"}
        else declared_name
    )


def _try_decode(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _decode_strictly(body: bytes, encoding: str) -> str:
    """Decode bytes that should be in this encoding.

    Raises:
        UnknownEncodingError: the bytes are not in this encoding.
    """
    if (text := _try_decode(body, encoding)) is None:
        raise UnknownEncodingError
    return text


def _get_encoding_name(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return _USUAL_NAMES.get(name, re.sub("^cp125", "windows-125", name))
