"""Decode the bytes of a text and name their encoding.

Scope: byte order marks, a page's declared encoding, and guessing among encodings older than UTF-8.
Out of scope: what the text means (`posts`).

Method: charset-normalizer finds the script (Cyrillic, Greek, Korean …). Among encodings of Latin
letters it chose the Central European one for French and the Western one for Polish, so these are
chosen by the damage that a wrong one does to words, then by the language. Czech in ISO 8859-2 is
decoded as Windows-1250, which damages none of its words.
Source: https://charset-normalizer.readthedocs.io, https://encoding.spec.whatwg.org
"""
# pyright: strict

from __future__ import annotations

import codecs
import re
import unicodedata

UTF_8 = "utf-8"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TAG = re.compile(r"<[^<>]*>")
_DECLARED = re.compile(
    rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)|\A\s*<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)",
    re.IGNORECASE,
)
# The first is preferred if nothing speaks against it.
_LATIN = ("cp1252", "cp1250", "cp1254", "iso8859_2", "mac_roman", "cp850")
_JAPANESE = ("shift_jis", "euc_jp", "iso2022_jp")
_OTHER_SCRIPTS = (
    *("cp1251", "koi8_r", "cp866", "cp1253", "cp1255", "cp1256", "gb18030", "big5", "euc_kr"),
)
_NAMES = {
    "cp1252": "windows-1252",
    "cp1250": "windows-1250",
    "cp1251": "windows-1251",
    "cp1253": "windows-1253",
    "cp1254": "windows-1254",
    "cp1255": "windows-1255",
    "cp1256": "windows-1256",
    "iso8859_2": "iso-8859-2",
    "koi8_r": "koi8-r",
    "mac_roman": "mac-roman",
    "shift_jis": "shift_jis",
    "euc_jp": "euc-jp",
    "euc_kr": "euc-kr",
    "utf_16_le": "utf-16",
    "utf_16_be": "utf-16",
    "utf-8-sig": UTF_8,
    "latin-1": "windows-1252",
    "iso8859-1": "windows-1252",
    "cp932": "shift_jis",
    "cp949": "euc-kr",
}
_IN_WORD = frozenset("’‘'·-\u00ad\u2010\u2011")  # characters that belong inside words
_KANA = re.compile(r"[\u3040-\u30ff]")
_KANA_SHARE = 0.2  # of non-ASCII: half or more in Japanese, none in Korean decoded as Japanese
_LOOKED_AT = 20_000
_CENTRAL = ("cp1250", "iso8859_2")
_USUAL = {
    **dict.fromkeys(("cs", "hr", "hu", "pl", "ro", "sk", "sl", "sr"), _CENTRAL),
    **dict.fromkeys(("az", "tr"), ("cp1254",)),
}
_CLEARLY = 0.3  # score: a Czech sentence with wrong accents has .93, a single word .2
_MAX_PASTED = 200  # bytes; a file with more of them is not UTF-8


class UnknownEncodingError(ValueError):
    """No encoding yields text."""


def decode_text(body: bytes, *, is_page: bool = False) -> tuple[str, str]:
    """Return the text and the encoding's usual name (`utf-8`, `windows-1252`, `shift_jis` …).

    Args:
        body: the whole file; not empty.
        is_page: whether it is HTML, which may declare its encoding.

    Raises:
        UnknownEncodingError: no known encoding yields text.
    """
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return _strictly(body, encoding), _name(encoding)
    if b"\0" in body:
        encoding = _utf_16_of(body)
        return _strictly(body, encoding), _name(encoding)
    declared = _DECLARED.search(body[:4096]) if is_page else None
    named = b"".join(filter(None, declared.groups())).decode("ascii") if declared else ""
    if body.isascii() and not (named.casefold().startswith("iso-2022") or b"\x1b$" in body):
        return body.decode("ascii"), UTF_8
    text = _tried(body, UTF_8) if b"\x1b$" not in body else None
    if text is not None:
        return text, UTF_8
    # Browsers read declared Latin-1 as Windows-1252, in which nearly all such pages were written.
    if named and (text := _tried(body, _as_browsers_do(named))) is not None:
        return text, _name(_as_browsers_do(named))
    if (text := _mended(body)) is not None:
        return text, f"{UTF_8} with windows-1252"
    encoding = _guessed(body)
    return _strictly(body, encoding), _name(encoding)


def has_mark(body: bytes) -> bool:
    """Return whether the bytes begin with a byte order mark: then NUL bytes are expected."""
    return body.startswith(tuple(mark for mark, _ in _MARKS))


def _guessed(body: bytes) -> str:
    """Return Python's name of the encoding of a text that is not UTF-8.

    Raises:
        UnknownEncodingError: no encoding fits.
    """
    for encoding in _JAPANESE:
        text = _tried(body, encoding)
        if text is not None and _is_japanese(text):
            return encoding
    import charset_normalizer

    whole = (*_LATIN, *_OTHER_SCRIPTS)
    best = charset_normalizer.from_bytes(body, cp_isolation=list(whole)).best()
    encoding_name = best.encoding if best is not None else ""
    if encoding_name in _OTHER_SCRIPTS:
        return encoding_name
    encoding = _latin_of(body)
    text = body.decode(encoding)[:_LOOKED_AT]
    others = sum(not sign.isascii() for sign in text)
    if _wounds(text) > (0.5 * others if encoding_name else 0):  # so many that it is not text
        raise UnknownEncodingError
    return encoding


def _latin_of(body: bytes) -> str:
    """Return the Latin encoding that damages the fewest words.

    Raises:
        UnknownEncodingError: none of them can decode these bytes.
    """
    texts = {one: text for one in _LATIN if (text := _tried(body, one)) is not None}
    if not texts:
        raise UnknownEncodingError
    wounds = {one: _wounds(text) for one, text in texts.items()}
    least = [one for one in texts if wounds[one] == min(wounds.values())]
    if len({texts[one] for one in least}) == 1:
        return least[0]
    usual = [one for one in _usual_for(texts[least[0]]) if one in least]
    return usual[0] if usual else least[0]


def _wounds(text: str) -> int:
    """Count signs of a wrong encoding: a symbol or a capital inside a word, a control character."""
    count = 0
    for at, sign in enumerate(text[:_LOOKED_AT]):
        if sign.isascii():
            continue
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        if unicodedata.category(sign) == "Cc":
            count += 1
        elif not _is_latin(sign):
            beside = before.isalpha() + after.isalpha()
            # A frame or a fraction beside one letter; a quotation mark or another sign between two.
            count += sign not in _IN_WORD and beside >= (1 if _is_drawn(sign) else 2)
        elif sign.isupper():
            count += before.isalpha() and before.islower()
        elif sign in "ªº":
            count += before.isalpha()
    return count


def _is_latin(sign: str) -> bool:
    """Return whether `sign` is a letter, not one of Mac Roman's marks or ligatures for umlauts."""
    if unicodedata.category(sign) not in {"Lu", "Ll", "Lo"} or sign in "ﬁﬂ":
        return False
    return unicodedata.name(sign, "").startswith(("LATIN", "FEMININE", "MASCULINE"))


def _is_drawn(sign: str) -> bool:
    """Return whether prose never has `sign` at a word's edge: a frame, fraction or lone accent."""
    return unicodedata.category(sign) in {"So", "Sm", "Sk", "No", "Lm"} and sign not in "®™©°№"


def _usual_for(text: str) -> tuple[str, ...]:
    """Return the encodings usual for this language, or () if the language is uncertain.

    Words without accents reveal the language even if the accents are wrong.
    """
    from twin_assets.corpus.language import language_scores

    scores = language_scores(_TAG.sub(" ", text))  # a short page is mostly English tags
    language = max(scores, key=lambda one: scores[one], default="")
    return _USUAL.get(language, ()) if scores.get(language, 0.0) >= _CLEARLY else ()


def _is_japanese(text: str) -> bool:
    others = sum(not sign.isascii() for sign in text[:_LOOKED_AT])
    return others > 0 and len(_KANA.findall(text[:_LOOKED_AT])) >= _KANA_SHARE * others


def _utf_16_of(body: bytes) -> str:
    """Detect UTF-16 without a mark: in Latin letters every second byte is zero.

    Raises:
        UnknownEncodingError: the zeros are elsewhere, so it is not text.
    """
    head = body[: 2 * (_LOOKED_AT // 2)]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(body) % 2 == 0 and min(even, odd) == 0 and max(even, odd) > 0.4 * (len(head) // 2):
        return "utf_16_le" if odd else "utf_16_be"
    raise UnknownEncodingError


def _mended(body: bytes) -> str | None:
    """Decode UTF-8 with a few pasted bytes of Windows-1252; return None if it is not that."""
    pieces: list[str] = []
    at = wrong = 0
    while True:
        try:
            pieces.append(body[at:].decode(UTF_8))
            break
        except UnicodeDecodeError as error:
            stranger = _tried(body[at + error.start : at + error.start + 1], "cp1252")
            wrong += 1
            if stranger is None or wrong > _MAX_PASTED:
                return None
            pieces += [body[at : at + error.start].decode(UTF_8), stranger]
            at += error.start + 1
    text = "".join(pieces)
    right = sum(not sign.isascii() for sign in text) - wrong
    return text if right > wrong else None


def _as_browsers_do(named: str) -> str:
    return "cp1252" if named.casefold() in {"iso-8859-1", "latin1", "latin-1", "ascii"} else named


def _tried(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _strictly(body: bytes, encoding: str) -> str:
    """Decode strictly.

    Raises:
        UnknownEncodingError: the bytes are not in this encoding.
    """
    if (text := _tried(body, encoding)) is None:
        raise UnknownEncodingError
    return text


def _name(encoding: str) -> str:
    lowered = encoding.casefold()
    canonical = codecs.lookup(lowered).name
    return _NAMES.get(lowered, _NAMES.get(canonical, canonical))
