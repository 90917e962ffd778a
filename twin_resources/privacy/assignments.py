"""Find secrets by their label: `password: hunter22!`, `API_KEY=…`, `Bearer …`.

Scope: labels that precede a secret, and deciding whether a labeled value is a secret.
Out of scope: secrets with a distinctive format (`credentials.py`).

Posts about programming often contain `password = params[:password]`. A value therefore counts only
if it is a literal of letters and digits (a password may also contain punctuation) and not a
placeholder (`changeme`, `your-token`). Long values are tested by their entropy, as in truffleHog
and detect-secrets: Shannon's bits per character times the length. A value after `Basic` must decode
to a name and a password (RFC 7617), because the word also occurs in prose. Only the value is
replaced. A bare hash or a Base64 image has no label and stays unchanged.
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

_LABEL_WORDS = (
    *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "credential"),
    *("apikey", "api_key", "api-key", "api key", "access_key", "accesskey", "auth_key"),
    *("bearer", "basic"),
)
_ASSIGNMENT = re.compile(
    r"(?i)(?<!\[)(?<!public)(?<!public[_-])(?<!publickey)(?:(?P<password>password|passwd|passphrase|passcode|(?<![a-z])pwd)"
    r"|secret[_-]?(?:access[_-]?)?key|secret|token|credentials?|(?:api|access|auth)[_ -]?key)"
    r"(?:[_-]\w{1,30})?[\"'`\]]{0,2}"
    r"(?:\s{0,3}(?::=|=>|={1,2}|:)\s{0,3}|\s{1,2}is:?\s{1,2})"
    r"(?:\"(?P<double>[^\"\n]{6,512})\"|'(?P<single>[^'\n]{6,512})'|`(?P<tick>[^`\n]{6,512})`"
    r"|(?P<bare>[^\s\"'`,;()<>{}\[\]\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb]{6,512}+)(?![(\[{<]))"
)
_AUTHORIZATION_HEADER = re.compile(
    r"(?i)(?<![\w\[])(?:(?P<bearer>bearer)|basic) {1,2}(?P<value>[A-Za-z0-9+/=._~-]{16,4096})"
)
_NEXT_PARAMETER = re.compile(r"&(?:amp;)?\w{1,30}=")
_CODE_EXPRESSION = re.compile(
    r"[$/.~<{\[(%*&@:!|\\-]|.*(?:://|\$\{|\{\{|%[sd(]|\.\.\.|\*\*\*|<%|#\{)"
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_-]*(?:[.:]{1,2}[A-Za-z_-]+)*(\d{0,3})[!?]?$")
_PLACEHOLDERS = frozenset(
    (
        *("password", "passwd", "pass", "secret", "token", "key", "apikey", "changeme", "user"),
        *("mypassword", "mysecret", "mytoken", "yourpassword", "yoursecret", "yourtoken"),
        *("yourapikey", "supersecret", "example", "placeholder", "redacted", "dummy", "foo"),
        *("foobar", "test", "testing", "sample", "none", "null", "undefined", "true", "false"),
        *("abc", "abcdef", "xxx", "yourkey"),
    )
)
_EXAMPLE_MARKS = re.compile(r"(?i)example|your[_-]?|placeholder|x{4}|changeme|redacted|insert")
_MIN_ENTROPY_BITS = 18.0
_MIN_ENTROPY_BITS_OF_LONG_VALUE = 60.0


def find_assignments(text: str) -> Iterator[TextSpan]:
    """Yield spans of kind `secret`, without quotation marks; they may overlap other kinds."""
    lower_text = text.lower()
    if not any(word in lower_text for word in _LABEL_WORDS):
        return
    for match in _ASSIGNMENT.finditer(text):
        group = next(key for key in ("double", "single", "tick", "bare") if match[key] is not None)
        value, end = match[group], match.end(group)
        if group == "bare":
            value = _NEXT_PARAMETER.split(value, maxsplit=1)[0]  # `?token=…&page=2`
            value = value.rstrip(".:?")  # the sentence's punctuation
            end = match.start(group) + len(value)
        if _is_secret(value, is_quoted=group != "bare", is_password=bool(match["password"])):
            yield TextSpan(match.start(group), end, "secret")
    for match in _AUTHORIZATION_HEADER.finditer(text):
        value = match["value"]
        if match["bearer"]:
            has_digit = any(character.isdigit() for character in value)
            is_secret = has_digit and _is_secret(value, is_quoted=True, is_password=False)
        else:
            is_secret = _encodes_user_and_password(value)
        if is_secret:
            yield TextSpan(*match.span("value"), "secret")


def _encodes_user_and_password(value: str) -> bool:
    """Return whether the value is the Base64 encoding of `user:password`."""
    try:
        unpadded = value.rstrip(".=")
        pair = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
        name, colon, password = pair.decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon) and bool(password) and name.isprintable()


def _is_secret(value: str, *, is_quoted: bool, is_password: bool) -> bool:
    """Return whether a labeled value is a secret.

    Args:
        is_quoted: whether the value is in quotation marks and is therefore a literal, not code.
        is_password: whether the label names a password, in which case shorter values also count.
    """
    if _CODE_EXPRESSION.match(value) or any(character.isspace() for character in value):
        return False
    letters = "".join(character for character in value if character.isalpha()).lower()
    digit_count = sum(character.isdigit() for character in value)
    if _EXAMPLE_MARKS.search(value) or (letters in _PLACEHOLDERS and digit_count <= 4):
        return False
    identifier = None if is_quoted else _IDENTIFIER.match(value)
    if identifier and not (is_password and len(identifier[1]) > 1):
        return False
    entropy_bits = _compute_entropy_bits(value)
    punctuation_count = sum(
        not character.isalnum() and character not in "_-./:" for character in value
    )
    if letters and (digit_count or (punctuation_count and is_password)):
        return entropy_bits >= _MIN_ENTROPY_BITS and (is_password or len(value) >= 10)
    has_mixed_case = any(map(str.isupper, value)) and any(map(str.islower, value))
    return entropy_bits >= _MIN_ENTROPY_BITS_OF_LONG_VALUE and (
        bool(digit_count) or (has_mixed_case and not punctuation_count)
    )


def _compute_entropy_bits(value: str) -> float:
    counts = Counter(value)
    return -sum(count * math.log2(count / len(value)) for count in counts.values())
