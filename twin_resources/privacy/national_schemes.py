"""Define the national identity numbers with their shapes and checksums.

Scope: the table. Out of scope: the search (`national_ids.py`), the checksums (python-stdnum has one
module per scheme, https://arthurdejong.org/python-stdnum/doc/2.2).

A shape has `9` for a digit, `A` for a letter, `X` for either, and `_` for a space, a hyphen, a dot
or nothing, the same in the whole number.
A *plain* shape counts everywhere: its separators and letters are distinctive, or its date and check
digits reject 49 of 50 random numbers.
A *labeled* shape looks like any number. It counts only after one of the scheme's label words or,
with eleven or more digits, in a text from the scheme's region.
"""
# pyright: strict

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

_SOCIAL_SECURITY_WORDS = "ssn|itin|social security|tax ?id|taxpayer"
# python-stdnum's module, plain shapes, labeled shapes, and a pattern of label words in lower case.
# The British insurance number has no checksum and no module; `national_ids` checks its rules.
# Schemes without a checksum (passports, driving licenses) and company numbers are omitted.
_TABLE = (
    ("us.ssn", "999-99-9999", "999 99 9999, 999999999", _SOCIAL_SECURITY_WORDS),
    ("us.itin", "999-99-9999", "999 99 9999, 999999999", _SOCIAL_SECURITY_WORDS),
    ("ca.sin", "", "999_999_999", "sin|social insurance|assurance sociale|nas"),
    ("mx.curp", "AAAA999999AAAAAAX9", "", ""),
    ("br.cpf", "999.999.999-99", "99999999999, 999999999-99", "cpf"),
    ("ar.cuit", "99-99999999-9", "99999999999", "cuit|cuil"),
    ("cl.rut", "99.999.999-X, 9.999.999-X", "99999999-X, 9999999-X", "rut|run"),
    ("ec.ci", "", "9999999999, 999999999-9", "c[ée]dula"),
    ("do.cedula", "999-9999999-9", "99999999999", "c[ée]dula"),
    ("gb.", "AA999999A, AA 99 99 99 A, AA-99-99-99-A", "", ""),
    ("gb.nhs", "", "999 999 9999, 999-999-9999, 9999999999", "nhs"),
    ("ie.pps", "9999999A, 9999999AA", "", "pps"),
    (
        "de.idnr",
        "",
        "99999999999, 999 999 999 99, 999 9999 9999, 99 999 999 999",
        "steuer-?id|identifikationsnummer|idnr|tin",
    ),
    ("at.vnr", "", "9999 999999, 9999999999", "sv-?nr|svnr|versicherungsnummer"),
    ("ch.ssn", "999.9999.9999.99", "9999999999999", "ahv|avs"),
    ("fr.nir", "999999999999999, 9999999999999 99, 9 99 99 99 999 999 99", "", ""),
    ("es.dni", "99999999A, 99999999-A, 99.999.999-A, 99.999.999A", "", ""),
    ("es.nie", "A9999999A, A-9999999-A, A-9999999A, A9999999-A", "", ""),
    ("pt.nif", "", "999_999_999", "nif|contribuinte"),
    ("it.codicefiscale", "AAAAAA99A99A999A", "", ""),
    ("nl.bsn", "", "999_999_999, 9999.99.999", "bsn|burgerservicenummer|sofinummer"),
    (
        "be.nn",
        "99.99.99-999.99, 99 99 99 999 99",
        "99999999999",
        "rijksregisternummer|registre national|niss|insz",
    ),
    ("se.personnummer", "999999-9999, 99999999-9999, 999999+9999", "9999999999", ""),
    ("no.fodselsnummer", "99999999999, 999999 99999", "", ""),
    ("dk.cpr", "", "999999-9999, 9999999999", "cpr|personnummer"),
    ("fi.hetu", "999999-999X, 999999A999X", "", ""),
    ("is_.kennitala", "", "999999-9999, 9999999999", "kennitala|kt"),
    ("pl.pesel", "99999999999", "", ""),
    ("cz.rc", "999999/9999", "9999999999", "rodn[ée] [čc][íi]slo|r[čc]"),
    ("bg.egn", "", "9999999999", "егн|egn"),
    ("ro.cnp", "9999999999999", "", ""),
    ("gr.amka", "99999999999", "", ""),
    ("hr.oib", "", "99999999999", "oib"),
    ("si.emso", "9999999999999", "", ""),
    ("ee.ik", "99999999999", "", ""),
    ("lt.asmens", "99999999999", "", ""),
    ("ru.inn", "", "999999999999", "инн|inn"),
    ("ua.rntrc", "", "9999999999", "рнокпп|іпн|rntrc"),
    ("tr.tckimlik", "99999999999", "", ""),
    ("il.idnr", "", "999999999, 99999999-9", "mispar zehut|teudat zehut|תעודת זהות"),
    ("za.idnr", "9999999999999, 999999 9999 99 9", "", ""),
    ("in_.aadhaar", "9999 9999 9999, 9999-9999-9999", "999999999999", "aadhaar"),
    ("in_.pan", "", "AAAAA9999A", "pan"),
    ("pk.cnic", "99999-9999999-9", "", ""),
    ("cn.ric", "99999999999999999X", "", ""),
    ("kr.rrn", "999999-9999999", "", ""),
    ("jp.in_", "", "999999999999, 9999 9999 9999", "my ?number|マイナンバー|個人番号"),
    ("th.pin", "9-9999-99999-99-9", "9999999999999", "บัตรประชาชน|thai id"),
    ("my.nric", "999999-99-9999", "", ""),
    ("id.nik", "", "9999999999999999", "nik|ktp"),
    ("au.tfn", "", "999_999_999", "tfn|tax file"),
    ("nz.ird", "", "999_999_999, 99-999-999, 99999999", "ird"),
)


class NationalIdScheme(NamedTuple):
    """An identity number of one country.

    Attributes:
        stdnum_module: `country.module` in python-stdnum, or `gb.` for a scheme without one.
        is_plain: whether the shape under which it is found counts everywhere.
        label_words: a regular expression with alternative label words.
    """

    stdnum_module: str
    is_plain: bool
    label_words: str

    @property
    def region(self) -> str:
        """The country code, ISO 3166 alpha-2."""
        return self.stdnum_module.partition(".")[0].strip("_").upper()


def _expand(shapes: str) -> Iterator[str]:
    for shape in filter(None, shapes.split(", ")):
        for letter in "9A" if "X" in shape else "9":
            for separator in ("", " ", "-", ".") if "_" in shape else ("",):
                yield shape.replace("X", letter).replace("_", separator)


SCHEMES_BY_SHAPE: defaultdict[str, list[NationalIdScheme]] = defaultdict(list)
for _module, _plain_shapes, _labeled_shapes, _words in _TABLE:
    for _shapes, _is_plain in ((_plain_shapes, True), (_labeled_shapes, False)):
        for _shape in _expand(_shapes):
            SCHEMES_BY_SHAPE[_shape].append(NationalIdScheme(_module, _is_plain, _words))
