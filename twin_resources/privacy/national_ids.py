"""Find national identity numbers: social security, personal and personal tax numbers.

Scope: searching a text for all shapes in `national_schemes.py` in one pass, and verifying matches.
Out of scope: the table of schemes.

Each run of groups is converted to its shape ("536-22-8726" → "999-99-9999"). A dictionary finds the
schemes of a shape, so the cost does not grow with the number of schemes.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, Protocol, cast

from twin_resources.privacy.kinds import TextSpan
from twin_resources.privacy.national_schemes import NATIONAL_ID_SCHEMES, NationalIdScheme
from twin_resources.privacy.other_numbers import (
    has_other_label,
    is_beside_long_number,
    is_code_value,
    is_in_hex_dump,
)

_RUN = re.compile(
    r"(?<![\w.,/+-])(?:[A-Z]{1,2}[ -])?[A-Z]{0,6}[0-9][A-Z0-9]{0,20}(?:[ ./+-][A-Z0-9]{1,20})*"
)
_GROUP = re.compile(r"[A-Z0-9]+")
_MAX_GROUPS = 7
_TO_SHAPE = str.maketrans(
    {**dict.fromkeys("0123456789", "9"), **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")}
)
# One in eleven ten-digit numbers passes a checksum by chance, and Unix timestamps have ten digits.
_MIN_DIGITS_IN_HOME_REGION = 11
_TIMESTAMP = re.compile(
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])(?:[0-5]\d){1,2}$"
)
_ISBN = re.compile(r"97[89]\d{10}$")
# HM Revenue & Customs does not allocate the excluded prefixes (NIM39110).
_INSURANCE_NUMBER = re.compile(
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]$"
)
_LABEL_IN_RUN = re.compile(r"(?<![A-Z0-9])[A-Z]{1,6}[-/.]$")
_MAX_LABEL_CHARACTERS, _MAX_LABEL_DISTANCE = 48, 12


class _StdnumModule(Protocol):
    """The interface of a python-stdnum module."""

    def is_valid(self, number: str) -> bool: ...


def _group_schemes_by_shape() -> dict[str, tuple[tuple[NationalIdScheme, bool], ...]]:
    schemes_by_shape: defaultdict[str, list[tuple[NationalIdScheme, bool]]] = defaultdict(list)
    for scheme in NATIONAL_ID_SCHEMES:
        for is_plain, shapes in ((True, scheme.plain_shapes), (False, scheme.labeled_shapes)):
            for shape in shapes:
                schemes_by_shape[shape].append((scheme, is_plain))
    return {shape: tuple(schemes) for shape, schemes in schemes_by_shape.items()}


_SCHEMES_BY_SHAPE = _group_schemes_by_shape()


def find_national_ids(text: str, *, regions: tuple[str, ...] = ()) -> Iterator[TextSpan]:
    """Yield spans of kind `ssn` (United States) or `national id`; they may overlap other kinds.

    Args:
        regions: possible countries of the writer, ISO 3166 alpha-2.
    """
    for run in _RUN.finditer(text):
        yield from _find_ids_in_run(text, run, regions)


def _find_ids_in_run(text: str, run: re.Match[str], regions: tuple[str, ...]) -> Iterator[TextSpan]:
    run_text = run[0]  # read only once, because `run[0]` makes a copy
    shape = run_text.translate(_TO_SHAPE)
    groups = [group.span() for group in _GROUP.finditer(run_text)]
    if not _is_number_end(text, run.end()):
        groups.pop()
    index = 0
    while index < len(groups):
        start = groups[index][0]
        if not _is_number_start(run_text, start):
            index += 1
            continue
        # The longest candidate comes first: "123.456.789-09" contains the shapes of other schemes.
        for last_index in range(min(index + _MAX_GROUPS, len(groups)) - 1, index - 1, -1):
            end = groups[last_index][1]
            if run_text[end : end + 1] not in ("", " "):
                continue  # this is part of a longer number
            kind = _classify_candidate(
                text, run.start() + start, run.start() + end, shape[start:end], regions
            )
            if kind:
                yield TextSpan(run.start() + start, run.start() + end, kind)
                index = last_index
                break
        index += 1


def _classify_candidate(
    text: str, start: int, end: int, shape: str, regions: tuple[str, ...]
) -> Literal["ssn", "national id"] | None:
    for scheme, is_plain in _SCHEMES_BY_SHAPE.get(shape, ()):
        is_home_match = not is_plain and _matches_home_region(shape, scheme, regions)
        is_labeled = not is_plain and not is_home_match and _has_label_before(text, start, scheme)
        if not (is_plain or is_home_match or is_labeled) or not _is_valid(scheme, text[start:end]):
            continue
        if not is_labeled and _is_another_number(text, start, end):
            continue
        return "ssn" if scheme.stdnum_module == "us.ssn" else "national id"
    return None


def _is_another_number(text: str, start: int, end: int) -> bool:
    """Return whether the text is another kind of number that passes the checksum by chance."""
    number_text = text[start:end]
    if is_in_hex_dump(text, start, end) or has_other_label(text, start):
        return True
    return number_text.isdigit() and (
        _ISBN.match(number_text) is not None
        or _TIMESTAMP.match(number_text) is not None
        or is_code_value(text, start, end)
        or is_beside_long_number(text, start, end)
    )


def _is_number_start(run: str, start: int) -> bool:
    """Return whether a number may start here: first, after a space or after a label ("RUT-12…")."""
    if start == 0 or run[start - 1] == " ":
        return True
    return _LABEL_IN_RUN.search(run[max(0, start - 8) : start]) is not None


def _is_number_end(text: str, end: int) -> bool:
    """Return whether a number may end here, that is, whether no word or longer number continues."""
    next_characters = text[end : end + 2]
    if next_characters[:1].isalnum() or next_characters[:1] == "_":
        return False
    return not (next_characters[:1] in tuple(".,:-/") and next_characters[1:].isalnum())


def _matches_home_region(shape: str, scheme: NationalIdScheme, regions: tuple[str, ...]) -> bool:
    return scheme.region in regions and shape.count("9") >= _MIN_DIGITS_IN_HOME_REGION


def _has_label_before(text: str, start: int, scheme: NationalIdScheme) -> bool:
    preceding_text = text[max(0, start - _MAX_LABEL_CHARACTERS) : start]
    may_be_labeled = bool(scheme.label_words) and any(
        map(str.isalpha, preceding_text[-_MAX_LABEL_DISTANCE:])
    )
    return (
        may_be_labeled
        and _compile_label_pattern(scheme.label_words).search(preceding_text) is not None
    )


@lru_cache(maxsize=len(NATIONAL_ID_SCHEMES))
def _compile_label_pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\[\w])(?:{words})(?![\w\]])[^\d\n\[]{{0,30}}$")


def _is_valid(scheme: NationalIdScheme, number: str) -> bool:
    if not scheme.stdnum_module:
        return _INSURANCE_NUMBER.match(re.sub("[ -]", "", number)) is not None
    digits = [character for character in number if character.isdigit()]
    if len(set(digits)) < 2:
        return False
    try:
        return _load_stdnum_module(scheme.stdnum_module).is_valid(number)
    except LookupError:
        # cn.ric in python-stdnum 2.2 raises KeyError for a province without a county.
        return False


@lru_cache(maxsize=len(NATIONAL_ID_SCHEMES))
def _load_stdnum_module(name: str) -> _StdnumModule:
    from stdnum import get_cc_module

    country, _, number = name.partition(".")
    return cast(_StdnumModule, get_cc_module(country, number))
