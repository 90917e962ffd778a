"""Find e-mail addresses.

Scope: plain and written-out addresses ("ann at home dot org", "ann (at) home.org"), and addresses
that do not belong to a person.
Out of scope: passwords in URLs (`credentials.py`).

Strings that are not a person's mailbox stay unchanged. These are addresses in domains reserved for
documentation and tests (RFC 2606, RFC 6761), version control accounts (`git@github.com:…`), and
addresses that do not receive mail (`noreply@…`). The same applies to accounts in URLs, fediverse
handles (`@ann@social.example`), file names (`icon@2x.png`), systemd units (`getty@tty1.service`),
and message IDs in links to mail archives.
Format: RFC 5321 (64 octets before the at sign), RFC 6531 (here Latin, Greek and Cyrillic letters).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan

# Latin, Greek and Cyrillic letters: scripts without spaces may stand right around an address.
_LETTERS = r"A-Za-z0-9\u00c0-\u024f\u0370-\u052f"
_PLAIN_ADDRESS = re.compile(
    rf"(?<![{_LETTERS}._+%@-])[.%-]*(?P<local>[{_LETTERS}_+][{_LETTERS}._+%-]{{0,63}})@"
    rf"(?P<domain>(?:[{_LETTERS}](?:[{_LETTERS}_-]{{0,61}}[{_LETTERS}])?\.){{1,8}}"
    r"(?P<suffix>[A-Za-z\u0370-\u052f]{2,24}|xn--[a-z0-9-]{2,30}))(?![A-Za-z0-9_-])"
)
_URL_BEFORE = re.compile(r"://[^\s/]{0,64}$")  # the account of a URL (`scheme://ann:pw@host`)
# "at" in brackets always means the at sign: "ann [at] bell.org". Without brackets, "at" may be a
# preposition, so the dots must also be written out: "ann at bell dot org".
_AT_IN_BRACKETS = re.compile(
    r"[\[({<] ?(?i:at|@|\u00e4t|\u00e6t|arroba|chez|chiocciola|apestaart(?:je)?) ?[\])}>] {0,2}"
)
_AT_AS_A_WORD = re.compile(r" (?:at|AT|\u00e4t|arroba|chiocciola) {1,2}")
_LOCAL_PART_BEFORE = re.compile(r"(?<![\w.+-])([\w.+-]{1,64}(?: dot [\w.+-]{1,64})?) {0,2}$")
_WORDS_FOR_DOT = ("dot", "Dot", "DOT", "punkt", "punto", "ponto")
_WRITTEN_OUT_DOT = (
    r"(?: {0,2}[\[({<] ?(?i:dot|\.|punkt|punto|ponto|point|punt) ?[\])}>] {0,2}"
    rf"| (?:{'|'.join(_WORDS_FOR_DOT)}) )"
)
_DOT = re.compile(_WRITTEN_OUT_DOT)
_WRITTEN_OUT_DOMAIN = re.compile(
    rf"(?!(?:the|a|an|this|that) )[\w-]{{1,63}}(?:(?:{_WRITTEN_OUT_DOT}|\.)[\w-]{{1,63}}){{0,3}}"
    rf"(?:{_WRITTEN_OUT_DOT}|\.)[a-zA-Z]{{2,24}}(?![\w-])"
)
_DOTS = (*_WORDS_FOR_DOT, "[.]", "(.)")
_MAX_CHARACTERS_BEFORE_AT = 136
_RESERVED_DOMAIN = re.compile(
    r"(?i)(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost|local)$|^users\.noreply\."
)
_NON_PERSONAL_ACCOUNTS = frozenset(
    ("git", "hg", "svn", "bzr", "cvs", "gitolite", "noreply", "no-reply", "donotreply")
)
_NON_DOMAIN_SUFFIXES = frozenset(
    (
        *("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "pdf", "css", "scss", "html", "htm"),
        *("js", "jsx", "mjs", "ts", "tsx", "json", "yml", "yaml", "toml", "xml", "lock", "txt"),
        *("rb", "java", "cpp", "hpp", "exe", "dll", "tar", "tgz", "gz", "service", "timer"),
        *("socket", "mount", "target", "slice", "plist"),
    )
)


def find_mail_addresses(text: str) -> Iterator[TextSpan]:
    """Yield spans of kind `e-mail`, at most one per at sign; they may overlap other kinds."""
    for match in _PLAIN_ADDRESS.finditer(text) if "@" in text else ():
        local_part, start = match["local"].lower(), match.start("local")
        if (
            match["suffix"].lower() not in _NON_DOMAIN_SUFFIXES
            and not _RESERVED_DOMAIN.search(match["domain"])
            and local_part not in _NON_PERSONAL_ACCOUNTS
            and not local_part.endswith(("noreply", "no-reply"))
            and not _URL_BEFORE.search(text, max(0, start - 67), start)
            # a message ID in a link to a mail archive
            and text[max(0, start - 1) : start + 2].lower() != "%3c"
        ):
            yield TextSpan(start, match.end(), "e-mail")
    for match in _AT_IN_BRACKETS.finditer(text):
        yield from _match_written_out_address(text, match, allow_plain_dots=True)
    if any(dot in text for dot in _DOTS):
        for match in _AT_AS_A_WORD.finditer(text):
            yield from _match_written_out_address(text, match, allow_plain_dots=False)


def _match_written_out_address(
    text: str, at_match: re.Match[str], *, allow_plain_dots: bool
) -> Iterator[TextSpan]:
    """Yield the address around a written-out "at", if it is one.

    Args:
        allow_plain_dots: whether "bell.org" counts as a domain as well as "bell dot org".
    """
    domain = _WRITTEN_OUT_DOMAIN.match(text, at_match.end())
    if domain is None or not (allow_plain_dots or _DOT.search(domain[0])):
        return
    domain_name = _DOT.sub(".", domain[0]).lower()
    if domain_name.rpartition(".")[2] in _NON_DOMAIN_SUFFIXES or _RESERVED_DOMAIN.search(
        domain_name
    ):
        return
    preceding_text = text[max(0, at_match.start() - _MAX_CHARACTERS_BEFORE_AT) : at_match.start()]
    local_part = _LOCAL_PART_BEFORE.search(preceding_text)
    if local_part is None:
        return
    yield TextSpan(
        at_match.start() - (len(preceding_text) - local_part.start(1)), domain.end(), "e-mail"
    )
