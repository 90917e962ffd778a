"""Decide whether a post's fields hide it from readers.

Scope: the meaning of each field's value, in front matter, metadata and `<meta>` of every format.
Out of scope: parsing these fields (`front_matter`), future dates (`posts`), and platforms' exports,
which have different fields (their importers).

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

UNKNOWN_KEY_PREFIX = "held_back_by_"
"""Prefix of the reason for a key that resembles one in the table; the key's words follow."""

_TRUE_WORDS = frozenset(
    {"true", "yes", "y", "t", "on", "1", "si", "sí", "oui", "ja", "sim", "да", "是"}
    | {"✅", "✓", "✔", "☑", "[x]", "checked"}
)
_FALSE_WORDS = frozenset(
    {"false", "no", "n", "nil", "off", "0", "non", "nein", "não", "нет", "否", "never"}
    | {"❌", "✗", "✘", "☐", "[ ]", "unchecked"}
)


@dataclass(frozen=True)
class _Rule:
    """The meaning of a field: `reason` applies if the value matches `applies_when`."""

    reason: str
    applies_when: str = "yes"  # or "no", "set"


_RULES: Mapping[str, _Rule] = {
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
"""Rules by key in lower case, without `-`, `_` and spaces."""

_STATUS_KEYS = frozenset(
    {"status", "state", "visibility", "access", "audience", "publishstatus", "poststatus"}
    | {"publicationstatus", "publishstate", "stage", "privacy", "contentstatus"}
    | {"estado", "statut", "stato", "статус", "状态", "상태"}
)
_STATUS_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
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

# A key outside the table resembles a known key if one of its words is listed here and the others
# are neutral (`keep_private`, `draft-post`). `hideToc` and `private_comments` concern only parts of
# a post.
_HIDING_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("draft", "drafts", "drafted", "wip", "unpublished", "unreleased"), "yes"),
    **dict.fromkeys(("private", "privately", "secret", "confidential", "hidden", "hide"), "yes"),
    **dict.fromkeys(("unlisted", "embargo", "embargoed", "invisible", "noshow"), "yes"),
    **dict.fromkeys(("published", "publish", "public", "listed", "visible", "released"), "no"),
}
_NEUTRAL_WORDS = frozenset(
    {"is", "this", "the", "for", "from", "only", "keep", "mark", "marked", "set", "post", "page"}
    | {"article", "note", "entry", "blog", "site", "flag", "all", "everyone", "readers", "public"}
    | {"still", "yet", "now", "please", "content", "item", "status", "be", "my", "to", "dg"}
)
_NEGATIONS = frozenset({"not", "dont", "never", "isnt", "no", "do"})
_VOCABULARY = sorted(
    (
        word
        for word in {*_HIDING_WORDS, *_NEUTRAL_WORDS, *_NEGATIONS}
        if len(word) > 2 or word in {"is", "no"}
    ),
    key=len,
    reverse=True,
)
# Keys are in lower case, so `isPrivatePost` is split into words of the vocabulary. The shortest
# words are excluded, because `hideMeta` would otherwise match too.
_JOINED_WORDS = re.compile(rf"(?:{'|'.join(_VOCABULARY)})+")
_WORD = re.compile("|".join(_VOCABULARY))
_WORD_SEPARATORS = re.compile(r"[\s_.-]+")
_STRICTEST_FIRST = (
    *("private", "followers", "paid", "not_published", "expired", "unlisted", "draft"),
)
# Tables whose members are the post's fields, such as Zola's `[extra]` and Hugo's `[params]`.
_NESTED_TABLES = (
    *("extra", "params", "meta", "metadata", "page", "post", "publication", "publishing"),
)
_FIELD_LINE = re.compile(
    r"[ \t]*(?:[-*>][ \t]+)?[\"']?([^\W\d_][\w-]{1,30}(?:[ ][\w-]{1,30}){0,2})[\"']?"
    r"[ \t]*(?:[:：]:?|=)(.*)"
)
_BLOCK_PROPERTY = re.compile(r"[ \t]+[\w-]+::")
_BOLD = re.compile(r"\*\*|__|[*`]")
_TABLE_ROW = re.compile(r"\s*\|([^|]+)\|([^|]+)\|\s*")
_MAX_STATUS_CHARACTERS = 200
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")  # `#draft`, `📝 Draft`
_KEY_SEPARATORS = re.compile(r"[\s_-]+")


def find_hidden_reason(*heads: Mapping[str, Any]) -> str:
    """Return why a post's own fields hide it from readers, or "" if none does.

    The reasons are `draft`, `private`, `followers`, `paid`, `unlisted`, `not_published`, `expired`,
    and `held_back_by_…` with an unknown key's name. The strictest reason applies: a private draft
    is private, so an opt-in to drafts does not include it.

    Args:
        heads: sets of fields that may hide the post: front matter, and the format's metadata.
    """
    reasons = {_find_fields_reason(fields) for fields in heads}
    known_reasons = (reason for reason in _STRICTEST_FIRST if reason in reasons)
    return next(known_reasons, "") or next(filter(None, sorted(reasons)), "")


def _find_fields_reason(fields: Mapping[str, Any]) -> str:
    nested_tables = (fields.get(name) for name in _NESTED_TABLES)
    tables = (cast("dict[Any, Any]", table) for table in nested_tables if isinstance(table, dict))
    reasons = {reason for table in (fields, *tables) for reason in _find_known_reasons(table)}
    if known_reason := next((reason for reason in _STRICTEST_FIRST if reason in reasons), ""):
        return known_reason
    is_declared_public = any(
        (rule := _RULES.get(normalize_key(str(key))))
        and rule.applies_when == "no"
        and _parse_boolean(value) is True
        for key, value in fields.items()
    )
    if is_declared_public:
        return ""
    unknown_reasons = (_find_unknown_key_reason(name, value) for name, value in fields.items())
    return next(filter(None, unknown_reasons), "")


def parse_hiding_line(line: str) -> tuple[str, str] | None:
    """Return the key and value of a line (`key: value`, `key = value`) that would hide a post.

    This is for blocks that cannot be parsed. `password: …` in prose does not count, and neither
    does a single task's state in an outline (an indented `status:: in progress`).
    """
    row = _TABLE_ROW.fullmatch(line)
    plain_line = _BOLD.sub("", f"{row[1].strip()}:{row[2]}" if row else line).strip()
    match = _FIELD_LINE.fullmatch(plain_line)
    if match is None or _RULES.get(normalize_key(match[1]), _Rule("", "")).applies_when == "set":
        return None
    value = match[2].strip().rstrip(",").strip().strip("\"'")
    is_hiding = any(_find_known_reasons({match[1]: value}))
    if _BLOCK_PROPERTY.match(line) and normalize_key(match[1]) in _STATUS_KEYS:
        return None
    if row:  # a table row may merely explain the word
        is_hiding = is_hiding and (
            normalize_key(match[1]) in _STATUS_KEYS or _parse_boolean(value) is not None
        )
    return (match[1].lower(), value) if is_hiding else None


@lru_cache(maxsize=4096)
def normalize_key(key: str) -> str:
    """Normalize a key's spelling, so that `Is_Draft`, `is-draft` and `isDraft` become equal."""
    return _KEY_SEPARATORS.sub("", key).lower()


def _find_known_reasons(fields: Mapping[Any, Any]) -> list[str]:
    reasons: list[str] = []
    for name, value in fields.items():
        key = normalize_key(str(name))
        if key in _STATUS_KEYS:
            reasons.append(_find_status_reason(value))
        elif (rule := _RULES.get(key)) is not None:
            reasons.append(_apply_rule(rule, value))
        elif key == "permalink" and value is False:  # 11ty generates no page
            reasons.append("not_published")
        elif key in {"build", "_build"} and isinstance(value, dict):
            build = cast("dict[str, Any]", value)
            if build.get("render") in ("never", False):
                reasons.append("not_published")
            elif build.get("list") in ("never", False):
                reasons.append("unlisted")
    return reasons


def _apply_rule(rule: _Rule, value: object) -> str:
    if rule.applies_when == "set":
        is_set = value not in (None, "", False) and _parse_boolean(value) is not False
        return rule.reason if is_set else ""
    flag = _parse_boolean(value)
    if flag is not None:
        return rule.reason if flag is (rule.applies_when == "yes") else ""
    if not isinstance(value, str) or not value.strip():
        return ""  # `published: 2019-01-01` is a date, `hide: [toc]` a list of the page's parts
    if rule.applies_when == "yes" and rule.reason in {"draft", "private"}:
        return rule.reason  # `draft: until June` is not public either
    return _find_status_reason(value)


def _find_status_reason(value: object) -> str:
    if isinstance(value, dict):
        return next(filter(None, _find_known_reasons(cast("dict[str, Any]", value))), "")
    if isinstance(value, list):
        reasons = [_find_status_reason(item) for item in cast("list[object]", value)]
        return next(filter(None, reasons), "")
    text = _EDGES.sub("", value[:_MAX_STATUS_CHARACTERS]) if isinstance(value, str) else ""
    return next((reason for reason, pattern in _STATUS_PATTERNS if pattern.match(text)), "")


def _find_unknown_key_reason(name: str, value: object) -> str:
    reason, hiding_value = _match_similar_key(name)
    return reason if reason and _parse_boolean(value) is hiding_value else ""


@lru_cache(maxsize=4096)
def _match_similar_key(name: str) -> tuple[str, bool]:
    """Return the reason for a key like those in the table, and the value that hides a post."""
    key = normalize_key(name)
    if key in _RULES or key in _STATUS_KEYS:
        return "", True
    words = [word for word in _WORD_SEPARATORS.split(name.lower()) if word]
    if len(words) == 1:
        words = _WORD.findall(key) if _JOINED_WORDS.fullmatch(key) else []
    # In "hide from public", the first hiding word is the action, and the others are its object.
    effects = [_HIDING_WORDS[word] for word in words if word in _HIDING_WORDS]
    is_known = all(
        word in _HIDING_WORDS or word in _NEUTRAL_WORDS or word in _NEGATIONS for word in words
    )
    if not effects or not is_known:
        return "", True
    is_negated = any(word in _NEGATIONS for word in words)
    return UNKNOWN_KEY_PREFIX + "_".join(words)[:40], (effects[0] == "yes") is not is_negated


def _parse_boolean(value: object) -> bool | None:
    """Return the boolean that a value spells, or None for any other value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {0: False, 1: True}.get(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else None
