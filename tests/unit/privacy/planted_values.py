"""Generate invented personal data of every kind with valid checksums and numbering plans.

A national id is a published example of its scheme with digits changed until python-stdnum accepts
it. A phone number is the plan's example with other last digits. No value belongs to a person.
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import phonenumbers
from stdnum import get_cc_module, luhn, numdb
from stdnum.iso7064 import mod_97_10

from twin_resources.privacy import Kind


@dataclass(frozen=True)
class PlantedValue:
    """An invented value to insert into a text.

    Attributes:
        group: the kind, or one format of the kind; results are counted by group.
        before: the text that introduces the value ("phone: ") and is not replaced.
        region: the hint for the search, or an empty string.
    """

    kind: Kind
    group: str
    value: str
    before: str = ""
    after: str = ""
    region: str = ""


_NAMES = ("ann", "bell", "jürgen", "mary.jones", "li-wei", "o.connor", "x.y", "anna_k", "sven99")
_DOMAINS = ("gmail.com", "bell.org", "mail.co.uk", "müller.de", "uni-ulm.de", "corp.bell.io")
_LETTERS = string.ascii_letters + string.digits
_UPPER = string.ascii_uppercase + string.digits
_HEX = "0123456789abcdef"

PHONE_REGIONS = (
    *("US", "CA", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "SE", "NO", "DK", "FI"),
    *("PL", "CZ", "PT", "IE", "GR", "HU", "RO", "BG", "UA", "TR", "IL", "IN", "CN", "JP", "KR"),
    *("AU", "NZ", "ZA", "BR", "MX", "AR", "CL", "CO", "PE", "EG", "NG", "KE", "ID", "MY", "PH"),
    *("TH", "VN", "SG", "HK", "TW", "PK", "AE", "SA"),
)

_EXAMPLES = {
    "us.ssn": ("536-22-8726",),
    "us.itin": ("912-90-3456",),
    "ca.sin": ("123 456 782", "SIN "),
    "gb.": ("AB 12 34 56 C",),
    "gb.nhs": ("943 476 5870", "NHS number: "),
    "de.idnr": ("36574261809", "Steuer-ID: "),
    "fr.nir": ("295109912611193",),
    "es.dni": ("54362315K",),
    "es.nie": ("X2482300W",),
    "it.codicefiscale": ("RCCMNL83S18D969H",),
    "nl.bsn": ("111222333", "BSN "),
    "be.nn": ("85.07.30-033.28",),
    "pt.nif": ("501 964 843", "NIF: "),
    "se.personnummer": ("880320-0016",),
    "no.fodselsnummer": ("15108695088",),
    "dk.cpr": ("211062-5629", "CPR: "),
    "fi.hetu": ("131052-308T",),
    "pl.pesel": ("44051401359",),
    "br.cpf": ("390.533.447-05",),
    "cl.rut": ("12.531.909-2",),
    "ar.cuit": ("20-05536168-2",),
    "mx.curp": ("BOXW310820HNERXN09",),
    "in_.aadhaar": ("2341 2341 2346",),
    "in_.pan": ("ACUPA7085R", "PAN "),
    "cn.ric": ("360426199101010071",),
    "kr.rrn": ("971013-9019902",),
    "au.tfn": ("123 456 782", "TFN "),
    "za.idnr": ("7503305044089",),
    "tr.tckimlik": ("17291716060",),
    "ru.inn": ("123456789047", "ИНН "),
    "cz.rc": ("710319/2745",),
    "ro.cnp": ("1630615123457",),
    "hr.oib": ("33392005961", "OIB: "),
    "ee.ik": ("36805280109",),
    "lt.asmens": ("33309240064",),
    "ie.pps": ("6433435F",),
    "ch.ssn": ("756.9217.0769.85",),
    "at.vnr": ("1237 010180", "SVNR "),
    "is_.kennitala": ("450401-3150", "Kennitala: "),
    "my.nric": ("770305-02-1234",),
    "pk.cnic": ("34201-0891231-8",),
}


def generate_planted_values(seed: int, *, count_per_group: int) -> list[PlantedValue]:
    """Generate `count_per_group` values of every group, which depend only on the seed."""
    rng = random.Random(seed)
    return [generate(rng) for generate in GENERATORS for _ in range(count_per_group)]


def _draw_text(rng: random.Random, characters: str, count: int) -> str:
    return "".join(rng.choice(characters) for _ in range(count))


def mail(rng: random.Random) -> PlantedValue:
    address = f"{rng.choice(_NAMES)}@{rng.choice(_DOMAINS)}"
    return PlantedValue(
        "e-mail", "e-mail", address, *rng.choice([("", ""), ("<", ">"), ("mailto:", "")])
    )


def _draw_number(rng: random.Random) -> tuple[phonenumbers.PhoneNumber, str]:
    """Return a valid number and its country."""
    while True:
        region = rng.choice(PHONE_REGIONS)
        number_type = rng.choice(
            [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE]
        )
        example = phonenumbers.example_number_for_type(region, number_type)
        national = str(example.national_number) if example else ""
        number = phonenumbers.PhoneNumber(
            country_code=example.country_code if example else 0,
            national_number=int((national[:-4] or "0") + _draw_text(rng, string.digits, 4)),
            italian_leading_zero=example.italian_leading_zero if example else None,
        )
        if example and phonenumbers.is_valid_number(number):
            return number, region


def _format_number(rng: random.Random, number: phonenumbers.PhoneNumber, number_format: int) -> str:
    text = phonenumbers.format_number(number, number_format)
    separator = rng.choice([" ", " ", "-", "."])
    return text.replace(" ", separator) if "(" not in text else text


def phone_international(rng: random.Random) -> PlantedValue:
    number, _ = _draw_number(rng)
    number_format = rng.choice(
        [
            phonenumbers.PhoneNumberFormat.INTERNATIONAL,
            phonenumbers.PhoneNumberFormat.INTERNATIONAL,
            phonenumbers.PhoneNumberFormat.E164,
        ]
    )
    value = _format_number(rng, number, number_format)
    if rng.random() < 0.2 and " " in value:
        value = "00" + value[1:]
    return PlantedValue("phone", "phone, with country code", value)


def phone_with_region(rng: random.Random) -> PlantedValue:
    number, region = _draw_number(rng)
    value = _format_number(rng, number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return PlantedValue("phone", "phone, national, region known", value, region=region)


def phone_after_label(rng: random.Random) -> PlantedValue:
    number, _ = _draw_number(rng)
    value = _format_number(rng, number, phonenumbers.PhoneNumberFormat.NATIONAL)
    labels = ["Call me at ", "phone: ", "Tel. ", "my mobile is ", "WhatsApp ", "Telefon: "]
    return PlantedValue("phone", "phone, national, announced", value, before=rng.choice(labels))


def phone_american(rng: random.Random) -> PlantedValue:
    area, exchange, line = (rng.randint(201, 989), rng.randint(200, 999), rng.randint(0, 9999))
    form = rng.choice(
        ["{}-{}-{:04}", "({}) {}-{:04}", "{}.{}.{:04}", "+1 {}-{}-{:04}", "1-{}-{}-{:04}"]
    )
    return PlantedValue("phone", "phone, North American", form.format(area, exchange, line))


def address_v4(rng: random.Random) -> PlantedValue:
    while True:
        address = IPv4Address(rng.getrandbits(32))
        if address.is_global and not address.is_multicast:
            return PlantedValue("ip address", "ip address", str(address))


def address_v6(rng: random.Random) -> PlantedValue:
    address = IPv6Address((0x2A02 << 112) | rng.getrandbits(108))
    short = (
        str(address) if rng.random() < 0.7 else str(IPv6Address(int(address) & ~(0xFFFFFFFF << 64)))
    )
    return PlantedValue("ip address", "ip address", short)


def card(rng: random.Random) -> PlantedValue:
    prefix = rng.choice(("4", "51", "2221", "37", "6011", "35", "36"))
    length, cuts = {"37": (15, (4, 10)), "36": (14, (4, 10))}.get(prefix, (16, (4, 8, 12)))
    body = prefix + _draw_text(rng, string.digits, length - len(prefix) - 1)
    digits = body + luhn.calc_check_digit(body)
    separator = rng.choice(["", " ", "-"])
    boundaries = [0, *cuts, length]
    value = separator.join(digits[start:end] for start, end in pairwise(boundaries))
    return PlantedValue("card", "card", value)


def iban(rng: random.Random) -> PlantedValue:
    country = rng.choice(("DE", "GB", "NL", "AT", "CH", "FR", "IT", "PL", "SE", "DK", "PT"))
    structure = numdb.get("iban").info(country)[0][1]["bban"]  # such as 4!a6!n8!n
    bban = "".join(
        _draw_text(rng, string.ascii_uppercase if kind == "a" else string.digits, int(count))
        for count, kind in re.findall(r"(\d+)!([a-z])", structure)
    )
    value = country + mod_97_10.calc_check_digits(bban + country) + bban
    if rng.random() < 0.6:
        value = " ".join(value[index : index + 4] for index in range(0, len(value), 4))
    return PlantedValue("iban", "iban", value)


def _generate_national_id(rng: random.Random, scheme: str) -> PlantedValue:
    example, before = (*_EXAMPLES[scheme], "")[:2]
    country, _, name = scheme.partition(".")
    module = get_cc_module(country, name) if name else None
    changeable = [index for index, character in enumerate(example) if character.isdigit()]
    if scheme == "cn.ric":
        changeable = changeable[-4:]
    while True:
        value = list(example)
        for index in rng.sample(changeable, k=min(4, len(changeable))):
            value[index] = rng.choice(string.digits)
        text = "".join(value)
        # python-stdnum 2.2 cannot parse other Chinese provinces, so only the serial number changes.
        if module is None or module.is_valid(text):
            kind: Kind = "ssn" if scheme == "us.ssn" else "national id"
            return PlantedValue(kind, kind, text, before=before)


def social_security(rng: random.Random) -> PlantedValue:
    return _generate_national_id(rng, "us.ssn")


def national_identity(rng: random.Random) -> PlantedValue:
    return _generate_national_id(
        rng, rng.choice([scheme for scheme in _EXAMPLES if scheme != "us.ssn"])
    )


def vendor_key(rng: random.Random) -> PlantedValue:
    value = rng.choice(
        [
            "AKIA" + _draw_text(rng, _UPPER, 16),
            "ghp_" + _draw_text(rng, _LETTERS, 36),
            "github_pat_" + _draw_text(rng, _LETTERS, 22) + "_" + _draw_text(rng, _LETTERS, 59),
            "glpat-" + _draw_text(rng, _LETTERS + "-_", 19) + "a",
            "xoxb-" + _draw_text(rng, string.digits, 12) + "-" + _draw_text(rng, _LETTERS, 24),
            "sk-proj-" + _draw_text(rng, _LETTERS, 48),
            "sk-ant-api03-" + _draw_text(rng, _LETTERS + "-_", 92) + "A",
            "sk_live_" + _draw_text(rng, _LETTERS, 24),
            "AIza" + _draw_text(rng, _LETTERS + "-_", 34) + "a",
            "hf_" + _draw_text(rng, _LETTERS, 34),
            "npm_" + _draw_text(rng, _LETTERS, 36),
            "SG." + _draw_text(rng, _LETTERS, 22) + "." + _draw_text(rng, _LETTERS, 43),
            _draw_text(rng, "123456789", 10) + ":AA" + _draw_text(rng, _LETTERS, 33),
            "dop_v1_" + _draw_text(rng, _HEX, 64),
            "shpat_" + _draw_text(rng, _HEX, 32),
            "hvs." + _draw_text(rng, _LETTERS, 90),
        ]
    )
    return PlantedValue(
        "key", "key", value, *rng.choice([("", ""), ("key ", "."), ("`", "`"), ("KEY=", "")])
    )


def private_key(rng: random.Random) -> PlantedValue:
    name = rng.choice(["RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "])
    body = base64.encodebytes(rng.randbytes(rng.randint(100, 1600))).decode()
    value = f"-----BEGIN {name}PRIVATE KEY-----\n{body}-----END {name}PRIVATE KEY-----"
    return PlantedValue("private key", "private key", value, before="\n", after="\n")


def web_token(rng: random.Random) -> PlantedValue:
    parts = (b'{"alg":"HS256","typ":"JWT"}', rng.randbytes(40), rng.randbytes(32))
    value = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return PlantedValue("web token", "web token", value)


def assigned_secret(rng: random.Random) -> PlantedValue:
    password_labels = ["password: ", "PASSWORD=", "my password is ", "passwd = "]
    key_labels = ['api_key = "', "API_KEY=", '"secret": "', "client_secret: ", "auth_token: '"]
    key_labels.append("Bearer ")
    if rng.random() < 0.5:
        before, length, letters = rng.choice(password_labels), rng.randint(8, 14), _LETTERS + "!?#%"
    else:
        before, length, letters = rng.choice(key_labels), rng.randint(16, 40), _LETTERS
    while True:
        value = rng.choice(string.ascii_letters) + _draw_text(rng, letters, length - 2) + "7"
        if sum(character.isdigit() for character in value) > 2:
            break
    after = before[-1] if before[-1] in "\"'" else ""
    return PlantedValue("secret", "secret", value, before=before, after=after)


GENERATORS: tuple[Callable[[random.Random], PlantedValue], ...] = (
    mail,
    phone_international,
    phone_with_region,
    phone_after_label,
    phone_american,
    address_v4,
    address_v6,
    card,
    iban,
    social_security,
    national_identity,
    vendor_key,
    private_key,
    web_token,
    assigned_secret,
)
