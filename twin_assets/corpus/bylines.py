"""Decide from a post's byline whether the post is by the author or by someone else.

Scope: comparing names, and finding bylines inside a text. Out of scope: the byline field of an
export (importers), the handling of a foreign post (`cleaning_verdicts`).

A byline that is empty, "admin" or a first name may be the author's; whether it is depends on the
other posts of its source (`cleaning_verdicts`). One that names another person beside the author is
co-signed. Further names of the author belong in `aliases` in the author's settings.

The owner of an account may sign with a handle: initials with the surname (116 of one author's 258
posts), the address before the @, or another word. The first two are the author's unless another
person of the same posts has them. Another handle on most posts of a source is therefore the
author's if no post there has the author's own name. A full name always names a person, and a shared
family name proves nothing. Without these rules, 49 of 76 articles imported under one name were kept
although another person wrote them. All 11 articles by two people called Ruiz were kept too.
A translation is the author's if both the writer and the translator are the author.
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import islice

from twin_assets.corpus.code_blocks import iter_prose_lines
from twin_assets.corpus.importers.byline_fields import TRANSLATED_BY

_EDGE_LINES = 3
"""Number of lines at either end of a post that may contain a byline."""

_ROLE_NAMES = frozenset(
    {"admin", "administrator", "author", "blog", "contact", "editor", "editorial", "hello", "info"}
    | {"mail", "me", "noreply", "root", "staff", "team", "unknown", "user", "webmaster"}
    | {"wordpress"}
)
"""Names of an account that any author may have; "anonymous" and "guest" are somebody else's."""
_TRANSLATED_BY = re.compile(r"[,;(]*\s*\btranslated by\b[:\s]*", re.IGNORECASE)
_NAME_SEPARATOR = re.compile(r"\s*(?:,|;|&|\+|/|\band\b|\bund\b|\bet\b|\by\b|\bmit\b|\bwith\b)\s*")
_CONJUNCTION = re.compile(r"\s*(?:;|&|\+|\band\b|\bund\b|\bet\b|\by\b|\bmit\b|\bwith\b)\s*")
_NOT_A_NAME = re.compile(r"<[^<>]*>|\([^()]*\)|\S+@\S+|^\s*by\s+|^\s*@", re.IGNORECASE)
_LOCAL_PART = re.compile(r"([^\s<>()@,;:]+)@[^\s<>()@,;:]+")
_UNSPACED_SCRIPTS = re.compile(
    "[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
"""Scripts (Thai to Khmer, Japanese, Chinese, Korean) in which one word may be a full name."""
_CAPITALIZED_WORD = r"[A-ZÀ-ÖØ-Þ][\w.'’-]*"
_NAME = (
    rf"({_CAPITALIZED_WORD}"
    rf"(?:[ ](?:(?:de|van|von|der|den|la|le|da|di|bin|al)[ ])*{_CAPITALIZED_WORD}){{1,3}})"
)
# What a text says about its writer in a sentence, which fields that name who published it do not.
_GUEST = r"[Gg]uest (?:[Bb]log )?(?:[Pp]ost|[Aa]rticle|[Ee]ssay|[Cc]olumn)"
_GUEST_PREFIX = (
    r"[*_>]*\s*(?:(?:[Nn]ote|[Ee]ditor(?:['’]?s|s['’]) note):[*_]* )?"
    r"(?:(?:[Tt]his|[Tt]he following)(?: post)? is an? |[Aa]n? )?"
)
_GUEST_LINES = (
    re.compile(rf"{_GUEST_PREFIX}{_GUEST},? (?:written )?(?:by|from)[ ]{_NAME}\b.{{0,300}}"),
    re.compile(
        r"[*_]*[Tt]his (?:(?:(?:blog )?post|article|essay|tutorial) (?:was|is)"
        rf"|is the \w+ part of an? \w+) written by[ ]{_NAME}[*_]*[.]?(?: .{{0,200}})?"
    ),
)
_GUEST_TITLE = re.compile(rf"(?:.*\W)?{_GUEST} (?:by|from)[ ]{_NAME}\b.*")
_AUTHOR_LINES = (
    re.compile(rf"[*_]*(?:[Bb]y|[Ww]ritten by|[Aa]uthor:)[ ]{_NAME}[*_]*[.]?"),
    re.compile(rf"{_GUEST_PREFIX}{_GUEST}:[ ]{_NAME}\b.{{0,200}}"),
)
_TRANSLATOR_LINES = (
    re.compile(
        r"[*_>(\[]*(?:[Tt]ranslat(?:ed|ion)(?: from(?: the)? \w+)?(?: into \w+)? by|[Tt]ranslator:"
        r"|[Üü]bersetzt von|[Tt]raduit par|[Tt]raducido por|[Tt]radotto da|[Tt]raduzido por)"
        rf"[ ]{_NAME}[*_)\]]*[.]?"
    ),
)

# What says that a text is somebody else's, translated; "翻译自动", "译自己的" and "译自我" do not.
_TRANSLATION_LINE = re.compile(
    r"[*_>\s]*(?:[\[【（(「]\s*)?(?:(?:本文|此文)(?:是|系)?(?:翻译|翻譯|译|譯|编译|編譯)"
    r"|翻译|翻譯|译|譯)自(?![己我动動然由身学學]|本人|笔者|筆者).{1,300}"
    r"|[*_>\s]*[\[【（(]\s*(?:译文|譯文)[^\]】）)]{0,200}[\]】）)][*_]*"
)
_TRANSLATION_TITLE = re.compile(
    r"(?:[\[【（(「]\s*(?:译|譯|翻译|翻譯|译文|譯文)\s*[\]】）)」]|(?:译|譯|翻译|翻譯)[:：])"
)
_UNNAMED_WRITER = "anonymous"

# What stands before a colon at the head of a translation, by what it names.
_CREDIT_LABELS = {
    "original_author": r"原文作者|原作者|原著者?|원문 작성자|원작자|원저자|original author"
    r"|originalautor(?:in)?|autora? original|auteure? originale?|autore originale"
    r"|автор оригинала",
    "author": r"作者|著者|저자|글쓴이|author|autor(?:a|in)?|auteure?|autore|автор",
    "translator": r"译者|譯者|翻译者|翻譯者|訳者|翻訳者|옮긴이|번역자|역자|translator"
    r"|übersetzer(?:in)?|traductora?|traducteur|traductrice|traduttore"
    r"|tradutora?|переводчик",
    # These may also introduce a translated sentence.
    "translation": r"翻译|翻譯|译|翻訳|訳|번역|translation|übersetzung|traducción"
    r"|traduction|traduzione|tradução|перевод",
    "other": r"原文(?:地址|链接|連結|标题)?|原題|译文出自|出处|出處|来源|來源|出典"
    r"|校对者?|校對者?|원문|original(?:text)?|source|fuente|fonte|оригинал",
}
_CREDIT_LABEL = re.compile(
    r"(?:^|(?<=[\s>|｜/,，、;；*_]))(?:"
    + "|".join(f"(?P<{kind}>{labels})" for kind, labels in _CREDIT_LABELS.items())
    + r")[ ]?[:：]",
    re.IGNORECASE,
)
# A review names the writer and the translator of a book in the same words.
_BOOK_LABEL = re.compile(
    r"(?:书名|書名|出版社|出版年|定价|出版日|책 ?제목|출판사|ISBN(?:-1[03])?|Publisher|Verlag"
    r"|Editorial|[ÉE]diteur|Editore|Editora|Издательство)[ ]?[:：]",
    re.IGNORECASE,
)
_CREDIT_LINES = 8
_CREDITED_NAME = re.compile(rf"{_NAME}|[А-ЯЁ][\w.-]*(?: [А-ЯЁ][\w.-]*){{1,2}}")
# Beside a label in such a script, a handle is a name too; a sentence is longer than nine signs.
_CREDITED_WORDS = re.compile(
    r"(?!.*[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{9})"
    r"@?[\w.'’-]{1,30}(?:[ ,、&·・]+@?[\w.'’-]{1,30}){0,5}"
)


def find_byline(text: str, byline: str, *, title: str = "") -> str:
    """Return a post's byline, after what its text says about writer and translator.

    Args:
        text: the cleaned text; `By Jane Doe` at either end, or credits at the head such as
            `原文作者：Jane Doe`, which most translations have.
        byline: the byline of the export or the fields, or "". It names the writer, but where the
            text names a guest, or the head says that it is a translation, who published it.
        title: the post's title, which may say the same.
    """
    credits_ = _read_credits(text)
    guest = _extract_name(title, (_GUEST_TITLE,)) or _extract_name(text, _GUEST_LINES)
    named_writer = guest or extract_author(text) or credits_.get("author", "")
    writer = guest or byline or named_writer
    translator = extract_translator(text) or credits_.get("translator", "")
    original_author = credits_.get("original_author", "")
    if is_translation(byline):
        return byline
    if not original_author and _is_marked_as_translation(text, title):
        original_author = named_writer or _UNNAMED_WRITER
    if not (translator or original_author):
        return writer
    writer = original_author or credits_.get("author", "") or writer
    translator = translator or (byline if byline != writer else "")
    return f"{writer}, {TRANSLATED_BY} {translator}".lstrip(", ") if translator else writer


def _is_marked_as_translation(text: str, title: str) -> bool:
    """Return whether a title or the first lines say that the text is a translation."""
    prose = (line.strip() for _, line in iter_prose_lines(text) if line.strip())
    return bool(_TRANSLATION_TITLE.match(title.strip())) or any(
        map(_TRANSLATION_LINE.fullmatch, islice(prose, _EDGE_LINES))
    )


def _read_credits(text: str) -> dict[str, str]:
    """Return the names that the first lines give to `original_author`, `author`, `translator`."""
    prose = (line.lstrip("> *_-") for _, line in iter_prose_lines(text) if line.strip())
    lines = list(islice(prose, _CREDIT_LINES))
    credits_: dict[str, str] = {}
    if any(map(_BOOK_LABEL.search, lines)):
        return credits_
    for line in lines:
        labels = list(_CREDIT_LABEL.finditer(line))
        if not labels or labels[0].start():
            continue
        ends = [*(label.start() for label in labels[1:]), len(line)]
        for label, end in zip(labels, ends, strict=True):
            value = re.sub(r"[（(].*", "", line[label.end() : end]).strip(" >|｜/,，、;；*_")
            pattern = _CREDITED_WORDS if _UNSPACED_SCRIPTS.search(label[0]) else _CREDITED_NAME
            if pattern.fullmatch(value):
                credits_.setdefault(str(label.lastgroup), value)
    if not credits_.keys().isdisjoint({"author", "original_author"}):
        credits_.setdefault("translator", credits_.get("translation", ""))
    return credits_


def extract_author(text: str) -> str:
    """Return the name in a line like "By Jane Doe" or "Guest post by Jane Doe", or ""."""
    return _extract_name(text, (*_GUEST_LINES, *_AUTHOR_LINES))


def extract_translator(text: str) -> str:
    """Return the name in a line like "Translated by Jane Doe", or ""."""
    return _extract_name(text, _TRANSLATOR_LINES)


def _extract_name(text: str, patterns: Sequence[re.Pattern[str]]) -> str:
    lines = [line.strip() for _, line in iter_prose_lines(text) if line.strip()]
    for line in dict.fromkeys([*lines[:_EDGE_LINES], *lines[-_EDGE_LINES:]]):
        for pattern in patterns:
            if len(line) < 400 and (match := pattern.fullmatch(line)):
                name = re.split(r"(?<=\w\w\w)\. ", match[1], maxsplit=1)[0]  # the next sentence
                return name.rstrip("._")
    return ""


def find_foreign_bylines(bylines: Collection[str], names: Sequence[str]) -> set[str]:
    """Return the bylines that name someone else.

    Args:
        bylines: the bylines of the posts; "" does not name anyone.
        names: the author's name and aliases; without names, no byline is foreign.
    """
    if not names:
        return set()
    handles = _find_own_handles(bylines, tuple(names))
    return {
        byline
        for byline in bylines
        if not is_own_byline(byline, tuple(names))
        and not (is_possible_handle(byline) and _join_words(byline) in handles)
    }


def is_co_signed(byline: str, names: Sequence[str]) -> bool:
    """Return whether a byline names the author and another person.

    What follows a comma may also be a degree or a company's name of one word.
    """
    if _split_name(byline) in {_split_name(name) for name in names}:
        return False
    people = [
        (words, is_joined)
        for parts in [_CONJUNCTION.split(_NOT_A_NAME.sub(" ", byline))]
        for part in parts
        for is_joined in [len(parts) > 1]
        for words in _parse_byline_names(part)
    ]
    own = [
        any(_may_be_same_name(words, _split_name(name)) for name in names) for words, _ in people
    ]
    return any(own) and any(
        not is_own and (is_joined or len(words) > 1)
        for is_own, (words, is_joined) in zip(own, people, strict=True)
    )


def _find_own_handles(bylines: Collection[str], names: tuple[str, ...]) -> set[str]:
    """Return the account names of the author that no other person of these bylines has.

    They are the initials with the surname, and what stands before the @ of an address that is among
    `names` or beside one of them (`Farid Zakaria <fmzakari@a.example>`).
    """
    own_handles, other_handles = set[str](), set[str]()
    for name in names:
        own_handles |= _make_handles(_split_name(_NOT_A_NAME.sub(" ", name)))
    for text in (*names, *bylines):
        is_own = text in names or is_named_author(text, names)
        (own_handles if is_own else other_handles).update(
            _join_words(local_part) for local_part in _LOCAL_PART.findall(text)
        )
    for byline in bylines:
        for words in _parse_byline_names(byline):
            if not _may_name_author(" ".join(words), names):
                other_handles |= _make_handles(words)
    return own_handles - other_handles - {""}


def _make_handles(words: Sequence[str]) -> set[str]:
    """Return `fzakaria` and, of three words or more, `fmzakaria`; empty for a single word."""
    if len(words) < 2:
        return set()
    initials = "".join(word[0] for word in words[:-1])
    return {initials[0] + words[-1], initials + words[-1]}


def _join_words(text: str) -> str:
    return "".join(_split_name(_remove_addresses(text)))


def _remove_addresses(text: str) -> str:
    """Return the names in a byline; of an address alone, what stands before the @."""
    return _NOT_A_NAME.sub(" ", text).strip() or " ".join(
        re.sub(r"[._+-]+", " ", local_part) for local_part in _LOCAL_PART.findall(text)
    )


def is_own_byline(byline: str, names: tuple[str, ...]) -> bool:
    """Return whether a byline may be one of `names`: the same name, a part of it, or its initials.

    In a translation's byline, both the writer and the translator must match.
    """
    return all(
        _may_name_author(part, names) for part in _TRANSLATED_BY.split(byline) if part.strip()
    )


def is_named_author(byline: str, names: tuple[str, ...]) -> bool:
    """Return whether a byline is one of `names`, and neither empty nor a role such as "admin"."""
    return bool(_parse_byline_names(byline)) and is_own_byline(byline, names)


def is_role(byline: str) -> bool:
    """Return whether a byline names nobody: it is empty, or the name of an account ("admin")."""
    return not _parse_byline_names(byline)


def is_translation(byline: str) -> bool:
    """Return whether a byline names a translator."""
    return bool(_TRANSLATED_BY.search(byline))


def _parse_byline_names(byline: str) -> list[tuple[str, ...]]:
    """Return the words of each name in a byline, or [] if a name is a role such as "admin"."""
    parts = _NAME_SEPARATOR.split(_remove_addresses(byline))
    names = [_split_name(part) for part in parts]
    nonempty_names = [words for words in names if words]
    return [] if any(set(words) <= _ROLE_NAMES for words in nonempty_names) else nonempty_names


def _may_name_author(byline: str, names: tuple[str, ...]) -> bool:
    people = _parse_byline_names(byline)
    if not people:
        return True
    whole_byline = _split_name(_remove_addresses(byline))
    return any(
        _may_be_same_name(words, _split_name(name))
        for name in names
        for words in [*people, whole_byline]
        if _split_name(name)
    )


def is_possible_handle(byline: str) -> bool:
    """Return whether a byline on most posts of a source may be the author's own handle.

    A handle is one word in a script that puts spaces between words.
    """
    cleaned_byline = _remove_addresses(byline)
    return len(cleaned_byline.split()) == 1 and not _UNSPACED_SCRIPTS.search(cleaned_byline)


def _may_be_same_name(words: Sequence[str], name: Sequence[str]) -> bool:
    """Return whether two names may be the same (`chris wellons`, `c wellons`, `wellons chris`)."""
    if "".join(words) in {"".join(name), "".join(reversed(name))}:
        return True
    shorter_name, longer_name = sorted((list(words), list(name)), key=len)
    if not {word for word in shorter_name if len(word) > 1} & set(longer_name):
        return False  # initials alone do not identify a person
    remaining_words = list(longer_name)
    for word in shorter_name:
        match = next(
            (candidate for candidate in remaining_words if _is_same_word(word, candidate)), None
        )
        if match is None:
            return False
        remaining_words.remove(match)
    return True


def _is_same_word(left: str, right: str) -> bool:
    return left == right or (1 in (len(left), len(right)) and left[0] == right[0])


@lru_cache(maxsize=1024)
def _split_name(name: str) -> tuple[str, ...]:
    decomposed_name = unicodedata.normalize("NFKD", name.casefold())
    base_letters = "".join(
        character for character in decomposed_name if not unicodedata.combining(character)
    )
    return tuple(re.findall(r"[^\W_]+", base_letters.replace("'", "").replace("’", "")))
