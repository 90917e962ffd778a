"""Which fields of a post hide it from readers, in front matter, metadata and `<meta>` elements.

Fields: https://jekyllrb.com/docs/front-matter/ (`published`),
https://gohugo.io/content-management/front-matter/ (`draft`, `headless`),
https://docs.getpelican.com/en/latest/content.html#file-metadata (`status`),
https://docusaurus.io/docs/api/plugins/@docusaurus/plugin-content-blog (`draft`, `unlisted`),
https://www.11ty.dev/docs/collections/ (`eleventyExcludeFromCollections`),
https://help.obsidian.md/publish/publish (`publish`),
https://www.getzola.org/documentation/content/page/ (`render`),
https://zenn.dev/zenn/articles/zenn-cli-guide (`published`),
https://github.com/increments/qiita-cli (`private`, `ignorePublish`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

_TRUE_WORDS = frozenset(
    {"true", "yes", "y", "t", "on", "1", "si", "sí", "oui", "ja", "sim", "да", "是"}
    | {"✅", "✓", "✔", "☑", "[x]", "checked"}
)
_FALSE_WORDS = frozenset(
    {"false", "no", "n", "nil", "off", "0", "non", "nein", "não", "нет", "否", "never"}
    | {"❌", "✗", "✘", "☐", "[ ]", "unchecked"}
)

# A key hides a post if one of its words stands here and the others are neutral: `draft`, `isDraft`,
# `keep_private`, `dg-publish`. `hideToc` and `private_comments` concern only parts of a post.
# The value that hides it follows the reason.
_HIDING_WORDS: Mapping[str, tuple[str, bool]] = {
    **dict.fromkeys(("draft", "drafts", "drafted", "wip", "unpublished"), ("draft", True)),
    **dict.fromkeys(("unreleased", "unfinished", "embargoed"), ("draft", True)),
    **dict.fromkeys(("entwurf", "brouillon", "borrador", "rascunho", "bozza"), ("draft", True)),
    **dict.fromkeys(("черновик", "草稿", "下書き"), ("draft", True)),
    **dict.fromkeys(("published", "publish", "released"), ("draft", False)),
    **dict.fromkeys(("private", "privately", "secret", "confidential"), ("private", True)),
    **dict.fromkeys(("protected", "encrypted", "encrypt"), ("private", True)),
    **dict.fromkeys(("public", "visible"), ("private", False)),
    **dict.fromkeys(("hidden", "hide", "unlisted", "invisible", "noshow"), ("unlisted", True)),
    **dict.fromkeys(("eleventyexcludefromcollections",), ("unlisted", True)),
    **dict.fromkeys(("listed",), ("unlisted", False)),
    **dict.fromkeys(("headless", "embargo"), ("not_published", True)),
    **dict.fromkeys(("expired",), ("expired", True)),
}
_NEUTRAL_WORDS = frozenset(
    {"is", "this", "the", "for", "from", "only", "keep", "mark", "marked", "set", "post", "page"}
    | {"article", "note", "entry", "blog", "site", "flag", "all", "everyone", "readers", "public"}
    | {"still", "yet", "now", "please", "content", "item", "status", "be", "my", "to", "dg"}
    | {"save", "as"}
)
_NEGATIONS = frozenset({"not", "dont", "never", "isnt", "no", "do", "ignore"})
_VOCABULARY = frozenset({*_HIDING_WORDS, *_NEUTRAL_WORDS, *_NEGATIONS})
# Keys without separators are split too: `isprivatepost`. Most words of two letters are excluded,
# because `hideMeta` would otherwise match.
_JOINED_WORD = re.compile(
    "|".join(
        sorted(
            (word for word in _VOCABULARY if len(word) > 2 or word in {"is", "no", "dg", "as"}),
            key=len,
            reverse=True,
        )
    )
)
_SECRET_KEYS = frozenset({"password", "passwd", "passphrase"})
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
_STRICTEST_FIRST = (
    *("private", "followers", "paid", "not_published", "expired", "unlisted", "draft"),
)
# Tables whose members are the post's fields, such as Zola's `[extra]` and Hugo's `[params]`.
NESTED_TABLES = (
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
_WORD_SEPARATORS = re.compile(r"[\s_.-]+")


def find_hidden_reason(*heads: Mapping[str, Any]) -> str:
    """Return why a post's own fields hide it from readers, or "" if none does.

    The reasons are `draft`, `private`, `followers`, `paid`, `unlisted`, `not_published` and
    `expired`. The strictest applies: a private draft is private, so an opt-in to drafts does not
    include it.

    Args:
        heads: sets of fields that may hide the post: front matter, and the format's metadata.
    """
    reasons: set[str] = set()
    for fields in heads:
        tables = (fields.get(name) for name in NESTED_TABLES)
        nested = (cast("dict[Any, Any]", table) for table in tables if isinstance(table, dict))
        for table in (fields, *nested):
            reasons.update(_list_reasons(table))
    return next((reason for reason in _STRICTEST_FIRST if reason in reasons), "")


def parse_hiding_line(line: str) -> tuple[str, str] | None:
    """Return the key and value of a line (`key: value`, `key = value`) that would hide a post.

    This is for blocks that cannot be parsed. `password: …` in prose does not count, and neither
    does a single task's state in an outline (an indented `status:: in progress`).
    """
    row = _TABLE_ROW.fullmatch(line)
    plain_line = _BOLD.sub("", f"{row[1].strip()}:{row[2]}" if row else line).strip()
    match = _FIELD_LINE.fullmatch(plain_line)
    key = normalize_key(match[1]) if match else ""
    if match is None or key in _SECRET_KEYS:
        return None
    value = match[2].strip().rstrip(",").strip().strip("\"'")
    is_hiding = any(_list_reasons({match[1]: value}))
    if key in _STATUS_KEYS:
        is_hiding = is_hiding and not _BLOCK_PROPERTY.match(line)
    elif row:  # a table row may merely explain the word
        is_hiding = is_hiding and _parse_boolean(value) is not None
    return (match[1].lower(), value) if is_hiding else None


@lru_cache(maxsize=4096)
def normalize_key(key: str) -> str:
    """Normalize a key's spelling, so that `Is_Draft`, `is-draft` and `isDraft` become equal."""
    return _KEY_SEPARATORS.sub("", key).lower()


def _list_reasons(fields: Mapping[Any, Any]) -> list[str]:
    reasons: list[str] = []
    for name, value in fields.items():
        key = normalize_key(str(name))
        reason, hiding_value, is_alone = _split_key(str(name))
        flag = _parse_boolean(value)
        if key in _STATUS_KEYS:
            reasons.append(_find_status_reason(value))
        elif key in _SECRET_KEYS:
            reasons.append(
                "private" if value not in (None, "", False) and flag is not False else ""
            )
        elif key in {"permalink", "render"} and value is False:  # 11ty and Zola generate no page
            reasons.append("not_published")
        elif key in {"build", "_build"} and isinstance(value, dict):
            build = cast("dict[str, Any]", value)
            if build.get("render") in ("never", False):
                reasons.append("not_published")
            elif build.get("list") in ("never", False):
                reasons.append("unlisted")
        elif reason and flag is not None:
            reasons.append(reason if flag is hiding_value else "")
        elif is_alone and isinstance(value, str) and value.strip():
            # `draft: until June` is not public either, but `published: 2019-01-01` is a date and
            # `hide: [toc]` a list of the page's parts.
            is_told = hiding_value and reason in {"draft", "private"}
            reasons.append(reason if is_told else _find_status_reason(value))
    return [reason for reason in reasons if reason]


@lru_cache(maxsize=4096)
def _split_key(name: str) -> tuple[str, bool, bool]:
    """Return the reason of a hiding key, the value that hides, and whether it is one word.

    In "hide from public" the first hiding word is the action, and the others are its object.
    """
    words = [word for word in _WORD_SEPARATORS.split(name.lower()) if word]
    if len(words) == 1 and words[0] not in _VOCABULARY:
        parts = _JOINED_WORD.findall(words[0])
        words = parts if "".join(parts) == words[0] else []
    hiding = [word for word in words if word in _HIDING_WORDS]
    if not hiding or not all(word in _VOCABULARY for word in words):
        return "", True, False
    reason, hiding_value = _HIDING_WORDS[hiding[0]]
    is_negated = not _NEGATIONS.isdisjoint(words)
    is_alone = len(set(words) - {"is", "dg", "save", "as", "ignore"}) == 1
    return reason, hiding_value is not is_negated, is_alone


def _find_status_reason(value: object) -> str:
    if isinstance(value, dict):
        return next(iter(_list_reasons(cast("dict[str, Any]", value))), "")
    if isinstance(value, list):
        reasons = [_find_status_reason(item) for item in cast("list[object]", value)]
        return next(filter(None, reasons), "")
    text = _EDGES.sub("", value[:_MAX_STATUS_CHARACTERS]) if isinstance(value, str) else ""
    return next((reason for reason, pattern in _STATUS_PATTERNS if pattern.match(text)), "")


def _parse_boolean(value: object) -> bool | None:
    """Return the boolean that a value spells, or None for any other value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {0: False, 1: True}.get(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else None
