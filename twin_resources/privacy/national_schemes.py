"""List the national identity numbers: their shapes and their check sums.
Scope: the table. Out of scope: the search (`national_ids.py`), the check sums
(python-stdnum, one module per scheme: https://arthurdejong.org/python-stdnum/doc/2.2).
A shape has `9` for a digit and `A` for a letter. A *plain* shape counts everywhere: its separators
and letters are distinctive, or its date and check digits reject 49 of 50 random numbers.
A *labelled* shape looks like any number. It counts only after one of the scheme's words, or, with
ten digits or more, in a text of its own region.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheme:
    """One number of one country.

    Attributes:
        region: ISO 3166 alpha-2 in capitals.
        module: `country.module` of python-stdnum, or "" if the scheme has no check sum and
            `national_ids` checks its rules.
        words: alternatives of a regular expression, in lower case.
    """

    region: str
    module: str
    plain: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    words: str = ""


_NINE = ("999999999", "999 999 999", "999-999-999", "999.999.999")
_ELEVEN = ("99999999999", "999 999 999 99", "999 9999 9999")
_SOCIAL_SECURITY = "ssn|itin|social security|tax ?id|taxpayer"

SCHEMES: tuple[Scheme, ...] = (
    Scheme("US", "us.ssn", ("999-99-9999",), ("999 99 9999", "999999999"), _SOCIAL_SECURITY),
    Scheme("US", "us.itin", ("999-99-9999",), ("999 99 9999", "999999999"), _SOCIAL_SECURITY),
    Scheme("CA", "ca.sin", (), _NINE, "sin|social insurance|assurance sociale|nas"),
    Scheme("MX", "mx.curp", ("AAAA999999AAAAAA99", "AAAA999999AAAAAAA9")),
    Scheme("BR", "br.cpf", ("999.999.999-99",), ("99999999999", "999999999-99"), "cpf"),
    Scheme("AR", "ar.cuit", ("99-99999999-9",), ("99999999999",), "cuit|cuil"),
    Scheme(
        *("CL", "cl.rut", ("99.999.999-9", "9.999.999-9", "99.999.999-A", "9.999.999-A")),
        *(("99999999-9", "9999999-9", "99999999-A", "9999999-A"), "rut|run"),
    ),
    Scheme("EC", "ec.ci", (), ("9999999999", "999999999-9"), "c[ée]dula"),
    Scheme("DO", "do.cedula", ("999-9999999-9",), ("99999999999",), "c[ée]dula"),
    Scheme("GB", "", ("AA999999A", "AA 99 99 99 A", "AA-99-99-99-A")),
    Scheme("GB", "gb.nhs", (), ("999 999 9999", "999-999-9999", "9999999999"), "nhs"),
    Scheme("IE", "ie.pps", ("9999999A", "9999999AA"), (), "pps"),
    Scheme(
        *("DE", "de.idnr", (), (*_ELEVEN, "99 999 999 999")),
        "steuer-?id|steuerliche identifikationsnummer|identifikationsnummer|idnr|tin",
    ),
    Scheme("AT", "at.vnr", (), ("9999 999999", "9999999999"), "sv-?nr|svnr|versicherungsnummer"),
    Scheme("CH", "ch.ssn", ("999.9999.9999.99",), ("9999999999999",), "ahv|avs"),
    Scheme("FR", "fr.nir", ("999999999999999", "9999999999999 99", "9 99 99 99 999 999 99")),
    Scheme("ES", "es.dni", ("99999999A", "99999999-A", "99.999.999-A", "99.999.999A")),
    Scheme("ES", "es.nie", ("A9999999A", "A-9999999-A", "A-9999999A", "A9999999-A")),
    Scheme("PT", "pt.nif", (), _NINE, "nif|contribuinte"),
    Scheme("IT", "it.codicefiscale", ("AAAAAA99A99A999A",)),
    Scheme("NL", "nl.bsn", (), (*_NINE, "9999.99.999"), "bsn|burgerservicenummer|sofinummer"),
    Scheme(
        *("BE", "be.nn", ("99.99.99-999.99", "99 99 99 999 99"), ("99999999999",)),
        "rijksregisternummer|registre national|niss|insz",
    ),
    Scheme(
        "SE", "se.personnummer", ("999999-9999", "99999999-9999", "999999+9999"), ("9999999999",)
    ),
    Scheme("NO", "no.fodselsnummer", ("99999999999", "999999 99999")),
    Scheme("DK", "dk.cpr", (), ("999999-9999", "9999999999"), "cpr|personnummer"),
    Scheme("FI", "fi.hetu", ("999999-9999", "999999-999A", "999999A9999", "999999A999A")),
    Scheme("IS", "is_.kennitala", (), ("999999-9999", "9999999999"), "kennitala|kt"),
    Scheme("PL", "pl.pesel", ("99999999999",)),
    Scheme("CZ", "cz.rc", ("999999/9999",), ("9999999999",), "rodn[ée] [čc][íi]slo|r[čc]"),
    Scheme("BG", "bg.egn", (), ("9999999999",), "егн|egn"),
    Scheme("RO", "ro.cnp", ("9999999999999",)),
    Scheme("GR", "gr.amka", ("99999999999",)),
    Scheme("HR", "hr.oib", (), ("99999999999",), "oib"),
    Scheme("SI", "si.emso", ("9999999999999",)),
    Scheme("EE", "ee.ik", ("99999999999",)),
    Scheme("LT", "lt.asmens", ("99999999999",)),
    Scheme("RU", "ru.inn", (), ("999999999999",), "инн|inn"),
    Scheme("UA", "ua.rntrc", (), ("9999999999",), "рнокпп|іпн|rntrc"),
    Scheme("TR", "tr.tckimlik", ("99999999999",)),
    Scheme(
        "IL", "il.idnr", (), ("999999999", "99999999-9"), "mispar zehut|teudat zehut|תעודת זהות"
    ),
    Scheme("ZA", "za.idnr", ("9999999999999", "999999 9999 99 9")),
    Scheme("IN", "in_.aadhaar", ("9999 9999 9999", "9999-9999-9999"), ("999999999999",), "aadhaar"),
    Scheme("IN", "in_.pan", (), ("AAAAA9999A",), "pan"),
    Scheme("PK", "pk.cnic", ("99999-9999999-9",)),
    Scheme("CN", "cn.ric", ("999999999999999999", "99999999999999999A")),
    Scheme("KR", "kr.rrn", ("999999-9999999",)),
    Scheme(
        "JP", "jp.in_", (), ("999999999999", "9999 9999 9999"), "my ?number|マイナンバー|個人番号"
    ),
    Scheme("TH", "th.pin", ("9-9999-99999-99-9",), ("9999999999999",), "บัตรประชาชน|thai id"),
    Scheme("MY", "my.nric", ("999999-99-9999",)),
    Scheme("ID", "id.nik", (), ("9999999999999999",), "nik|ktp"),
    Scheme("AU", "au.tfn", (), _NINE, "tfn|tax file"),
    Scheme("NZ", "nz.ird", (), (*_NINE, "99-999-999", "99999999"), "ird"),
)
"""Schemes without any check (passports, driving licences) and those of companies are left out."""
