"""Find e-mail addresses.
Scope: their format, plain and written out ("ann at home dot org", "ann (at) home.org"), and
addresses that belong to no person.
Out of scope: passwords in URLs (`credentials.py`).
These are kept, because none is a person's mailbox: domains reserved for documentation and tests
(RFC 2606, RFC 6761), accounts of version control (`git@github.com:…`), addresses that take no mail
(`noreply@…`), accounts in a URL, fediverse handles (`@ann@social.example`), file names
(`icon@2x.png`), units (`getty@tty1.service`), message IDs in links to mail archives.
Format: RFC 5321 (64 octets before the at sign), RFC 6531 (letters of any script).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan

_MAX_LOCAL = 64
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,30})(?![\w-])"
)
# "at" in brackets always means the at sign: "ann [at] bell.org". A bare "at" may be a preposition,
# so the dots must be written out as well: "ann at bell dot org".
_AT_IN_BRACKETS = re.compile(
    r"[\[({<] ?(?i:at|@|\u00e4t|\u00e6t|arroba|chez|chiocciola|apestaart(?:je)?) ?[\])}>] {0,2}"
)
_AT_AS_A_WORD = re.compile(r" (?:at|AT|\u00e4t|arroba|chiocciola) {1,2}")
_LOCAL_BEFORE = re.compile(r"(?<![\w.+-])([\w.+-]{1,64}(?: dot [\w.+-]{1,64})?) {0,2}$")
_WORDS_FOR_DOT = ("dot", "Dot", "DOT", "punkt", "punto", "ponto")
_WRITTEN_DOT = (
    r"(?: {0,2}[\[({<] ?(?i:dot|\.|punkt|punto|ponto|point|punt) ?[\])}>] {0,2}"
    rf"| (?:{'|'.join(_WORDS_FOR_DOT)}) )"
)
_DOT = re.compile(_WRITTEN_DOT)
_DOMAIN_WRITTEN = re.compile(
    rf"(?!(?:the|a|an|this|that) )[\w-]{{1,63}}(?:(?:{_WRITTEN_DOT}|\.)[\w-]{{1,63}}){{0,3}}"
    rf"(?:{_WRITTEN_DOT}|\.)[a-zA-Z]{{2,24}}(?![\w-])"
)
_DOTS = (*_WORDS_FOR_DOT, "[.]", "(.)")
_MAX_BEFORE_AT = 136
_RESERVED = re.compile(
    r"(?i)(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost|local)$|^users\.noreply\."
)
_NO_MAILBOX = frozenset(
    ("git", "hg", "svn", "bzr", "cvs", "gitolite", "noreply", "no-reply", "donotreply")
)
_NO_DOMAIN = frozenset(
    (
        *("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "pdf", "css", "scss", "html", "htm"),
        *("js", "jsx", "mjs", "ts", "tsx", "json", "yml", "yaml", "toml", "xml", "lock", "txt"),
        *("rb", "java", "cpp", "hpp", "exe", "dll", "tar", "tgz", "gz", "service", "timer"),
        *("socket", "mount", "target", "slice", "plist"),
    )
)


def find_mail_addresses(text: str) -> Iterator[TextSpan]:
    """Yield spans of kind `e-mail`, at most one per at sign; they may overlap other kinds."""
    at = text.find("@")
    while at != -1:
        span = _at_sign_address(text, at)
        if span:
            yield span
        at = text.find("@", at + 1)
    for match in _AT_IN_BRACKETS.finditer(text):
        span = _written_out_address(text, match, plain_dots=True)
        if span:
            yield span
    if any(dot in text for dot in _DOTS):
        for match in _AT_AS_A_WORD.finditer(text):
            span = _written_out_address(text, match, plain_dots=False)
            if span:
                yield span


def _written_out_address(text: str, at: re.Match[str], *, plain_dots: bool) -> TextSpan | None:
    """Return the address around an "at" that is written out, or None.
    Args:
        plain_dots: whether "bell.org" counts as a domain, as well as "bell dot org".
    """
    domain = _DOMAIN_WRITTEN.match(text, at.end())
    if domain is None or not (plain_dots or _DOT.search(domain[0])):
        return None
    name = _DOT.sub(".", domain[0]).lower()
    if name.rpartition(".")[2] in _NO_DOMAIN or _RESERVED.search(name):
        return None
    before = text[max(0, at.start() - _MAX_BEFORE_AT) : at.start()]
    local = _LOCAL_BEFORE.search(before)
    if local is None:
        return None
    return TextSpan(at.start() - (len(before) - local.start(1)), domain.end(), "e-mail")


def _at_sign_address(text: str, at: int) -> TextSpan | None:
    domain = _DOMAIN.match(text, at + 1)
    if not domain or domain[1].lower() in _NO_DOMAIN or _RESERVED.search(domain[0]):
        return None
    start, lowest = at, max(0, at - _MAX_LOCAL)
    while start > lowest and (text[start - 1].isalnum() or text[start - 1] in "._+%-"):
        start -= 1
    if text.startswith(("%3C", "%3c"), start - 1) or text.startswith(("%3C", "%3c"), start):
        return None  # a message ID in a link to an archive
    while start < at and text[start] in ".-%":  # punctuation before it: "…ann@", a list's "-ann@"
        start += 1
    local = text[start:at].lower()
    too_long = start == lowest and start > 0 and text[start - 1].isalnum()
    if not local or too_long or local in _NO_MAILBOX or local.endswith(("noreply", "no-reply")):
        return None
    if (start and text[start - 1] == "@") or _in_authority(text, start):
        return None
    return TextSpan(start, domain.end(), "e-mail")


def _in_authority(text: str, start: int) -> bool:
    """Return whether the name is an account in a URL: `scheme://ann@host`, `scheme://ann:pw@host`."""
    slashes = text.rfind("://", max(0, start - _MAX_LOCAL), start)
    if slashes == -1:
        return False
    return not any(
        character.isspace() or character == "/" for character in text[slashes + 3 : start]
    )
