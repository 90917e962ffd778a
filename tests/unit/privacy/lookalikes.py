"""Generate numbers and words that resemble personal data, in sentences of six languages.

Earlier patterns wrongly replaced these forms in public blogs, note collections, books and laws.
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
    """A text without personal data.

    Attributes:
        group: the form of the number or word.
        language: the language of the sentence, which is also the hint for the search.
    """

    group: str
    language: str
    text: str


def generate_lookalikes(seed: int, *, count_per_group: int) -> list[Lookalike]:
    """Generate `count_per_group` texts of each form and language, which depend only on the seed."""
    rng = random.Random(seed)
    examples: list[Lookalike] = []
    for group, generate in GENERATORS.items():
        for language in LANGUAGES:
            for _ in range(count_per_group):
                value = generate(rng, language)
                carrier = "{}" if "\n" in value else rng.choice(_CARRIERS[language])
                examples.append(Lookalike(group, language, carrier.format(value)))
    return examples


def _draw_digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _draw_thousands(rng: random.Random, mark: str) -> str:
    groups = [str(rng.randint(1, 999)), *(_draw_digits(rng, 3) for _ in range(2))]
    return mark.join(groups[: rng.choice((2, 3))])


def draw_price_range(rng: random.Random, language: str) -> str:
    low = rng.randint(20, 900)
    dash = rng.choice(("-", "–", " - ", " – "))
    unit = rng.choice((*_UNITS[language], *_SHORT_UNITS))
    return f"{low}{dash}{low + rng.randint(10, 9000)} {unit}"


def draw_amount(rng: random.Random, language: str) -> str:
    number = _draw_thousands(rng, rng.choice((" ", ".", ",", "\u202f")))
    return rng.choice(
        (f"{number} {rng.choice(_UNITS[language])}", f"{number} €", f"$ {number}", f"€{number}")
    )


def draw_file_listing(rng: random.Random, language: str) -> str:
    del language
    lines = [
        f"-rw-r--r-- 1 ann staff {rng.randint(20, 9_999_999):8} "
        f"{_draw_date(rng)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02} notes-{number}.txt"
        for number in range(4)
    ]
    return "\n".join(("total 48", *lines))


def _draw_date(rng: random.Random) -> str:
    year, month, day = rng.randint(1995, 2026), rng.randint(1, 12), rng.randint(1, 28)
    return f"{year}-{month:02}-{day:02}"


def draw_date_or_time(rng: random.Random, language: str) -> str:
    del language
    year, month, day = _draw_date(rng).split("-")
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    return rng.choice(
        (
            f"{year}-{month}-{day}T{hour:02}:{minute:02}:07+01:00",
            f"{year}{month}{day}{hour:02}{minute:02}",
            f"{rng.randint(1_000_000_000, 1_800_000_000)}",
            f"{rng.randint(1_000_000_000, 1_800_000_000)}123",
            f"{day}.{month}.{year}",
            f"{day}/{month}/{year}-{day}/{month}/{int(year) + 1}",
            f"{day}.{month}.–{day}.{month}.{year}",
            f"08.30-{hour:02}.{minute:02}",
            f"{day} {month} {year}",
        )
    )


def draw_fraction(rng: random.Random, language: str) -> str:
    del language
    whole = rng.randint(100, 99_999)
    return rng.choice(
        (
            f"100% ({whole}/{whole})",
            f"{whole}/{whole + rng.randint(1, 5000)}",
            f"0.{_draw_digits(rng, rng.randint(5, 15))}",
            f"{whole}.{_draw_digits(rng, 9)}",
        )
    )


def draw_book_number(rng: random.Random, language: str) -> str:
    del language
    body = "978" + _draw_digits(rng, 9)
    isbn13 = body + ean.calc_check_digit(body)
    parts = (isbn13[:3], isbn13[3], isbn13[4:6], isbn13[6:12], isbn13[12])
    isbn10 = _draw_digits(rng, 9)
    isbn10 += "0123456789X"[sum(int(d) * (n + 1) for n, d in enumerate(isbn10)) % 11]
    return rng.choice(
        (
            f"ISBN {isbn13}",
            isbn13,
            f"ISBN-13: {'-'.join(parts)}",
            f"ISBN {isbn10}",
            f"ISBN-10: {isbn10[0]}-{isbn10[1:3]}-{isbn10[3:9]}-{isbn10[9]}",
        )
    )


def draw_version(rng: random.Random, language: str) -> str:
    del language
    parts = [str(rng.randint(0, 20)) for _ in range(rng.choice((3, 4)))]
    return rng.choice(
        (".".join(parts), f"v{'.'.join(parts)}-{_draw_digits(rng, 8)}", "08.06.02.01")
    )


def draw_local_address(rng: random.Random, language: str) -> str:
    del language
    return str(IPv4Address((192 << 24) | (168 << 16) | rng.getrandbits(16)))


def draw_hyphenated_words(rng: random.Random, language: str) -> str:
    del language
    return rng.choice(
        (
            "a basic Being-in-the-world of the clock",
            "the bearer of-tidings-from-the-North",
            "the token: self-explanatory-and-short",
            "a secret is well-kept-by-two-of-three",
            "basic Authentication/Authorization/Accounting",
            "his credentials: Doctor-of-Natural-Philosophy",
        )
    )


def draw_base64(rng: random.Random, language: str) -> str:
    del language
    return base64.b64encode(rng.randbytes(rng.randint(12, 40))).decode()


def draw_hex_hash(rng: random.Random, language: str) -> str:
    del language
    return "".join(rng.choice("0123456789abcdef") for _ in range(rng.choice((7, 32, 40, 64))))


def draw_hex_dump(rng: random.Random, language: str) -> str:
    del language
    rows = [
        f"{number * 16:08x}: " + " ".join(rng.randbytes(2).hex() for _ in range(8))
        for number in range(4)
    ]
    return "\n".join(rows)


def draw_line_numbers(rng: random.Random, language: str) -> str:
    del language
    start = rng.randint(100, 90_000)
    return "\n".join(f"{start + number} {rng.randint(10, 99_999)} x" for number in range(5))


def draw_standard_number(rng: random.Random, language: str) -> str:
    del language
    year = rng.randint(1990, 2024)
    return rng.choice(
        (
            f"ISO {rng.randint(1000, 30_000)}-{rng.randint(1, 9)}:{year}",
            f"ISO/IEC {rng.randint(10_000, 30_000)}:{year}",
            f"DIN {rng.randint(10_000, 99_999)}-{rng.randint(10, 99)}",
            f"(EU) Nr. {rng.randint(100, 2500)}/{year}",
            f"(EU) {year}/{rng.randint(100, 2500)}",
            f"RFC {rng.randint(1000, 9999)}",
            f"CAS {rng.randint(100_000, 999_999)}-{_draw_digits(rng, 2)}-{_draw_digits(rng, 1)}",
        )
    )


def draw_year_range(rng: random.Random, language: str) -> str:
    del language
    year = rng.randint(1400, 2020)
    later = year + rng.randint(1, 60)
    return rng.choice(
        (
            f"{year}-{later}",
            f"{year}–{later}",
            f"{year}/{(year + 1) % 100:02}",
            f"({year} - {later})",
            f"{year}/{later}",
        )
    )


def draw_score(rng: random.Random, language: str) -> str:
    del language
    sets = [f"{rng.randint(0, 7)}-{rng.randint(0, 7)}" for _ in range(3)]
    return rng.choice(
        (", ".join(sets), " ".join(sets), f"{rng.randint(70, 140)}-{rng.randint(70, 140)}")
    )


def draw_coordinates(rng: random.Random, language: str) -> str:
    del language
    north, east = rng.uniform(35, 60), rng.uniform(1, 25)
    return rng.choice(
        (f"{north:.6f}, {east:.6f}", f"{north:.4f} N {east:.4f} E", f"geo:{north:.5f},{east:.5f}")
    )


def draw_counting_sequence(rng: random.Random, language: str) -> str:
    del language
    start = rng.randint(1, 40)
    return " ".join(f"{number:02}" for number in range(start, start + 5))


GENERATORS: dict[str, Callable[[random.Random, str], str]] = {
    "range with a unit": draw_price_range,
    "amount": draw_amount,
    "ls -l": draw_file_listing,
    "date or time": draw_date_or_time,
    "fraction": draw_fraction,
    "ISBN": draw_book_number,
    "version": draw_version,
    "private address": draw_local_address,
    "hyphenated word": draw_hyphenated_words,
    "Base64": draw_base64,
    "hash": draw_hex_hash,
    "hex dump": draw_hex_dump,
    "line numbers": draw_line_numbers,
    "standard": draw_standard_number,
    "years": draw_year_range,
    "score": draw_score,
    "coordinates": draw_coordinates,
    "counting": draw_counting_sequence,
}
