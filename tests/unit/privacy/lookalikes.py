"""Numbers and words that are nobody's, in the forms in which prose holds them, in six languages.

Scope: one generator a form, sentences around it. Out of scope: made-up personal data
(`plants.py`), the goals.

The forms are those that were replaced in public blogs, vaults, books and laws before numbers needed
a country code, a trunk zero with groups, or a word before them; the texts are ours.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from stdnum import ean

LANGUAGES = ("en", "de", "fr", "es", "pt", "it")
_CARRIERS = {
    "en": ("It says {} in the margin.", "- {}", "We read {}, and then it rained."),
    "de": ("Am Rand steht {} mit Bleistift.", "- {}", "Wir lasen {}, dann regnete es."),
    "fr": ("On lit {} dans la marge.", "- {}", "Il était écrit {}, puis il a plu."),
    "es": ("En el margen pone {} a lápiz.", "- {}", "Leímos {}, y luego llovió."),
    "pt": ("Na margem está {} a lápis.", "- {}", "Lemos {}, e depois choveu."),
    "it": ("A margine si legge {} a matita.", "- {}", "Leggemmo {}, e poi piovve."),
}
_UNITS = {
    "en": ("dollars", "people", "years", "miles", "lines"),
    "de": ("Euro", "Einwohner", "Jahre", "Millionen", "Zeilen"),
    "fr": ("euros", "habitants", "ans", "millions", "km"),
    "es": ("euros", "habitantes", "años", "millones", "km"),
    "pt": ("reais", "pessoas", "anos", "milhões", "km"),
    "it": ("euro", "abitanti", "anni", "persone", "km"),
}
_SHORT_UNITS = ("€", "%", "kg", "km", "MB", "mAh", "px", "°C")


@dataclass(frozen=True)
class Lookalike:
    """A text in which nothing is to be found.

    Attributes:
        group: the form.
        language: of the sentence; the hint that cleaning gives.
    """

    group: str
    language: str
    text: str


def lookalikes(seed: int, *, each: int) -> list[Lookalike]:
    """`each` texts a form and language, the same ones for the same seed."""
    chance = random.Random(seed)
    found: list[Lookalike] = []
    for group, make in MAKERS.items():
        for language in LANGUAGES:
            for _ in range(each):
                value = make(chance, language)
                carrier = "{}" if "\n" in value else chance.choice(_CARRIERS[language])
                found.append(Lookalike(group, language, carrier.format(value)))
    return found


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice(string.digits) for _ in range(count))


def _thousands(chance: random.Random, mark: str) -> str:
    groups = [str(chance.randint(1, 999)), *(_digits(chance, 3) for _ in range(2))]
    return mark.join(groups[: chance.choice((2, 3))])


def price_range(chance: random.Random, language: str) -> str:
    low = chance.randint(20, 900)
    dash = chance.choice(("-", "–", " - ", " – "))
    unit = chance.choice((*_UNITS[language], *_SHORT_UNITS))
    return f"{low}{dash}{low + chance.randint(10, 9000)} {unit}"


def amount(chance: random.Random, language: str) -> str:
    number = _thousands(chance, chance.choice((" ", ".", ",", "\u202f")))
    return chance.choice(
        (f"{number} {chance.choice(_UNITS[language])}", f"{number} €", f"$ {number}", f"€{number}")
    )


def listing(chance: random.Random, language: str) -> str:
    del language
    lines = [
        f"-rw-r--r-- 1 ann staff {chance.randint(20, 9_999_999):8} "
        f"{_date(chance)} {chance.randint(0, 23):02}:{chance.randint(0, 59):02} notes-{number}.txt"
        for number in range(4)
    ]
    return "\n".join(("total 48", *lines))


def _date(chance: random.Random) -> str:
    year, month, day = chance.randint(1995, 2026), chance.randint(1, 12), chance.randint(1, 28)
    return f"{year}-{month:02}-{day:02}"


def moment(chance: random.Random, language: str) -> str:
    del language
    year, month, day = _date(chance).split("-")
    hour, minute = chance.randint(0, 23), chance.randint(0, 59)
    return chance.choice(
        (
            f"{year}-{month}-{day}T{hour:02}:{minute:02}:07+01:00",
            f"{year}{month}{day}{hour:02}{minute:02}",
            f"{chance.randint(1_000_000_000, 1_800_000_000)}",
            f"{chance.randint(1_000_000_000, 1_800_000_000)}123",
            f"{day}.{month}.{year}",
            f"{day}/{month}/{year}-{day}/{month}/{int(year) + 1}",
            f"{day}.{month}.–{day}.{month}.{year}",
            f"08.30-{hour:02}.{minute:02}",
            f"{day} {month} {year}",
        )
    )


def fraction(chance: random.Random, language: str) -> str:
    del language
    whole = chance.randint(100, 99_999)
    return chance.choice(
        (
            f"100% ({whole}/{whole})",
            f"{whole}/{whole + chance.randint(1, 5000)}",
            f"0.{_digits(chance, chance.randint(5, 15))}",
            f"{whole}.{_digits(chance, 9)}",
        )
    )


def book_number(chance: random.Random, language: str) -> str:
    del language
    body = "978" + _digits(chance, 9)
    thirteen = body + ean.calc_check_digit(body)
    parts = (thirteen[:3], thirteen[3], thirteen[4:6], thirteen[6:12], thirteen[12])
    ten = _digits(chance, 9)
    ten += "0123456789X"[sum(int(d) * (n + 1) for n, d in enumerate(ten)) % 11]
    return chance.choice(
        (
            f"ISBN {thirteen}",
            thirteen,
            f"ISBN-13: {'-'.join(parts)}",
            f"ISBN {ten}",
            f"ISBN-10: {ten[0]}-{ten[1:3]}-{ten[3:9]}-{ten[9]}",
        )
    )


def version(chance: random.Random, language: str) -> str:
    del language
    parts = [str(chance.randint(0, 20)) for _ in range(chance.choice((3, 4)))]
    return chance.choice(
        (".".join(parts), f"v{'.'.join(parts)}-{_digits(chance, 8)}", "08.06.02.01")
    )


def local_address(chance: random.Random, language: str) -> str:
    del language
    return str(IPv4Address((192 << 24) | (168 << 16) | chance.getrandbits(16)))


def hyphenated(chance: random.Random, language: str) -> str:
    del language
    return chance.choice(
        (
            "a basic Being-in-the-world of the clock",
            "the bearer of-tidings-from-the-North",
            "the token: self-explanatory-and-short",
            "a secret is well-kept-by-two-of-three",
            "basic Authentication/Authorization/Accounting",
            "his credentials: Doctor-of-Natural-Philosophy",
        )
    )


def base64_word(chance: random.Random, language: str) -> str:
    del language
    return base64.b64encode(chance.randbytes(chance.randint(12, 40))).decode()


def hash_of_something(chance: random.Random, language: str) -> str:
    del language
    return "".join(chance.choice("0123456789abcdef") for _ in range(chance.choice((7, 32, 40, 64))))


def hex_dump(chance: random.Random, language: str) -> str:
    del language
    rows = [
        f"{number * 16:08x}: " + " ".join(chance.randbytes(2).hex() for _ in range(8))
        for number in range(4)
    ]
    return "\n".join(rows)


def line_numbers(chance: random.Random, language: str) -> str:
    del language
    start = chance.randint(100, 90_000)
    return "\n".join(f"{start + number} {chance.randint(10, 99_999)} x" for number in range(5))


def standard(chance: random.Random, language: str) -> str:
    del language
    year = chance.randint(1990, 2024)
    return chance.choice(
        (
            f"ISO {chance.randint(1000, 30_000)}-{chance.randint(1, 9)}:{year}",
            f"ISO/IEC {chance.randint(10_000, 30_000)}:{year}",
            f"DIN {chance.randint(10_000, 99_999)}-{chance.randint(10, 99)}",
            f"(EU) Nr. {chance.randint(100, 2500)}/{year}",
            f"(EU) {year}/{chance.randint(100, 2500)}",
            f"RFC {chance.randint(1000, 9999)}",
            f"CAS {chance.randint(100_000, 999_999)}-{_digits(chance, 2)}-{_digits(chance, 1)}",
        )
    )


def years(chance: random.Random, language: str) -> str:
    del language
    year = chance.randint(1400, 2020)
    later = year + chance.randint(1, 60)
    return chance.choice(
        (
            f"{year}-{later}",
            f"{year}–{later}",
            f"{year}/{(year + 1) % 100:02}",
            f"({year} - {later})",
            f"{year}/{later}",
        )
    )


def score(chance: random.Random, language: str) -> str:
    del language
    sets = [f"{chance.randint(0, 7)}-{chance.randint(0, 7)}" for _ in range(3)]
    return chance.choice(
        (", ".join(sets), " ".join(sets), f"{chance.randint(70, 140)}-{chance.randint(70, 140)}")
    )


def coordinates(chance: random.Random, language: str) -> str:
    del language
    north, east = chance.uniform(35, 60), chance.uniform(1, 25)
    return chance.choice(
        (f"{north:.6f}, {east:.6f}", f"{north:.4f} N {east:.4f} E", f"geo:{north:.5f},{east:.5f}")
    )


def counted(chance: random.Random, language: str) -> str:
    del language
    start = chance.randint(1, 40)
    return " ".join(f"{number:02}" for number in range(start, start + 5))


MAKERS: dict[str, Callable[[random.Random, str], str]] = {
    "range with a unit": price_range,
    "amount": amount,
    "ls -l": listing,
    "date or time": moment,
    "fraction": fraction,
    "ISBN": book_number,
    "version": version,
    "private address": local_address,
    "hyphenated word": hyphenated,
    "Base64": base64_word,
    "hash": hash_of_something,
    "hex dump": hex_dump,
    "line numbers": line_numbers,
    "standard": standard,
    "years": years,
    "score": score,
    "coordinates": coordinates,
    "counting": counted,
}
