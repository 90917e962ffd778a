"""Define the national identity numbers with their shapes and checksums.

Scope: the table. Out of scope: the search (`national_ids.py`), the checksums (python-stdnum has one
module per scheme, https://arthurdejong.org/python-stdnum/doc/2.2).

A shape has `9` for a digit and `A` for a letter. A *plain* shape counts everywhere: its separators
and letters are distinctive, or its date and check digits reject 49 of 50 random numbers.
A *labeled* shape looks like any number. It counts only after one of the scheme's label words or,
with eleven or more digits, in a text from the scheme's region.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NationalIdScheme:
    """An identity number of one country.

    Attributes:
        region: the country code, ISO 3166 alpha-2 in upper case.
        stdnum_module: `country.module` in python-stdnum, or "" if the scheme has no checksum and
            `national_ids` checks its rules.
        plain_shapes, labeled_shapes: the shapes, as the module docstring defines them.
        label_words: a regular expression with alternative label words, in lower case.
    """

    region: str
    stdnum_module: str
    plain_shapes: tuple[str, ...] = ()
    labeled_shapes: tuple[str, ...] = ()
    label_words: str = ""


_NINE_DIGIT_SHAPES = ("999999999", "999 999 999", "999-999-999", "999.999.999")
_ELEVEN_DIGIT_SHAPES = ("99999999999", "999 999 999 99", "999 9999 9999")
_SOCIAL_SECURITY_WORDS = "ssn|itin|social security|tax ?id|taxpayer"

NATIONAL_ID_SCHEMES: tuple[NationalIdScheme, ...] = (
    NationalIdScheme(
        "US", "us.ssn", ("999-99-9999",), ("999 99 9999", "999999999"), _SOCIAL_SECURITY_WORDS
    ),
    NationalIdScheme(
        "US", "us.itin", ("999-99-9999",), ("999 99 9999", "999999999"), _SOCIAL_SECURITY_WORDS
    ),
    NationalIdScheme(
        "CA", "ca.sin", (), _NINE_DIGIT_SHAPES, "sin|social insurance|assurance sociale|nas"
    ),
    NationalIdScheme("MX", "mx.curp", ("AAAA999999AAAAAA99", "AAAA999999AAAAAAA9")),
    NationalIdScheme("BR", "br.cpf", ("999.999.999-99",), ("99999999999", "999999999-99"), "cpf"),
    NationalIdScheme("AR", "ar.cuit", ("99-99999999-9",), ("99999999999",), "cuit|cuil"),
    NationalIdScheme(
        *("CL", "cl.rut", ("99.999.999-9", "9.999.999-9", "99.999.999-A", "9.999.999-A")),
        *(("99999999-9", "9999999-9", "99999999-A", "9999999-A"), "rut|run"),
    ),
    NationalIdScheme("EC", "ec.ci", (), ("9999999999", "999999999-9"), "c[ée]dula"),
    NationalIdScheme("DO", "do.cedula", ("999-9999999-9",), ("99999999999",), "c[ée]dula"),
    NationalIdScheme("GB", "", ("AA999999A", "AA 99 99 99 A", "AA-99-99-99-A")),
    NationalIdScheme("GB", "gb.nhs", (), ("999 999 9999", "999-999-9999", "9999999999"), "nhs"),
    NationalIdScheme("IE", "ie.pps", ("9999999A", "9999999AA"), (), "pps"),
    NationalIdScheme(
        *("DE", "de.idnr", (), (*_ELEVEN_DIGIT_SHAPES, "99 999 999 999")),
        "steuer-?id|steuerliche identifikationsnummer|identifikationsnummer|idnr|tin",
    ),
    NationalIdScheme(
        "AT", "at.vnr", (), ("9999 999999", "9999999999"), "sv-?nr|svnr|versicherungsnummer"
    ),
    NationalIdScheme("CH", "ch.ssn", ("999.9999.9999.99",), ("9999999999999",), "ahv|avs"),
    NationalIdScheme(
        "FR", "fr.nir", ("999999999999999", "9999999999999 99", "9 99 99 99 999 999 99")
    ),
    NationalIdScheme("ES", "es.dni", ("99999999A", "99999999-A", "99.999.999-A", "99.999.999A")),
    NationalIdScheme("ES", "es.nie", ("A9999999A", "A-9999999-A", "A-9999999A", "A9999999-A")),
    NationalIdScheme("PT", "pt.nif", (), _NINE_DIGIT_SHAPES, "nif|contribuinte"),
    NationalIdScheme("IT", "it.codicefiscale", ("AAAAAA99A99A999A",)),
    NationalIdScheme(
        "NL",
        "nl.bsn",
        (),
        (*_NINE_DIGIT_SHAPES, "9999.99.999"),
        "bsn|burgerservicenummer|sofinummer",
    ),
    NationalIdScheme(
        *("BE", "be.nn", ("99.99.99-999.99", "99 99 99 999 99"), ("99999999999",)),
        "rijksregisternummer|registre national|niss|insz",
    ),
    NationalIdScheme(
        "SE", "se.personnummer", ("999999-9999", "99999999-9999", "999999+9999"), ("9999999999",)
    ),
    NationalIdScheme("NO", "no.fodselsnummer", ("99999999999", "999999 99999")),
    NationalIdScheme("DK", "dk.cpr", (), ("999999-9999", "9999999999"), "cpr|personnummer"),
    NationalIdScheme("FI", "fi.hetu", ("999999-9999", "999999-999A", "999999A9999", "999999A999A")),
    NationalIdScheme("IS", "is_.kennitala", (), ("999999-9999", "9999999999"), "kennitala|kt"),
    NationalIdScheme("PL", "pl.pesel", ("99999999999",)),
    NationalIdScheme(
        "CZ", "cz.rc", ("999999/9999",), ("9999999999",), "rodn[ée] [čc][íi]slo|r[čc]"
    ),
    NationalIdScheme("BG", "bg.egn", (), ("9999999999",), "егн|egn"),
    NationalIdScheme("RO", "ro.cnp", ("9999999999999",)),
    NationalIdScheme("GR", "gr.amka", ("99999999999",)),
    NationalIdScheme("HR", "hr.oib", (), ("99999999999",), "oib"),
    NationalIdScheme("SI", "si.emso", ("9999999999999",)),
    NationalIdScheme("EE", "ee.ik", ("99999999999",)),
    NationalIdScheme("LT", "lt.asmens", ("99999999999",)),
    NationalIdScheme("RU", "ru.inn", (), ("999999999999",), "инн|inn"),
    NationalIdScheme("UA", "ua.rntrc", (), ("9999999999",), "рнокпп|іпн|rntrc"),
    NationalIdScheme("TR", "tr.tckimlik", ("99999999999",)),
    NationalIdScheme(
        "IL", "il.idnr", (), ("999999999", "99999999-9"), "mispar zehut|teudat zehut|תעודת זהות"
    ),
    NationalIdScheme("ZA", "za.idnr", ("9999999999999", "999999 9999 99 9")),
    NationalIdScheme(
        "IN", "in_.aadhaar", ("9999 9999 9999", "9999-9999-9999"), ("999999999999",), "aadhaar"
    ),
    NationalIdScheme("IN", "in_.pan", (), ("AAAAA9999A",), "pan"),
    NationalIdScheme("PK", "pk.cnic", ("99999-9999999-9",)),
    NationalIdScheme("CN", "cn.ric", ("999999999999999999", "99999999999999999A")),
    NationalIdScheme("KR", "kr.rrn", ("999999-9999999",)),
    NationalIdScheme(
        "JP", "jp.in_", (), ("999999999999", "9999 9999 9999"), "my ?number|マイナンバー|個人番号"
    ),
    NationalIdScheme(
        "TH", "th.pin", ("9-9999-99999-99-9",), ("9999999999999",), "บัตรประชาชน|thai id"
    ),
    NationalIdScheme("MY", "my.nric", ("999999-99-9999",)),
    NationalIdScheme("ID", "id.nik", (), ("9999999999999999",), "nik|ktp"),
    NationalIdScheme("AU", "au.tfn", (), _NINE_DIGIT_SHAPES, "tfn|tax file"),
    NationalIdScheme("NZ", "nz.ird", (), (*_NINE_DIGIT_SHAPES, "99-999-999", "99999999"), "ird"),
)
"""Schemes without a checksum (passports, driving licenses) and company numbers are omitted."""
