"""Explain to the user what to do about an excluded post, by reason.

Scope: one sentence per reason. Out of scope: excluding posts (`importers`, `cleaning`), and
counting them.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

from twin_assets.corpus.cleaning_verdicts import MIN_WORDS
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

_DUPLICATE_ADVICE = "nothing is lost: a post with the same or nearly the same text is kept"
_OPT_IN_ADVICE = "add --include {} to import it"

ADVICE_BY_REASON: Mapping[str, str] = {
    "not_utf8": "save it as UTF-8",
    "binary": "it is not text: save it as text, or remove it from the folder",
    "too_large": f"split it: a post can have at most {MAX_POST_BYTES // 1_000_000} MB",
    "unreadable": "grant this user read permission (chmod u+r), then import again",
    "broken_front_matter": "correct its front matter, or its folder's data file (11ty)",
    "not_its_format": "it is damaged, or its format does not match its suffix: save it again",
    "words_changed": "its conversion would lose or change words: save it as Markdown or HTML",
    "not_prose": "it contains no sentences (only a list, a table or a log): nothing to do",
    "chat": "conversations between several people are not imported: copy "
    "the author's words into a post",
    "mail": "e-mail is not imported: copy the author's words into a post",
    "key_or_signature": "it is a key or a signature, not text: nothing to do",
    "template": "it is an unfilled template, not a post: nothing to do",
    "empty": "write something below its title, or remove it from the folder",
    "no_text": "it has no prose of its own: nothing to do",
    "only_boilerplate": "all of it but a few words stands in many other posts: nothing to do",
    "too_short": f"it has fewer than {MIN_WORDS} words, too few to show a voice: nothing to do",
    "draft": _OPT_IN_ADVICE.format("drafts"),
    "private": _OPT_IN_ADVICE.format("private"),
    "followers": _OPT_IN_ADVICE.format("followers"),
    "paid": _OPT_IN_ADVICE.format("paid"),
    "reply": _OPT_IN_ADVICE.format("replies"),
    "not_published": "its front matter says that it is not published",
    "unlisted": "its front matter excludes it from lists; remove that line to import it",
    "not_yet_published": "it is imported automatically on its publication date",
    "expired": "its front matter says that it has expired",
    "deleted_at_the_source": "it no longer exists at the source",
    "duplicate": _DUPLICATE_ADVICE,
    "near_duplicate": _DUPLICATE_ADVICE,
    "list_of_posts": "nothing is lost: the paragraphs that it lists are those of other posts",
    "foreign_byline": "somebody else signed it; if that name is the author's, add it to `aliases` "
    "in authors/<slug>.toml",
    "co_signed": "somebody else signed it too; if the words are the author's all the same, add "
    '"co-signed" to `aliases` in authors/<slug>.toml',
    "unsigned_among_others": "nobody signed it, and others write in its source too; if the author "
    'wrote it, add "unsigned" to `aliases` in authors/<slug>.toml',
    "breaks_no_platform_boilerplate_left": "remove the platform's menu or notice from it",
    "breaks_no_foreign_byline": "somebody else seems to have signed it; if that name is the "
    "author's, add it to `aliases` in authors/<slug>.toml",
    "breaks_no_words_lost": "its text could not be read whole from the page: save it as Markdown",
    "breaks_quotations_keep_their_mark": "somebody else's words in it are not marked as quoted: "
    "begin each of their lines with `>`, and leave an empty line before and after them",
}


def find_advice(reason: str) -> str:
    """Return the advice for posts excluded for `reason`, or "" if there is none."""
    return ADVICE_BY_REASON.get(reason, "")
