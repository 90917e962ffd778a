"""Find personal data that readers state: birth dates, addresses, ids, number plates, e-mail.

Scope: formats that are personal because of a nearby word, written-out and reserved addresses,
postal addresses.
Out of scope: formats that are always personal (the other modules), redacting posts
(`redaction.py`), which may contain the author's own biography.

Languages: English, German, Spanish and French. Reserved addresses (RFC 2606, 5737, 3849) count
here, because readers use them in place of real ones. In posts, they occur only as examples.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan, find_spans
from twin_resources.privacy.payment import find_ibans

_TOP_LEVEL_DOMAINS = (
    r"(?:com|org|net|info|eu|io|me|edu|co|uk|us|at|ch|de|es|fr|mx|ar|be|example|test)"
)
_AT = r"\s*[\[({]\s*(?:at|ät|arroba|arobase|@)\s*[\])}]\s*|\s+(?:at|ät|arroba|arobase)\s+"
_DOT = r"\s*[\[({]\s*(?:dot|punkt|punto|point|\.)\s*[\])}]\s*|\s+(?:dot|punkt|punto|point)\s+|\."
_WRITTEN_OUT_MAIL = re.compile(
    # A match starts only once per run and is limited to 64 characters (RFC 5321). Otherwise, 32 KB
    # would take a minute.
    rf"(?<![\w+-])[\w+-]{{1,64}}(?:(?:{_DOT})[\w+-]+){{0,3}}(?:{_AT})[\w-]+(?:(?:{_DOT})[\w-]+){{0,2}}"
    rf"(?:{_DOT}){_TOP_LEVEL_DOMAINS}\b",
    re.IGNORECASE,
)
_RESERVED_MAIL = re.compile(
    r"(?<![\w.+-])([\w+-][\w.+-]*)@(?:[\w-]+\.)*(?:[\w-]+\.(?:example|test|invalid)"
    r"|example\.\w{2,3})\b",
    re.IGNORECASE,
)
_GENERIC_NAME = re.compile(
    r"(?:user|username|name|you|your\.?name|me|some(?:one|body)|foo|bar|test|info|mail|e-?mail"
    r"|admin"
    r"|root|vorname\.nachname|benutzer|pr[eé]nom\.nom|utilisateur|nombre|usuario|jo?hn\.?doe)\d*$",
    re.IGNORECASE,
)
_RESERVED_NETWORK = re.compile(
    r"(?<![\d.])(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}(?!\.?\d)"
    r"|(?<![\w:])2001:0?db8:[0-9a-f:]{2,39}(?![\w:])",
    re.IGNORECASE,
)
_MONTH = (
    r"(?:jan(?:uary|uar|vier)?|jänner|feb(?:ruary|ruar)?|f[ée]vrier|mar(?:ch|s)?|märz|apr(?:il)?"
    r"|avril"
    r"|may|mai|june?|juni|juin|july?|juli|juillet|aug(?:ust)?|août|sep(?:t(?:ember|embre)?)?"
    r"|oct(?:ober|obre)?|okt(?:ober)?|nov(?:ember|embre)?|dec(?:ember)?|dez(?:ember)?|d[ée]cembre"
    r"|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre"
    r"|diciembre)\b\.?"
)
_DATE = (
    r"(?:\d{1,2}\s?[./-]\s?\d{1,2}\s?[./-]\s?(?:\d{4}|\d\d)|\d{4}-\d\d-\d\d"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?\s(?:of\s|de\s)?{_MONTH},?(?:\s(?:del?\s)?\d{{4}})?"
    rf"|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s\d{{4}})?)(?![\w])"
)
_BIRTH_DATE = re.compile(
    r"\b(?:born|b\.|d\.?o\.?b\.?|date of birth|birth ?da(?:te|y)|geboren|geb\.|geburts(?:datum|tag)"
    r"|naci(?:ó|mos)|nací|nacid[oa]s?|(?:fecha de )?nacimiento|cumpleaños|cumplo años|née?s?"
    r"|(?:date de )?naissance|anniversaire)"
    rf"(?!\w)[^\d\n]{{0,30}}?({_DATE})",
    re.IGNORECASE,
)
_BIRTH_DATE_BEFORE_WORD = re.compile(
    rf"(?<![\w.])({_DATE})[^\d\n]{{0,20}}?\b(?:geboren|zur Welt)\b", re.IGNORECASE
)
_NAME = r"[A-ZÄÖÜÉÈÀÁÍÓÚÑ][\w'’-]+"
_NOT_A_STREET = (
    r"(?!(?:Arbeits|Steck|Speicher|Sitz|Spiel|Lager|Stell|Aus|Rück|Um|Rechts|Schul)(?:platz|weg))"
)
_ADDRESS = re.compile(
    # English and French addresses start with the number.
    rf"\b\d{{1,5}}[A-Za-z]?,? (?:[NSEW] |\d{{1,3}}(?:st|nd|rd|th) |{_NAME} ){{1,4}}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Close|Court|Way|Place|Terrace|Crescent|Gardens"
    r"|Grove|Boulevard|Blvd|Square|Row|Mews|Walk|Hill)\b\.?"
    r"|\b\d{1,4}(?: ?(?:bis|ter|quater|[A-Da-d]))?,? (?:rue|avenue|av\.|chemin|boulevard|bd|impasse"
    r"|allée|place|quai|cours|route|passage|square|ruelle|venelle|sentier|faubourg) "
    rf"(?:(?:de|du|des|la|le|les|aux?) |de l['’]|d['’]|l['’]){{0,3}}{_NAME}"
    r"|\b(?:P\.? ?O\.? Box|Postfach|Apartado(?: de correos)?|Boîte postale|BP) \d[\d ]{1,8}\d"
    rf"|\b(?i:lieu-dit|urbanización) (?:(?:Le|La|Les|Los|Las"
    rf"|El) )?{_NAME}(?: {_NAME})*,? (?:[a-z]+ \d+, )?\d{{5}}\b"
    # German, Dutch and Spanish addresses end with the number. The length is limited, because a
    # match can start at each part of A-A-A-.
    rf"|\b{_NOT_A_STREET}[A-ZÄÖÜ][\wäöüß-]{{0,40}}"
    r"(?:straße|strasse|str\.|gasse|weg|platz|allee|damm|ufer|steig|pfad|chaussee|straat|laan"
    r"|gracht) \d{1,4} ?[a-z]?\b"
    r"|\b[A-ZÄÖÜ][\wäöüß-]{1,40}(?:er|sche) (?:Straße|Str\.|Allee|Weg|Platz|Damm|Ufer"
    r"|Ring) \d{1,4} ?[a-z]?\b"
    rf"|\b(?:Am|An de[rm]|Im|In de[rn]?|Zu[mr]|Auf de[rm]"
    rf"|Unter den) (?:{_NAME} ){{1,2}}\d{{1,4}} ?[a-z]?,? \d{{5}}\b"
    r"|(?i:\b(?:calle|avda?\.|avenida|plaza|pza\.|paseo|camino|ronda|travesía|glorieta|carretera"
    r"|ctra\.)"
    r"|\bc/) ?(?:de |del |de las? |de los |la |el )?"
    rf"{_NAME}(?: (?:de |del |de las? |y )?{_NAME}){{0,3}},? (?:n\.?º ?|núm\. ?)?(?:\d{{1,4}}"
    rf"|s/n)(?!\w)"
)
_IDENTITY_DOCUMENT = re.compile(
    r"\b(?:passports?|(?:id|identity) cards?|driv(?:ing|er['’]?s) licen[cs]e|social security|ssn"
    r"|national insurance|ni number|nhs number|tax (?:id|number)|(?:reise)?pass(?:nummer|nr\.)?"
    r"|\w{0,40}ausweis\w{0,20}|führerschein\w{0,20}"
    r"|\w{0,40}versicherten?nummer|\w{0,40}versicherungs-?nummer|steuer-?(?:id\w*|nummer)"
    r"|pasaporte|dni|nie|nif"
    r"|afiliación|seguridad social|(?:carn[ée]|permiso) de conducir|tarjeta sanitaria|passeport"
    r"|carte (?:nationale )?d['’]identité|(?:sécurité sociale|num[ée]ro de sécu|n° de sécu)"
    r"|carte vitale|permis de conduire"
    r"|numéro fiscal)(?!\w)[^\d\n]{0,60}?(?<![\w])"
    r"((?-i:[A-Z]{0,5} ?\d[A-Z0-9]*(?:[ ./-][A-Z0-9]*\d[A-Z0-9]*|[ ./-][A-Z](?![a-zà-ÿ])){0,5}))",
    re.IGNORECASE,
)
_MIN_DOCUMENT_DIGITS = 5  # a year has four digits
_NUMBER_PLATE = (
    r"(?:[A-ZÄÖÜ]{1,3}[ -][A-Z]{1,2}[ -]?\d{1,4}[EH]?|[A-Z]{2}\d\d ?[A-Z]{3}"
    r"|[A-Z]{2}[ -]\d{3}[ -][A-Z]{2}"
    r"|\d{4}[ -]?[BCDFGHJKLMNPRSTVWXYZ]{3}|[A-Z]\d{1,3} ?[A-Z]{3}|[A-Z0-9]{2,4}[ -][A-Z0-9]{3,4})"
)
_VEHICLE_WORDS = (
    r"(?:number|licen[cs]e) plates?|registration|\bplates?\b|\bcar\b|\bvan\b|kennzeichen"
    r"|nummernschild"
    r"|\bauto\b|\bwagen\b|matr[íi]cula|\bcoche\b|\bfurgoneta\b|\bmoto\b|immatricul\w+|\bplaque\b"
    r"|\bvoiture\b|\bcamionnette\b"
)
_PLATE_NEAR_VEHICLE = re.compile(
    rf"(?i:{_VEHICLE_WORDS})[^\n]{{0,50}}?(?<![\w-])(?=[^\n]{{0,8}}\d)({_NUMBER_PLATE})(?![\w-])"
    rf"|(?<![\w-])({_NUMBER_PLATE})(?![\w-])[^\n]{{0,30}}(?i:{_VEHICLE_WORDS})"
)


def find_stated_personal_data(text: str) -> Iterator[TextSpan]:
    """Yield spans of stated personal data, which may overlap."""
    yield from find_spans(_WRITTEN_OUT_MAIL, text, "e-mail")
    for match in _RESERVED_MAIL.finditer(text):
        if not _GENERIC_NAME.match(match[1]):
            yield TextSpan(*match.span(), "e-mail")
    yield from find_ibans(text, check_bank=False)
    yield from find_spans(_RESERVED_NETWORK, text, "ip address")
    for pattern in (_BIRTH_DATE, _BIRTH_DATE_BEFORE_WORD):
        yield from find_spans(pattern, text, "date of birth", group=1)
    yield from find_spans(_ADDRESS, text, "address")
    for span in find_spans(_IDENTITY_DOCUMENT, text, "national id", group=1):
        if sum(map(str.isdigit, text[span.start : span.end])) >= _MIN_DOCUMENT_DIGITS:
            yield span
    for match in _PLATE_NEAR_VEHICLE.finditer(text):
        span = match.span(1) if match[1] else match.span(2)
        if any(map(str.isdigit, text[slice(*span)])):
            yield TextSpan(*span, "number plate")
