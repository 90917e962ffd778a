"""Count the personal data and secrets that a second, smaller set of patterns finds in a text.

Scope: a few unambiguous patterns, independent of `twin_resources.privacy`. Out of scope: redaction
(`privacy`). This module shares no code with it, because a check with the same function would repeat
its mistakes.

Addresses that are not a person's mailbox do not count: documentation domains (RFC 2606), version
control accounts, addresses inside a URL, and fediverse handles.
Formats: ISO 13616 (IBAN), ISO/IEC 7812 (card numbers, Luhn), E.164 (phone numbers).
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.code_blocks import remove_code

_MAIL = re.compile(
    r"(?<![\w.+%/@:=-])[^\W\d_][\w.+-]{0,63}@(?:[a-z\d][a-z\d-]{0,62}\.){1,4}"
    r"(?:com|net|org|edu|gov|info|eu|io|dev|de|at|ch|fr|be|nl|it|es|pt|br|mx|ar|uk|ie|se|no|dk|fi|pl"
    r"|cz|gr|ru|ua|tr|jp|cn|kr|tw|in|au|nz|ca)(?![\w@:-])",
    re.IGNORECASE,
)
_IMPERSONAL_ADDRESS = re.compile(
    r"(?:^(?:git|hg|svn|bzr|cvs|gitolite|[\w.+-]*no-?reply|donotreply)@"
    r"|[@.](?:example|invalid|test|localhost)\.|noreply\.)",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"\b(?:tel(?:efon|éfono|efone)?|phone|call|mobile?|handy|fon|whatsapp|mobil|cell)\b[ .:]{1,3}"
    r"\+\d[\d ()/-]{7,20}\d",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){3,7}(?: ?[A-Z\d]{1,3})?(?!\w)")
_CARD = re.compile(r"(?<![\d.-])[3-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?![\d-])")
_SECRETS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z\d+/]{40}"
    r"|(?<!\w)(?:ghp_[A-Za-z\d]{36}|github_pat_\w{60,}|sk_live_[A-Za-z\d]{24,}|xox[bp]-\d{9,}-[\w-]{20,}"
    r"|glpat-[\w-]{20}|AKIA(?![A-Z\d]{0,12}EXAMPLE)[A-Z\d]{16})(?!\w)"
)


def count_personal_data(text: str) -> int:
    """Return the number of definite e-mail addresses, phone numbers, IBANs, cards and keys."""
    prose = remove_code(text)  # a hex dump may contain apparent card numbers
    addresses = _MAIL.finditer(text) if "@" in text else ()
    return (
        sum(not _IMPERSONAL_ADDRESS.search(match[0]) for match in addresses)
        + sum(1 for _ in _PHONE.finditer(prose))
        + sum(_is_iban(match[0]) for match in _IBAN.finditer(prose))
        + sum(_has_luhn_sum(match[0]) for match in _CARD.finditer(prose))
        + sum(1 for _ in _SECRETS.finditer(text))
    )


def _is_iban(candidate: str) -> bool:
    iban = candidate.replace(" ", "")
    digits = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
    return 15 <= len(iban) <= 34 and int(digits) % 97 == 1


def _has_luhn_sum(candidate: str) -> bool:
    digits = [int(character) for character in reversed(candidate) if character.isdigit()]
    doubled_digits = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled_digits)) % 10 == 0
