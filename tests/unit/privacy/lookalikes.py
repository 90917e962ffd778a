"""Generate numbers and words that resemble personal data, in sentences of six languages.

Earlier patterns wrongly replaced these forms in public blogs, note collections, books and laws.
"""

from __future__ import annotations

import base64
import random
import re
import string
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


# The templates of each form. `#` is a digit; `_draw_fields` draws the fields.
FORMS = {
    "range with a unit": tuple(
        f"{{low}}{dash}{{high}} {{{unit}}}"
        for dash in ("-", "–", " - ", " – ")
        for unit in ("unit", "short_unit")
    ),
    "amount": ("{thousands} {unit}", "{thousands} €", "$ {thousands}", "€{thousands}"),
    "ls -l": (
        "total 48\n-rw-r--r-- 1 ann staff       {low} {date} {hour}:{minute} notes-0.txt\n"
        "-rw-r--r-- 1 ann staff {size:8} {date} 0#:1# notes-1.txt\n"
        "-rw-r--r-- 1 ann staff   1##### {date} 1#:2# notes-2.txt",
    ),
    "date or time": (
        "{date}T{hour}:{minute}:07+01:00",
        "{recent}{month}{day}{hour}{minute}",
        "1{timestamp}",
        "1{timestamp}123",
        "{day}.{month}.{recent}",
        "{day}/{month}/{recent}-{day}/{month}/2027",
        "{day}.{month}.–{day}.{month}.{recent}",
        "08.30-{hour}.{minute}",
        "{day} {month} {recent}",
    ),
    "fraction": (
        "100% ({big}/{big})",
        "{big}/{bigger}",
        "0.#####",
        "0.###############",
        "{big}.#########",
    ),
    "ISBN": (
        "ISBN {isbn13}",
        "{isbn13}",
        "ISBN-13: {dashed13}",
        "ISBN {isbn10}",
        "ISBN-10: {dashed10}",
    ),
    "version": (
        "{minor}.#.1#",
        "1#.{minor}.#.#",
        "v{minor}.#.1#-########",
        "v1#.#.{minor}.#-########",
        "08.06.02.01",
    ),
    "private address": ("{address}",),
    "hyphenated word": (
        "a basic Being-in-the-world of the clock",
        "the bearer of-tidings-from-the-North",
        "the token: self-explanatory-and-short",
        "a secret is well-kept-by-two-of-three",
        "basic Authentication/Authorization/Accounting",
        "his credentials: Doctor-of-Natural-Philosophy",
    ),
    "Base64": ("{base64}",),
    "hash": ("{hash}",),
    "hex dump": ("00000010: {words}\n00000020: {words}\n00000030: {other_words}",),
    "line numbers": ("1#### {big} x\n1#### {low} x\n2#### {bigger} x\n2#### {high} x",),
    "standard": (
        "ISO 1####-#:{recent}",
        "ISO/IEC 2####:{recent}",
        "DIN 1####-1#",
        "(EU) Nr. {low}/{recent}",
        "(EU) {recent}/{low}",
        "RFC 1###",
        "CAS 1#####-##-#",
    ),
    "years": (
        "{year}-{later}",
        "{year}–{later}",
        "{year}/{next_year}",
        "({year} - {later})",
        "{year}/{later}",
    ),
    "score": ("#-#, #-#, #-#", "#-# #-# #-#", "1##-9#"),
    "coordinates": ("4#.######, 1#.######", "5#.#### N 2#.#### E", "geo:4#.#####,1#.#####"),
    "counting": ("{counting}",),
}


def generate_lookalikes(seed: int, *, count_per_group: int) -> list[Lookalike]:
    """Generate `count_per_group` texts of each form and language, which depend only on the seed."""
    rng = random.Random(seed)
    examples: list[Lookalike] = []
    for group, templates in FORMS.items():
        for language in LANGUAGES:
            for _ in range(count_per_group):
                value = rng.choice(templates).format(**_draw_fields(rng, language))
                value = re.sub("#", lambda _: rng.choice(string.digits), value)
                carrier = "{}" if "\n" in value else rng.choice(_CARRIERS[language])
                examples.append(Lookalike(group, language, carrier.format(value)))
    return examples


def _draw_fields(rng: random.Random, language: str) -> dict[str, object]:
    year, recent, start = rng.randint(1400, 2020), rng.randint(1995, 2026), rng.randint(1, 40)
    low, big = rng.randint(20, 900), rng.randint(100, 99_999)
    month, day = f"{rng.randint(1, 12):02}", f"{rng.randint(1, 28):02}"
    groups = [str(rng.randint(1, 999)), *(f"{rng.randint(0, 999):03}" for _ in range(2))]
    body = f"978{rng.randint(0, 999_999_999):09}"
    isbn13 = body + ean.calc_check_digit(body)
    isbn10 = body[3:]
    isbn10 += "0123456789X"[sum(int(d) * (n + 1) for n, d in enumerate(isbn10)) % 11]
    return {
        "low": low,
        "high": low + rng.randint(10, 9000),
        "big": big,
        "bigger": big + rng.randint(1, 5000),
        "size": rng.randint(20, 9_999_999),
        "minor": rng.randint(0, 20),
        "unit": rng.choice(_UNITS[language]),
        "short_unit": rng.choice(_SHORT_UNITS),
        "thousands": rng.choice(" .,\u202f").join(groups[: rng.choice((2, 3))]),
        "year": year,
        "later": year + rng.randint(1, 60),
        "next_year": f"{(year + 1) % 100:02}",
        "recent": recent,
        "date": f"{recent}-{month}-{day}",
        "month": month,
        "day": day,
        "hour": f"{rng.randint(0, 23):02}",
        "minute": f"{rng.randint(0, 59):02}",
        "timestamp": f"{rng.randint(0, 800_000_000):09}",
        "isbn13": isbn13,
        "dashed13": "-".join((isbn13[:3], isbn13[3], isbn13[4:6], isbn13[6:12], isbn13[12])),
        "isbn10": isbn10,
        "dashed10": f"{isbn10[0]}-{isbn10[1:3]}-{isbn10[3:9]}-{isbn10[9]}",
        "address": IPv4Address((192 << 24) | (168 << 16) | rng.getrandbits(16)),
        "base64": base64.b64encode(rng.randbytes(rng.randint(12, 40))).decode(),
        "hash": rng.randbytes(32).hex()[: rng.choice((7, 32, 40, 64))],
        "words": " ".join(rng.randbytes(2).hex() for _ in range(8)),
        "other_words": " ".join(rng.randbytes(2).hex() for _ in range(8)),
        "counting": " ".join(f"{number:02}" for number in range(start, start + 5)),
    }
