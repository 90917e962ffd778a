"""Read the data archive that X (Twitter) makes: posts, long posts, threads.

Scope: `data/tweets*.js`, `data/note-tweet.js`, and the account fields that they need.
Out of scope: messages, likes, followers, ads: those files are never opened.

Format: each file is a script that assigns a JSON list, `window.YTD.tweets.part0 = [ … ]`; it is
never evaluated. `tweets.js` cuts a long post at 280 characters and names no note; `note-tweet.js`
has the whole text and names no post, so the two are joined by the second of their creation.
https://help.x.com/en/managing-your-account/how-to-download-your-x-archive (README.txt within).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.importer import Importer, RefusedExport
from twin_assets.corpus.importers.json_rows import objects, string, strings
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.importers.threads import first_of_thread
from twin_assets.corpus.importers.x_text import (
    VisiblePost,
    as_typed,
    join_long_posts,
    moment,
    unescaped,
    without_mentions,
)

NAME = "x"

_POSTS = r"tweets?(?:-part\d+)?\.js"
_SCRIPT = re.compile(rb"\A\W*window\.YTD\.tweets?\.part\d+\s*=")
_NEVER = {
    r"deleted-tweets?(?:-part\d+)?\.js": "deleted",
    r"community-tweet(?:-part\d+)?\.js": "community",
    r"twitter-circle-tweet(?:-part\d+)?\.js": "circle",
}
"""Posts that were not public, or no longer exist: they are counted, not read."""


@dataclass(frozen=True)
class _Account:
    number: str = ""
    handle: str = ""
    name: str = ""
    visibility: str = "public"


@dataclass(frozen=True)
class _Post:
    """One post. `shown` is its text up to the cut; `versions` are its edits, oldest first."""

    number: str
    text: str
    shown: VisiblePost
    answers: str
    answers_somebody: bool
    language: str
    tags: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def created_at(self) -> datetime | None:
        return self.shown.created_at


def recognises(archive: Archive) -> bool:
    """Return whether a member assigns posts to `window.YTD`."""
    return bool(_scripts(archive))


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportRecord | Skipped]:
    """Yield posts and joined threads; `include` may hold `replies` and `followers` (protected)."""
    account = _account(archive)
    for pattern, reason in _NEVER.items():
        for where, row in _rows(archive, archive.matching(rf"data/{pattern}")):
            yield row if isinstance(row, Skipped) else Skipped(where, reason)
    posts: dict[str, _Post] = {}
    for where, row in _rows(archive, _scripts(archive)):
        post = row if isinstance(row, Skipped) else _post(row, account, where=where)
        if isinstance(post, Skipped):
            yield post
        elif post.number in posts:
            yield Skipped(post.number, "duplicate")
        else:
            posts[post.number] = post
    posts = yield from _with_long_texts(archive, posts)
    posts = yield from _latest_versions(posts)
    yield from _records(posts, account, include)


def _scripts(archive: Archive) -> list[str]:
    return [
        name
        for name in archive.candidates(_POSTS)[:1000]
        if _SCRIPT.match(archive.head(name, count=400))
        # A damaged part counts if its path is right: `read` then reports what is wrong with it.
        or re.search(rf"(?:\A|/)data/{_POSTS}\Z", name)
    ]


def _rows(archive: Archive, names: list[str]) -> Iterator[tuple[str, dict[str, Any] | Skipped]]:
    """Yield each row of some scripts with its place; a damaged row or script becomes `Skipped`."""
    for name in names:
        try:
            found = json_rows.document(archive, name)
            for number, row in enumerate(json_rows.rows(name, found)):
                where = f"{name}#{number}"
                yield where, Skipped(where, row) if isinstance(row, str) else row
        except MemberError as error:
            yield name, Skipped(name, error.reason)


def _account(archive: Archive) -> _Account:
    """Return the archive's account; the e-mail address beside it is not read."""
    account = _Account()
    for _, row in _rows(archive, archive.matching(r"data/account\.js")):
        if isinstance(row, dict):
            fields = ("accountId", "username", "accountDisplayName")
            account = _Account(*(string(row, "account", field) for field in fields))
    moves = [
        (string(row, "protectedHistory", "protectedAt"), string(row, "protectedHistory", "action"))
        for _, row in _rows(archive, archive.matching(r"data/protected-history\.js"))
        if isinstance(row, dict)
    ]
    if moves and max(moves)[1].lower() == "protect":
        account = replace(account, visibility="followers")
    return account


def _post(row: dict[str, Any], account: _Account, *, where: str) -> _Post | Skipped:
    tweet: dict[str, Any] = row["tweet"] if isinstance(row.get("tweet"), dict) else row
    number = string(tweet, "id_str") or string(tweet, "id")
    if not re.fullmatch(r"\d{1,25}", number) or not isinstance(tweet.get("full_text"), str):
        return Skipped(number or where, json_rows.MALFORMED)
    raw = string(tweet, "full_text")
    if raw.startswith("RT @") or "retweeted_status" in tweet:
        return Skipped(number, "retweet")
    user = string(tweet, "in_reply_to_user_id_str") or string(tweet, "in_reply_to_user_id")
    handle = string(tweet, "in_reply_to_screen_name")
    own = bool(user and user == account.number) or bool(
        handle and handle.lower() == account.handle.lower()
    )
    language = string(tweet, "lang")
    edits = "editTweetIds"
    versions = strings(tweet, "edit_info", "edit", "editControlInitial", edits)
    links = {
        string(link, "url"): string(link, "expanded_url")
        for link in objects(tweet, "entities", "urls")
    }
    media = frozenset(
        string(picture, "url")
        for name in ("entities", "extended_entities")
        for picture in objects(tweet, name, "media")
    )
    tags = [string(tag, "text") for tag in objects(tweet, "entities", "hashtags")]
    return _Post(
        number=number,
        text=as_typed(raw, links=links, media=media),
        shown=VisiblePost(moment(string(tweet, "created_at")), unescaped(raw)),
        answers=string(tweet, "in_reply_to_status_id_str")
        or string(tweet, "in_reply_to_status_id"),
        answers_somebody=bool(user or handle) and not own,
        # `und`, `zxx` and the q… codes are X's own for no language.
        language="" if re.match(r"und|zxx|q", language) else language,
        tags=tuple(tag for tag in dict.fromkeys(tags) if tag),
        versions=tuple(versions or strings(tweet, "edit_info", "initial", edits)),
    )


def _with_long_texts(
    archive: Archive, posts: dict[str, _Post]
) -> Generator[Skipped, None, dict[str, _Post]]:
    """Return the posts with the whole text where `note-tweet.js` has it.

    A long text without its post is left out: the post was deleted, or was not one of the author's
    public posts.
    """
    cuts: dict[str, VisiblePost] = {}
    whole: dict[str, str] = {}
    scripts = archive.matching(r"data/note-tweet(?:-part\d+)?\.js")
    for where, row in _rows(archive, scripts):
        if isinstance(row, Skipped):
            yield row
            continue
        number, text = (
            string(row, "noteTweet", "noteTweetId"),
            string(row, "noteTweet", "core", "text"),
        )
        if not number or not text or number in cuts:
            reason = "duplicate" if number in cuts else json_rows.MALFORMED
            yield Skipped(f"note-{number}" if number else where, reason)
            continue
        links = {
            string(link, "shortUrl"): string(link, "expandedUrl")
            for link in objects(row, "noteTweet", "core", "urls")
        }
        cuts[number] = VisiblePost(moment(string(row, "noteTweet", "createdAt")), unescaped(text))
        whole[number] = as_typed(text, links=links)
    joined = join_long_posts(cuts, {number: post.shown for number, post in posts.items()})
    for number in cuts:
        yield Skipped(f"note-{number}", "joined_to_post" if number in joined else "no_such_post")
    return posts | {
        post: replace(posts[post], text=whole[note])
        for note, post in joined.items()
        # A note of the same second that is no longer than its post is not its full text.
        if len(whole[note]) > len(posts[post].text)
    }


def _latest_versions(posts: dict[str, _Post]) -> Generator[Skipped, None, dict[str, _Post]]:
    """Return the last version of each edited post, under the number of its first version."""
    first: dict[str, str] = {}
    for post in posts.values():
        for version in post.versions:
            first[version] = post.versions[0]
    latest: dict[str, _Post] = {}
    for post in sorted(posts.values(), key=_order):
        number = first.get(post.number, post.number)
        if number in latest:
            yield Skipped(latest[number].number, "superseded")
        latest[number] = post
    # A reply to any version is a reply to the post.
    return {
        number: replace(post, answers=first.get(post.answers, post.answers))
        for number, post in latest.items()
    }


def _order(post: _Post) -> tuple[int, str]:
    return int(post.number), post.number


def _records(
    posts: Mapping[str, _Post], account: _Account, include: frozenset[str]
) -> Iterator[ExportRecord | Skipped]:
    threads: dict[str, list[str]] = defaultdict(list)
    first = first_of_thread({number: post.answers for number, post in posts.items()})
    for number in sorted(posts, key=lambda number: _order(posts[number])):
        threads[first[number]].append(number)
    for root, members in threads.items():
        post = posts[root]
        kind = "reply" if post.answers_somebody else "post"
        reason = (
            "reply"
            if kind == "reply" and "replies" not in include
            else account.visibility
            if account.visibility != "public" and account.visibility not in include
            else ""
        )
        texts = [posts[number].text for number in members]
        if kind == "reply":
            texts = [without_mentions(text) for text in texts]
        text = "\n\n".join(filter(None, texts))
        reason = reason or ("" if text else "no_text")
        if reason:
            yield from (Skipped(number, reason) for number in members)
            continue
        yield from (Skipped(number, "joined_to_thread") for number in members if number != root)
        times = [when for number in members if (when := posts[number].created_at) is not None]
        last = max(times, default=None)
        yield ExportRecord(
            source=NAME,
            source_id=root,
            text=text,
            kind=kind,
            url=f"https://x.com/{account.handle or 'i'}/status/{post.number}",
            author=account.name or account.handle,
            byline="data/account.js" if account.name or account.handle else "",
            language=post.language,
            created_at=post.created_at,
            updated_at=last if last != post.created_at else None,
            visibility=account.visibility,
            parent_id=post.answers if post.answers in posts else "",
            tags=tuple(dict.fromkeys(tag for number in members for tag in posts[number].tags)),
        )


_OLD = RefusedExport(
    ((r"data/js/tweets/\d{4}_\d\d\.js",), (r"data/js/tweet_index\.js", r"tweets\.csv")),
    r"\A\W*(?:Grailbird\.data\.tweets_|var tweet_index\b|tweet_id\",\"in_reply_to_)",
    title="X (Twitter) archive as it was made until 2018",
    next_step="ask X for a new archive (Settings, Your account, Download an archive of your data): "
    "it holds these posts too, and is read",
)
_IN_PART = RefusedExport(
    ((rf"data/(?:js/)?{_POSTS}",), (r"Your archive\.html", r"data/manifest\.js")),
    r"\A\s*window\.YTD\.",
)
IMPORTER = Importer(NAME, "X (Twitter) archive", recognises, read, (_OLD, _IN_PART))
