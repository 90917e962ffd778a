"""Secrets that their name gives away: `password: hunter22!`, `API_KEY=…`, `Bearer …`.

Scope: which names announce a secret, and which values are one.
Out of scope: secrets with a form of their own (`credentials.py`).

Posts about programming are full of `password = params[:password]`: a value counts only when it is a
literal that mixes letters with digits (a password: or marks) and is not a word that stands for a
secret (`changeme`, `your-token`). Long values count by entropy: Shannon's bits a character times
the length, as truffleHog and detect-secrets do. What follows `Basic` must decode to a name and a
password (RFC 7617): prose goes on after that word. Only the value is replaced; a bare hash or an
image in Base64 has no such name and stays.
"""
# pyright: strict

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan

_NAMES = ("password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "credential")
_KEY_NAMES = ("apikey", "api_key", "api-key", "api key", "access_key", "accesskey", "auth_key")
_WORDS = (*_NAMES, *_KEY_NAMES, "bearer", "basic")
_ASSIGNED = re.compile(
    r"(?i)(?<!\[)(?:(?P<password>password|passwd|passphrase|passcode|(?<![a-z])pwd)"
    r"|secret[_-]?(?:access[_-]?)?key|secret|token|credentials?|(?:api|access|auth)[_ -]?key)"
    r"(?:[_-]\w{1,30})?[\"'`\]]{0,2}"
    r"(?:\s{0,3}(?::=|=>|={1,2}|:)\s{0,3}|\s{1,2}is:?\s{1,2})"
    r"(?:\"(?P<double>[^\"\n]{6,512})\"|'(?P<single>[^'\n]{6,512})'|`(?P<tick>[^`\n]{6,512})`"
    r"|(?P<bare>[^\s\"'`,;()<>{}\[\]\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb]{6,512}+)(?![(\[{<]))"
)
_HEADER = re.compile(
    r"(?i)(?<![\w\[])(?:(?P<bearer>bearer)|basic) {1,2}(?P<value>[A-Za-z0-9+/=._~-]{16,4096})"
)
_NEXT_PARAMETER = re.compile(r"&(?:amp;)?\w{1,30}=")
_CODE = re.compile(r"[$/.~<{\[(%*&@:!|\\-]|.*(?:://|\$\{|\{\{|%[sd(]|\.\.\.|\*\*\*|<%|#\{)")
_NAME_OF_SOMETHING = re.compile(r"[A-Za-z_][A-Za-z_-]*(?:[.:]{1,2}[A-Za-z_-]+)*(\d{0,3})[!?]?$")
_STANDS_FOR_A_SECRET = frozenset(
    (
        *("password", "passwd", "pass", "secret", "token", "key", "apikey", "changeme", "user"),
        *(
            "mypassword",
            "mysecret",
            "mytoken",
            "yourpassword",
            "yoursecret",
            "yourtoken",
            "yourkey",
        ),
        *("yourapikey", "supersecret", "example", "placeholder", "redacted", "dummy", "foo"),
        *("foobar", "test", "testing", "sample", "none", "null", "undefined", "true", "false"),
        *("abc", "abcdef", "xxx"),
    )
)
_MARKS_OF_EXAMPLE = re.compile(r"(?i)example|your[_-]?|placeholder|x{4}|changeme|redacted|insert")
_MIN_BITS = 18.0
_BITS_OF_A_LONG_ONE = 60.0


def find_assignments(text: str) -> Iterator[TextSpan]:
    """Spans of kind `secret` (the value without its quotes); they may overlap those of others."""
    lowered = text.lower()
    if not any(word in lowered for word in _WORDS):
        return
    for match in _ASSIGNED.finditer(text):
        name = next(one for one in ("double", "single", "tick", "bare") if match[one] is not None)
        value, end = match[name], match.end(name)
        if name == "bare":
            value = _NEXT_PARAMETER.split(value, maxsplit=1)[0]  # `?token=…&page=2`
            value = value.rstrip(".:?")  # the end of the sentence
            end = match.start(name) + len(value)
        if _is_secret(value, quoted=name != "bare", spoken=bool(match["password"])):
            yield TextSpan(match.start(name), end, "secret")
    for match in _HEADER.finditer(text):
        value = match["value"]
        if match["bearer"]:
            has_digit = any(one.isdigit() for one in value)
            is_secret = has_digit and _is_secret(value, quoted=True, spoken=False)
        else:
            is_secret = _names_a_user(value)
        if is_secret:
            yield TextSpan(*match.span("value"), "secret")


def _names_a_user(value: str) -> bool:
    """Base64 of `user:password`."""
    try:
        bare = value.rstrip(".=")
        pair = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        name, colon, password = pair.decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon) and bool(password) and name.isprintable()


def _is_secret(value: str, *, quoted: bool, spoken: bool) -> bool:
    """Whether a value with such a name is a secret.

    Args:
        quoted: it stands in quotes: a literal. Otherwise it may be code.
        spoken: the name is a word for a password: shorter ones count.
    """
    if _CODE.match(value) or any(character.isspace() for character in value):
        return False
    letters = "".join(character for character in value if character.isalpha()).lower()
    digits = sum(character.isdigit() for character in value)
    if _MARKS_OF_EXAMPLE.search(value) or (letters in _STANDS_FOR_A_SECRET and digits <= 4):
        return False
    name = None if quoted else _NAME_OF_SOMETHING.match(value)
    if name and not (spoken and len(name[1]) > 1):
        return False
    bits = _bits(value)
    marks = sum(not character.isalnum() and character not in "_-./:" for character in value)
    if letters and (digits or (marks and spoken)):
        return bits >= _MIN_BITS and (spoken or len(value) >= 10)
    mixed = any(one.isupper() for one in value) and any(one.islower() for one in value)
    return bits >= _BITS_OF_A_LONG_ONE and (bool(digits) or (mixed and not marks))


def _bits(value: str) -> float:
    counts = Counter(value)
    return -sum(count * math.log2(count / len(value)) for count in counts.values())
