"""National identity numbers: social security, personal and personal tax numbers.

Belongs here: looking a text through for the shapes of `national_schemes.py`, once for all of them,
and proving a hit. Does not belong here: the table.

A run of groups is turned into its shape ("536-22-8726" → "999-99-9999") and looked up, so the cost
does not grow with the number of schemes.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, Protocol, cast

from twin_resources.errors import TwinError
from twin_resources.privacy.kinds import TextSpan
from twin_resources.privacy.national_schemes import SCHEMES, Scheme

_RUN = re.compile(
    r"(?<![\w.,/+-])(?:[A-Z]{1,2}[ -])?[A-Z]{0,6}[0-9][A-Z0-9]{0,20}(?:[ ./+-][A-Z0-9]{1,20})*"
)
_GROUP = re.compile(r"[A-Z0-9]+")
_MOST_GROUPS = 7
_TO_SHAPE = str.maketrans(
    {**dict.fromkeys("0123456789", "9"), **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")}
)
_FROM_HERE_AT_HOME = 10  # digits
# prefixes that HM Revenue & Customs does not allocate: NIM39110
_INSURANCE_NUMBER = re.compile(
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]$"
)
_LONGEST_LABEL, _NEAREST_WORD = 48, 12


class _Checks(Protocol):
    """A module of python-stdnum."""

    def is_valid(self, number: str) -> bool: ...


def _by_shape() -> dict[str, tuple[tuple[Scheme, bool], ...]]:
    found: defaultdict[str, list[tuple[Scheme, bool]]] = defaultdict(list)
    for scheme in SCHEMES:
        for plain, shapes in ((True, scheme.plain), (False, scheme.labelled)):
            for shape in shapes:
                found[shape].append((scheme, plain))
    return {shape: tuple(schemes) for shape, schemes in found.items()}


_SCHEMES_OF = _by_shape()


def find_national_ids(text: str, *, regions: tuple[str, ...] = ()) -> Iterator[TextSpan]:
    """Spans of kinds `ssn` (of the United States) and `national id`; they may overlap others.

    Args:
        regions: where the writer may be at home, ISO 3166 alpha-2.
    """
    for run in _RUN.finditer(text):
        yield from _in_run(text, run, regions)


def _in_run(text: str, run: re.Match[str], regions: tuple[str, ...]) -> Iterator[TextSpan]:
    shape = run[0].translate(_TO_SHAPE)
    groups = [group.span() for group in _GROUP.finditer(run[0])]
    if not _may_end_at(text, run.end()):
        groups.pop()
    index = 0
    while index < len(groups):
        start = groups[index][0]
        # the longest first: "123.456.789-09" holds shapes of others
        for last in range(min(index + _MOST_GROUPS, len(groups)) - 1, index - 1, -1):
            end = groups[last][1]
            kind = _kind_of(text, run.start() + start, run.start() + end, shape[start:end], regions)
            if kind:
                yield TextSpan(run.start() + start, run.start() + end, kind)
                index = last
                break
        index += 1


def _kind_of(
    text: str, start: int, end: int, shape: str, regions: tuple[str, ...]
) -> Literal["ssn", "national id"] | None:
    for scheme, plain in _SCHEMES_OF.get(shape, ()):
        if (
            not plain
            and not _at_home(shape, scheme, regions)
            and not _labelled(text, start, scheme)
        ):
            continue
        if _is_valid(scheme, text[start:end]):
            return "ssn" if scheme.module == "us.ssn" else "national id"
    return None


def _may_end_at(text: str, end: int) -> bool:
    """Letters that go on make it a word, a digit after a mark a longer number."""
    following = text[end : end + 2]
    if following[:1].isalnum() or following[:1] == "_":
        return False
    return not (following[:1] in tuple(".,:-/") and following[1:].isalnum())


def _at_home(shape: str, scheme: Scheme, regions: tuple[str, ...]) -> bool:
    return scheme.region in regions and shape.count("9") >= _FROM_HERE_AT_HOME


def _labelled(text: str, start: int, scheme: Scheme) -> bool:
    before = text[max(0, start - _LONGEST_LABEL) : start]
    said = bool(scheme.words) and any(one.isalpha() for one in before[-_NEAREST_WORD:])
    return said and _label(scheme.words).search(before) is not None


@lru_cache(maxsize=len(SCHEMES))
def _label(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\[\w])(?:{words})(?![\w\]])[^\d\n\[]{{0,30}}$")


def _is_valid(scheme: Scheme, written: str) -> bool:
    if not scheme.module:
        return _INSURANCE_NUMBER.match(re.sub("[ -]", "", written)) is not None
    digits = [character for character in written if character.isdigit()]
    if len(set(digits)) < 2:
        return False
    try:
        return _module(scheme.module).is_valid(written)
    except LookupError:
        # python-stdnum 2.2, cn.ric: a province without a county raises KeyError
        return False


@lru_cache(maxsize=len(SCHEMES))
def _module(name: str) -> _Checks:
    from stdnum import get_cc_module

    country, _, number = name.partition(".")
    module = get_cc_module(country, number)
    if module is None:
        raise TwinError(
            f"Looked for the check sum {name}",
            found="python-stdnum does not have it",
            next_step="install the version in deploy/constraints.txt",
        )
    return cast(_Checks, module)
