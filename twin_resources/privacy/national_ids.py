"""Find national identity numbers: social security, personal and personal tax numbers.

Scope: searching a text for all shapes in `national_schemes.py` in one pass, and verifying matches.
Out of scope: the table of schemes.

From each place where a number may start, the text is converted to its shape ("536-22-8726" →
"999-99-9999"). A dictionary finds the schemes of a shape, so the cost does not grow with the number
of schemes.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Literal, Protocol, cast

from twin_resources.privacy.kinds import TextSpan
from twin_resources.privacy.national_schemes import SCHEMES_BY_SHAPE, NationalIdScheme
from twin_resources.privacy.other_numbers import (
    is_beside_long_number,
    is_code_value,
    is_other_number,
)

# A number starts a word, or follows a label ("RUT-12…"); its digits come after six letters at most.
_START = re.compile(r"(?=[A-Z -]{0,6}[0-9])(?:(?<![\w.,/+-])|(?<=[A-Z]{2}[-/.]))[A-Z0-9]")
_GOES_ON = re.compile(r"\w|[.,:/+-][^\W_]")
_TO_SHAPE = str.maketrans(
    {**dict.fromkeys("0123456789", "9"), **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")}
)
# One in eleven ten-digit numbers passes a checksum by chance, and Unix timestamps have ten digits.
_MIN_DIGITS_IN_HOME_REGION = 11
_TIMESTAMP_OR_ISBN = re.compile(
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])(?:[0-5]\d){1,2}$"
    r"|97[89]\d{10}$"
)
# HM Revenue & Customs does not allocate the excluded prefixes (NIM39110).
_INSURANCE_NUMBER = re.compile(
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]$"
)
_MAX_LABEL_CHARACTERS = 48

_LENGTHS = sorted({len(shape) for shape in SCHEMES_BY_SHAPE}, reverse=True)


class _StdnumModule(Protocol):
    """The interface of a python-stdnum module."""

    def is_valid(self, number: str) -> bool: ...


def find_national_ids(text: str, *, regions: tuple[str, ...] = ()) -> Iterator[TextSpan]:
    """Yield spans of kind `ssn` (United States) or `national id`; they may overlap other kinds.

    Args:
        regions: possible countries of the writer, ISO 3166 alpha-2.
    """
    last_end = 0
    for match in _START.finditer(text):
        start = match.start()
        shape = text[start : start + _LENGTHS[0]].translate(_TO_SHAPE)
        if start < last_end:
            continue
        # The longest candidate comes first: "123.456.789-09" contains the shapes of other schemes.
        for length in _LENGTHS:
            schemes = SCHEMES_BY_SHAPE.get(shape[:length])
            end = start + length
            if not schemes or end > len(text) or _GOES_ON.match(text, end):
                continue
            if kind := _classify(text, start, end, shape[:length], schemes, regions):
                last_end = end
                yield TextSpan(start, end, kind)
                break


def _classify(
    text: str,
    start: int,
    end: int,
    shape: str,
    schemes: list[NationalIdScheme],
    regions: tuple[str, ...],
) -> Literal["ssn", "national id"] | None:
    number, preceding_text = text[start:end], text[max(0, start - _MAX_LABEL_CHARACTERS) : start]
    is_at_home = shape.count("9") >= _MIN_DIGITS_IN_HOME_REGION
    # A number of another kind may pass a checksum by chance.
    is_other = (
        is_other_number(text, start, end, has_birth_date=True)
        or (number.isdigit() and _TIMESTAMP_OR_ISBN.match(number) is not None)
        or (number.isdigit() and is_code_value(text, start, end))
        or (number.isdigit() and is_beside_long_number(text, start, end))
    )
    for scheme in schemes:
        is_expected = scheme.is_plain or (is_at_home and scheme.region in regions)
        label = None if scheme.is_plain else _compile_label(scheme.label_words)
        is_labeled = label is not None and label.search(preceding_text)
        if (is_labeled or (is_expected and not is_other)) and _is_valid(
            scheme.stdnum_module, number
        ):
            return "ssn" if scheme.stdnum_module == "us.ssn" else "national id"
    return None


@cache
def _compile_label(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\[\w])(?:{words or '(?!)'})(?![\w\]])[^\d\n\[]{{0,30}}$")


def _is_valid(stdnum_module: str, number: str) -> bool:
    country, _, name = stdnum_module.partition(".")
    if not name:
        return _INSURANCE_NUMBER.match(re.sub("[ -]", "", number)) is not None
    if len({character for character in number if character.isdigit()}) < 2:
        return False
    from stdnum import get_cc_module

    try:
        return cast(_StdnumModule, get_cc_module(country, name)).is_valid(number)
    except LookupError:
        # cn.ric in python-stdnum 2.2 raises KeyError for a province without a county.
        return False
