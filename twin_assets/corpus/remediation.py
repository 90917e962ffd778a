"""Explain to the user what to do about an excluded post, by reason.

Scope: one sentence per reason. Out of scope: excluding posts (`importers`, `cleaning`), counting
such posts.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

from twin_assets.corpus.cleaning import MIN_WORDS
from twin_assets.corpus.importers import visibility_rules
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

_DUPLICATE_ADVICE = "nothing is lost: another post says the same and is kept"
_OPT_IN_ADVICE = "add --include {} if it is to be imported"

ADVICE_BY_REASON: Mapping[str, str] = {
    "not_utf8": "save it as UTF-8",
    "binary": "it is no text: save it as text, or take it out of the folder",
    "too_large": f"split it: a post has at most {MAX_POST_BYTES // 1_000_000} MB",
    "unreadable": "let this user read it (chmod u+r), then import again",
    "broken_front_matter": "mend the lines between the marks at its top, or the data file of "
    "its folder (11ty)",
    "not_its_format": "it is damaged, or not what its name says: save it again",
    "not_prose": "it holds no sentences (a list, a table, a log): nothing to do",
    "chat": "a talk of several people is not read: copy what the author says in it into a post",
    "mail": "mail is not read: copy what the author wrote in it into a post",
    "key_or_signature": "it is a key or a signature and no text: nothing to do",
    "template": "it waits to be filled in: it is no post",
    "empty": "write something below its title, or take it out of the folder",
    "no_text": "it has no prose of its own: nothing to do",
    "too_short": f"nothing to do: fewer than {MIN_WORDS} words teach no voice",
    "draft": _OPT_IN_ADVICE.format("drafts"),
    "private": _OPT_IN_ADVICE.format("private"),
    "followers": _OPT_IN_ADVICE.format("followers"),
    "paid": _OPT_IN_ADVICE.format("paid"),
    "reply": _OPT_IN_ADVICE.format("replies"),
    "not_published": "its front matter says that it is not published",
    "unlisted": "its front matter keeps it out of lists; take that line out to have it imported",
    "not_yet_published": "it comes by itself on the day that it names",
    "expired": "its front matter says that it has expired",
    "deleted_at_the_source": "it is not there any more",
    "duplicate": _DUPLICATE_ADVICE,
    "near_duplicate": _DUPLICATE_ADVICE,
    "foreign_byline": "somebody else signed it; if that is the author, name it in `aliases` of "
    "authors/<slug>.toml",
    "breaks_no_platform_boilerplate_left": "take the platform's menu or notice out of it",
    "breaks_no_foreign_byline": "somebody else seems to have signed it; if that is the author, "
    "name it in `aliases` of authors/<slug>.toml",
    "breaks_no_pii_left": "take the address, number or key out of it",
    "breaks_quotations_keep_their_mark": "somebody else's words in it would read as the author's: "
    "mark them with `>` at the beginning of their lines, with an empty line before and after",
}


def advice_for_reason(reason: str) -> str:
    """Return advice on posts excluded for `reason`, or "" if there is none."""
    if reason.startswith(visibility_rules.UNKNOWN_KEY_PREFIX):
        key = reason.removeprefix(visibility_rules.UNKNOWN_KEY_PREFIX)
        return (
            f"its front matter has a key that reads so ({key}); take it out, or add "
            "`published: true`"
        )
    return ADVICE_BY_REASON.get(reason, "")
