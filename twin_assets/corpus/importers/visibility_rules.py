"""Decide what holds a post back, from the fields by which authors keep a post from readers.

Scope: the meaning of each field's value, in front matter, metadata and `<meta>` of every format.
Out of scope: parsing those (`front_matter`), future dates (`publication`), platforms'
exports, which have fields of their own (their importers).

Fields: https://jekyllrb.com/docs/front-matter/ (`published`),
https://gohugo.io/content-management/front-matter/ (`draft`, `headless`),
https://docs.getpelican.com/en/latest/content.html#file-metadata (`status`),
https://docusaurus.io/docs/api/plugins/@docusaurus/plugin-content-blog (`draft`, `unlisted`),
https://www.11ty.dev/docs/collections/ (`eleventyExcludeFromCollections`),
https://help.obsidian.md/publish/publish (`publish`),
https://zenn.dev/zenn/articles/zenn-cli-guide (`published`),
https://github.com/increments/qiita-cli (`private`, `ignorePublish`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

UNKNOWN = "held_back_by_"
"""Prefix of the reason for a key that resembles one in the table; the key's words follow."""

_YES = frozenset(
    {"true", "yes", "y", "t", "on", "1", "si", "sí", "oui", "ja", "sim", "да", "是"}
    | {"✅", "✓", "✔", "☑", "[x]", "checked"}
)
_NO = frozenset(
    {"false", "no", "n", "nil", "off", "0", "non", "nein", "não", "нет", "否", "never"}
    | {"❌", "✗", "✘", "☐", "[ ]", "unchecked"}
)


@dataclass(frozen=True)
class _Rule:
    """The meaning of a field: `reason` applies if its value is yes, is no, or is set (`when`)."""

    reason: str
    when: str = "yes"  # yes, no, set


_TABLE: Mapping[str, _Rule] = {
    **dict.fromkeys(("draft", "drafts", "isdraft", "wip", "unpublished"), _Rule("draft")),
    **dict.fromkeys(("saveasdraft", "ignorepublish", "unfinished"), _Rule("draft")),
    **dict.fromkeys(("entwurf", "brouillon", "borrador", "rascunho", "bozza"), _Rule("draft")),
    **dict.fromkeys(("черновик", "草稿", "下書き"), _Rule("draft")),
    **dict.fromkeys(("published", "publish", "ispublished", "dgpublish"), _Rule("draft", "no")),
    **dict.fromkeys(("private", "isprivate", "secret", "confidential"), _Rule("private")),
    **dict.fromkeys(("protected", "encrypted", "encrypt"), _Rule("private")),
    **dict.fromkeys(("public", "ispublic", "visible", "isvisible"), _Rule("private", "no")),
    **dict.fromkeys(("password", "passwd", "passphrase"), _Rule("private", "set")),
    **dict.fromkeys(("hidden", "ishidden", "hide", "unlisted", "isunlisted"), _Rule("unlisted")),
    **dict.fromkeys(("eleventyexcludefromcollections",), _Rule("unlisted")),
    **dict.fromkeys(("listed", "islisted"), _Rule("unlisted", "no")),
    **dict.fromkeys(("headless",), _Rule("not_published")),
    **dict.fromkeys(("expired",), _Rule("expired")),
}
"""Key in lower case, without `-`, `_` and spaces → its rule."""

_STATUS_KEYS = frozenset(
    {"status", "state", "visibility", "access", "audience", "publishstatus", "poststatus"}
    | {"publicationstatus", "publishstate", "stage", "privacy", "contentstatus"}
    | {"estado", "statut", "stato", "статус", "状态", "상태"}
)
_STATUS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(rf"(?:{words})(?:$|[^\w'’].*)", re.IGNORECASE))  # "Draft (v2)"
    for reason, words in (
        (
            "draft",
            r"(?:drafts?|wip|work[ _-]in[ _-]progress|in[ _-]?progress|unpublished|pending"
            r"|unfinished|not[ _-](?:yet[ _-])?published|not[ _-](?:yet[ _-])?started"
            r"|to[ _-]?do|backlog|review|in[ _-]review|idea|trash(?:ed)?"
            r"|deleted|skip|future|scheduled|auto-draft|entwurf|brouillon|borrador|rascunho|bozza|concept|szkic"
            r"|черновик|草稿|下書き|초안)",
        ),
        (
            "private",
            r"(?:private|privat|privado|privé|privato|secret|personal|confidential|internal|me"
            r"|only[ _-]me|nobody|protected|password|friends|family|team|restricted|приватно|私有)",
        ),
        ("followers", r"followers(?:[ _-]only)?|contacts|mutuals"),
        (
            "paid",
            r"(?:paid|members?(?:[ _-]only)?|subscribers?(?:[ _-]only)?|tiers|premium|patrons)",
        ),
        ("unlisted", r"(?:hidden|unlisted|not[ _-]listed)"),
    )
)

# A key outside the table resembles one if one of its words is listed here and the others are
# neutral (`keep_private`, `draft-post`); `hideToc` and `private_comments` are about parts of a
# post.
_LIKE_YES: Mapping[str, str] = {
    **dict.fromkeys(("draft", "drafts", "drafted", "wip", "unpublished", "unreleased"), "yes"),
    **dict.fromkeys(("private", "privately", "secret", "confidential", "hidden", "hide"), "yes"),
    **dict.fromkeys(("unlisted", "embargo", "embargoed", "invisible", "noshow"), "yes"),
    **dict.fromkeys(("published", "publish", "public", "listed", "visible", "released"), "no"),
}
_NEUTRAL = frozenset(
    {"is", "this", "the", "for", "from", "only", "keep", "mark", "marked", "set", "post", "page"}
    | {"article", "note", "entry", "blog", "site", "flag", "all", "everyone", "readers", "public"}
    | {"still", "yet", "now", "please", "content", "item", "status", "be", "my", "to", "dg"}
)
_NOT = frozenset({"not", "dont", "never", "isnt", "no", "do"})
_VOCABULARY = sorted(
    (word for word in {*_LIKE_YES, *_NEUTRAL, *_NOT} if len(word) > 2 or word in {"is", "no"}),
    key=len,
    reverse=True,
)
# Keys are in lower case, so `isPrivatePost` is split into words of the vocabulary. The shortest
# words are left out: with them, `hideMeta` would match too.
_JOINED = re.compile(rf"(?:{'|'.join(_VOCABULARY)})+")
_WORD = re.compile("|".join(_VOCABULARY))
_SEPARATED = re.compile(r"[\s_.-]+")
_STRICTEST_FIRST = (
    *("private", "followers", "paid", "not_published", "expired", "unlisted", "draft"),
)
# Tables whose members are the post's own fields, such as Zola's `[extra]` and Hugo's `[params]`.
_WITHIN = ("extra", "params", "meta", "metadata", "page", "post", "publication", "publishing")
_LINE = re.compile(
    r"[ \t]*(?:[-*>][ \t]+)?[\"']?([^\W\d_][\w-]{1,30}(?:[ ][\w-]{1,30}){0,2})[\"']?"
    r"[ \t]*(?:[:：]:?|=)(.*)"
)
_OF_A_BLOCK = re.compile(r"[ \t]+[\w-]+::")
_BOLD = re.compile(r"\*\*|__|[*`]")
_ROW = re.compile(r"\s*\|([^|]+)\|([^|]+)\|\s*")  # a table row
_LONGEST = 200
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")  # `#draft`, `📝 Draft`
_SQUEEZED = re.compile(r"[\s_-]+")


def why_held_back(*heads: Mapping[str, Any]) -> str:
    """Return why a post's own fields keep it from readers, or "" if nothing does.

    The reasons are `draft`, `private`, `followers`, `paid`, `unlisted`, `not_published`, `expired`,
    and `held_back_by_…` with an unknown key's name. The strictest wins: a private draft is private,
    so that asking for drafts does not include it.

    Args:
        heads: each set of fields that may hold it back: front matter, the format's own metadata.
    """
    reasons = {_of_head(fields) for fields in heads}
    known = (one for one in _STRICTEST_FIRST if one in reasons)
    return next(known, "") or next(filter(None, sorted(reasons)), "")


def _of_head(fields: Mapping[str, Any]) -> str:
    reasons = {reason for reason in _known(fields) if reason}
    for name in _WITHIN:
        inner = fields.get(name)
        if isinstance(inner, dict):
            reasons |= {one for one in _known(cast("dict[Any, Any]", inner)) if one}
    for reason in _STRICTEST_FIRST:
        if reason in reasons:
            return reason
    said_public = any(
        (rule := _TABLE.get(squeezed(str(key)))) and rule.when == "no" and _truth(value) is True
        for key, value in fields.items()
    )
    if said_public:
        return ""
    return next((reason for name, value in fields.items() if (reason := _unknown(name, value))), "")


def held_back_line(line: str) -> tuple[str, str] | None:
    """Return the key and value of a line (`key: value`, `key = value`) that would hold a post back.

    This is for blocks that cannot be parsed. `password: …` in prose does not count, nor does the
    state of one task in an outline (an indented `status:: in progress`).
    """
    row = _ROW.fullmatch(line)
    plain = _BOLD.sub("", f"{row[1].strip()}:{row[2]}" if row else line).strip()
    match = _LINE.fullmatch(plain)
    if match is None or _TABLE.get(squeezed(match[1]), _Rule("", "")).when == "set":
        return None
    value = match[2].strip().rstrip(",").strip().strip("\"'")
    is_held = any(_known({match[1]: value}))
    if _OF_A_BLOCK.match(line) and squeezed(match[1]) in _STATUS_KEYS:
        return None
    if row:  # a row may merely explain the word
        is_held = is_held and (squeezed(match[1]) in _STATUS_KEYS or _truth(value) is not None)
    return (match[1].lower(), value) if is_held else None


@lru_cache(maxsize=4096)
def squeezed(key: str) -> str:
    """Return a key in the table's form: `Is_Draft`, `is-draft` and `isDraft` become equal."""
    return _SQUEEZED.sub("", key).lower()


def _known(fields: Mapping[Any, Any]) -> list[str]:
    reasons: list[str] = []
    for name, value in fields.items():
        key = squeezed(str(name))
        if key in _STATUS_KEYS:
            reasons.append(_of_status(value))
        elif (rule := _TABLE.get(key)) is not None:
            reasons.append(_of_rule(rule, value))
        elif key == "permalink" and value is False:  # 11ty writes no page
            reasons.append("not_published")
        elif key in {"build", "_build"} and isinstance(value, dict):
            build = cast("dict[str, Any]", value)
            if build.get("render") in ("never", False):
                reasons.append("not_published")
            elif build.get("list") in ("never", False):
                reasons.append("unlisted")
    return reasons


def _of_rule(rule: _Rule, value: object) -> str:
    if rule.when == "set":
        is_set = value not in (None, "", False) and _truth(value) is not False
        return rule.reason if is_set else ""
    truth = _truth(value)
    if truth is not None:
        return rule.reason if truth is (rule.when == "yes") else ""
    if not isinstance(value, str) or not value.strip():
        return ""  # `published: 2019-01-01` is a date, `hide: [toc]` a list of the page's parts
    if rule.when == "yes" and rule.reason in {"draft", "private"}:
        return rule.reason  # `draft: until June` is not public either
    return _of_status(value)


def _of_status(value: object) -> str:
    if isinstance(value, dict):
        return next(filter(None, _known(cast("dict[str, Any]", value))), "")
    if isinstance(value, list):
        reasons = [_of_status(one) for one in cast("list[object]", value)]
        return next(filter(None, reasons), "")
    text = _EDGES.sub("", value[:_LONGEST]) if isinstance(value, str) else ""
    return next((reason for reason, words in _STATUS if words.match(text)), "")


def _unknown(name: str, value: object) -> str:
    reason, held_when = _likeness(name)
    return reason if reason and _truth(value) is held_when else ""


@lru_cache(maxsize=4096)
def _likeness(name: str) -> tuple[str, bool]:
    """Return the reason for a key like one in the table, and the value that holds a post back."""
    key = squeezed(name)
    if key in _TABLE or key in _STATUS_KEYS:
        return "", True
    words = [word for word in _SEPARATED.split(name.lower()) if word]
    if len(words) == 1:
        words = _WORD.findall(key) if _JOINED.fullmatch(key) else []
    # In "hide from public" the first such word is the action, the others its object.
    like = [_LIKE_YES[word] for word in words if word in _LIKE_YES]
    known = all(word in _LIKE_YES or word in _NEUTRAL or word in _NOT for word in words)
    if not like or not known:
        return "", True
    denied = any(word in _NOT for word in words)
    return UNKNOWN + "_".join(words)[:40], (like[0] == "yes") is not denied


def _truth(value: object) -> bool | None:
    """Return True or False for any of their spellings, and None for another value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {0: False, 1: True}.get(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None
