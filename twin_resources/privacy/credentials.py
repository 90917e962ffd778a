"""Find secrets that have a distinctive format.

Scope: keys with a vendor prefix, private keys, JSON web tokens, and passwords in URLs.
Out of scope: secrets that only a label identifies (`assignments.py`).

Vendors document their prefixes for this purpose (GitHub, "Behind GitHub's new authentication token
formats", 2021). RFC 7468 defines PEM, and RFC 7519 defines JSON web tokens. A sample key from
documentation is also replaced, because it looks like a real key. A line that only mentions the
header of a private key stays unchanged.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan, find_spans

_LONG_RUN = re.compile(r"(?<![A-Za-z0-9_-])[_-]*([A-Za-z0-9][A-Za-z0-9_-]{15,})")
_VENDOR_KEY = re.compile(
    r"(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{22,}"  # GitHub
    r"|gl(?:pat|dt|rt|ptt|soat|cbt|ft|imt|agent)-[\w-]{20,}"  # GitLab
    r"|xox[abeoprs]-[\w-]{10,}|xapp-\d-[\w-]{20,}"  # Slack
    r"|sk-(?:ant|proj|svcacct|admin|or|lf)-[\w-]{16,}|pk-lf-[\w-]{16,}"  # Anthropic, OpenAI …
    r"|sk-[A-Za-z0-9_-]{20,}"  # OpenAI and vendors with the same format
    r"|[srpw]k_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"  # Stripe
    r"|(?:sk|pk|rk)[-_][A-Za-z0-9]{24,}"
    r"|AIza[\w-]{30,}|GOCSPX-[\w-]{20,}"  # Google
    r"|hf_[A-Za-z0-9]{16,}|r8_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}"  # model providers
    r"|pplx-[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{40,}|nvapi-[\w-]{40,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}|rubygems_[a-f0-9]{40,}"  # package registries
    r"|dckr_(?:pat|oat)_[\w-]{20,}"
    r"|key-[0-9a-f]{32}|SK[0-9a-f]{32}"  # Mailgun, Twilio
    r"|do[opr]_v1_[a-f0-9]{40,}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}|sq0(?:atp|csp)-[\w-]{20,}"
    r"|dapi[a-f0-9]{32}|lin_api_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{30,}|fig[dou]_[\w-]{30,}"
    r"|HRKU-[\w-]{30,}|NRAK-[A-Z0-9]{24,}"
    r"|gl(?:sa|c)_[\w+/=-]{30,}|sntry[su]_[\w+/=-]{30,}|pscale_(?:tkn|pw|oauth)_[\w-]{30,}"
    r"|PMAK-[a-f0-9]{20,}-[a-f0-9]{30,}|sbp_[a-f0-9]{32,}"
    r"|ATATT3[\w=-]{40,}|ops_eyJ[\w-]{40,}|tskey-[a-z]+-[\w-]{16,}|cfut_[\w-]{30,}"
    r")(?![A-Za-z0-9])"
)
_VENDOR_KEYS_WITH_DOTS = {
    mark: re.compile(rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])")
    for mark, pattern in {
        "SG.": r"SG\.[\w-]{16,32}\.[\w-]{30,64}",  # SendGrid
        "ya29.": r"ya29\.[\w-]{20,255}",  # Google
        "hvs.": r"hvs\.[\w-]{24,120}",  # Vault
        ".atlasv1.": r"\w{14}\.atlasv1\.[\w-]{50,80}",  # Terraform
        "dp.": r"dp\.(?:pt|st|ct)\.[\w-]{30,60}",  # Doppler
        ":AA": r"\d{8,10}:AA[\w-]{30,40}",  # Telegram
    }.items()
}
_WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}(?![\w-])")
_AGE_KEY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{50,64}")
_PEM_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[\sA-Za-z0-9+/=\\:,.\"'>|#-]*")
_PEM_LINES = re.compile(
    r"(?:(?:\\n|\s){1,12}[A-Za-z-]{4,20}: [^\n\\]{1,100}){0,4}"
    r"(?:(?:\\n|\s){1,12}[A-Za-z0-9+/=]{16,4096}){1,400}(?:(?:\\n|\s)[A-Za-z0-9+/]{1,64}={0,2})?"
)
_MAX_PEM_CHARACTERS = 16_000
_URL_PASSWORD = re.compile(r"://[^\s:/@\"'<>]{0,64}:([^\s/@\"'<>]{3,128})@")
_PLACEHOLDER_PASSWORD = re.compile(
    r"(?i)(?:\W?(?:pass(?:word|wd)?|pwd|pw|secret|token|key|user(?:name)?|admin|root|postgres|guest"
    r"|test|example|changeme|x{3,}|\*{3,}|your\W?\w*|\w{1,40}[_-]pass(?:word)?)\W?\d{0,4}"
    r"|(?:[\[({<$%]|#\{).*)$"
)


def find_credentials(text: str) -> Iterator[TextSpan]:
    """Yield spans of the kinds `private key`, `key`, `web token` and `secret`; they may overlap."""
    yield from _find_vendor_keys(text)
    if "eyJ" in text:
        yield from find_spans(_WEB_TOKEN, text, "web token")
    if "-----BEGIN " in text:
        yield from _find_private_keys(text)
    if "AGE-SECRET-KEY-" in text:
        yield from find_spans(_AGE_KEY, text, "private key")
    if "://" in text and "@" in text:
        for match in _URL_PASSWORD.finditer(text):
            if not _PLACEHOLDER_PASSWORD.match(match[1]):
                yield TextSpan(match.start(1), match.end(1), "secret")


def _find_vendor_keys(text: str) -> Iterator[TextSpan]:
    """Yield vendor keys.

    Keys without dots are matched only at the start of a long run or directly after another key,
    which is 20 times faster.
    """
    for run in _LONG_RUN.finditer(text):
        start = run.start(1)
        while match := _VENDOR_KEY.match(text, start):
            yield TextSpan(match.start(), match.end(), "key")
            start = match.end()
            while start < run.end() and text[start] in "_-":
                start += 1
    for mark, pattern in _VENDOR_KEYS_WITH_DOTS.items():
        if mark in text:
            yield from find_spans(pattern, text, "key")


def _find_private_keys(text: str) -> Iterator[TextSpan]:
    end = 0
    for begin_match in _PEM_BEGIN.finditer(text):
        if begin_match.start() < end:
            continue
        end_match = _PEM_END.search(
            text, begin_match.end(), begin_match.end() + _MAX_PEM_CHARACTERS
        )
        if end_match and _is_pem_body(text[begin_match.end() : end_match.start()]):
            end = end_match.end()
        elif lines := _PEM_LINES.match(text, begin_match.end()):  # a key without an END line
            end = lines.end()
        else:
            continue
        yield TextSpan(begin_match.start(), end, "private key")


def _is_pem_body(body: str) -> bool:
    """Return whether the text consists of Base64 lines rather than prose about the format."""
    if not _PEM_BODY.fullmatch(body) or not ("\n" in body or "\\n" in body):
        return False
    max_word_length = max((len(word) for word in re.split(r"[\s\\]+", body)), default=0)
    return max_word_length >= 4 and " and " not in body
