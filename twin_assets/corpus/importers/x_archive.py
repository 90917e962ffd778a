"""Import an X (Twitter) data archive: posts, long posts and threads.

Scope: `data/tweets*.js`, `data/note-tweet.js`, and the account fields that they need.
Out of scope: messages, likes, followers and ads, whose files are never opened.

Format: each file is a script that assigns a JSON list, `window.YTD.tweets.part0 = [ … ]`. It is
never executed. `tweets.js` cuts a long post at 280 characters and does not identify its note.
`note-tweet.js` has the full text but does not identify the post, so the two are matched by their
creation time, to the second.
Sources: README.txt in the archive,
https://help.x.com/en/managing-your-account/how-to-download-your-x-archive.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.json_rows import get_objects, get_string, get_strings
from twin_assets.corpus.importers.members import Archive
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.threads import find_thread_roots
from twin_assets.corpus.importers.x_text import (
    VisiblePost,
    join_long_posts,
    parse_time,
    remove_mentions,
    restore_typed_text,
    unescape,
)

NAME = "x"

_Item = TypeVar("_Item")

_POST_FILES = r"tweets?(?:-part\d+)?\.js"
_SCRIPT = re.compile(rb"\A\W*window\.YTD\.tweets?\.part\d+\s*=")
_EXCLUDED_FILES = {
    r"deleted-tweets?(?:-part\d+)?\.js": "deleted",
    r"community-tweet(?:-part\d+)?\.js": "community",
    r"twitter-circle-tweet(?:-part\d+)?\.js": "circle",
}
"""Files of posts that were not public or no longer exist; the posts are counted, not imported."""


@dataclass(frozen=True)
class _Account:
    account_id: str = ""
    handle: str = ""
    name: str = ""
    visibility: str = "public"


@dataclass(frozen=True)
class _Post:
    """A post; `visible_post` is its truncated text, and `versions` lists its edits in order."""

    post_id: str
    text: str
    visible_post: VisiblePost
    in_reply_to: str
    is_reply: bool
    language: str
    tags: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def created_at(self) -> datetime | None:
        return self.visible_post.created_at


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield posts and threads; `include` may add `replies` and protected posts (`followers`)."""
    account = _read_account(archive)
    for pattern, reason in _EXCLUDED_FILES.items():
        names = archive.names_matching(rf"data/{pattern}")
        yield from _read_rows(archive, names, partial(_exclude_row, reason=reason))
    posts: dict[str, _Post] = {}
    for post in _read_rows(
        archive,
        _list_scripts(archive),
        lambda row, location: _parse_post(row, account, location=location),
    ):
        if isinstance(post, SkippedItem):
            yield post
        elif post.post_id in posts:
            yield SkippedItem(post.post_id, "duplicate")
        else:
            posts[post.post_id] = post
    posts = yield from _add_long_texts(archive, posts)
    posts = yield from _keep_last_versions(posts)
    yield from _build_thread_records(posts, account, include)


def _list_scripts(archive: Archive) -> list[str]:
    """Return the files that assign posts to `window.YTD`."""
    return [
        name
        for name in archive.candidates(_POST_FILES)[:1000]
        if _SCRIPT.match(archive.head(name, count=400))
        # A damaged part counts if its path matches; `read` then reports the damage.
        or re.search(rf"(?:\A|/)data/{_POST_FILES}\Z", name)
    ]


def _exclude_row(_row: dict[str, Any], location: str, *, reason: str) -> SkippedItem:
    return SkippedItem(location, reason)


def _read_rows(
    archive: Archive, names: list[str], build: Callable[[dict[str, Any], str], _Item]
) -> Iterator[_Item | SkippedItem]:
    """Yield `build(row, location)` for each row of the scripts; damaged rows are skipped."""
    return read_files(
        names,
        lambda name: json_rows.map_rows(name, json_rows.load_document(archive, name), build),
    )


def _read_account(archive: Archive) -> _Account:
    """Return the archive's account without its e-mail address."""
    account = _Account()

    def read_objects(name: str) -> Iterator[dict[str, Any]]:
        rows = _read_rows(archive, archive.names_matching(name), lambda row, _: row)
        return (row for row in rows if isinstance(row, dict))

    for row in read_objects(r"data/account\.js"):
        fields = ("accountId", "username", "accountDisplayName")
        account = _Account(*(get_string(row, "account", field) for field in fields))
    protection_changes = [
        (
            get_string(row, "protectedHistory", "protectedAt"),
            get_string(row, "protectedHistory", "action"),
        )
        for row in read_objects(r"data/protected-history\.js")
    ]
    if protection_changes and max(protection_changes)[1].lower() == "protect":
        account = replace(account, visibility="followers")
    return account


def _parse_post(row: dict[str, Any], account: _Account, *, location: str) -> _Post | SkippedItem:
    tweet: dict[str, Any] = row["tweet"] if isinstance(row.get("tweet"), dict) else row
    post_id = get_string(tweet, "id_str") or get_string(tweet, "id")
    if not re.fullmatch(r"\d{1,25}", post_id) or not isinstance(tweet.get("full_text"), str):
        return SkippedItem(post_id or location, json_rows.MALFORMED)
    raw_text = get_string(tweet, "full_text")
    if raw_text.startswith("RT @") or "retweeted_status" in tweet:
        return SkippedItem(post_id, "retweet")
    parent_user_id = get_string(tweet, "in_reply_to_user_id_str") or get_string(
        tweet, "in_reply_to_user_id"
    )
    parent_handle = get_string(tweet, "in_reply_to_screen_name")
    is_self_reply = bool(parent_user_id and parent_user_id == account.account_id) or bool(
        parent_handle and parent_handle.lower() == account.handle.lower()
    )
    language = get_string(tweet, "lang")
    edits_key = "editTweetIds"
    versions = get_strings(tweet, "edit_info", "edit", "editControlInitial", edits_key)
    links = {
        get_string(link, "url"): get_string(link, "expanded_url")
        for link in get_objects(tweet, "entities", "urls")
    }
    media = frozenset(
        get_string(media_item, "url")
        for name in ("entities", "extended_entities")
        for media_item in get_objects(tweet, name, "media")
    )
    tags = [get_string(tag, "text") for tag in get_objects(tweet, "entities", "hashtags")]
    return _Post(
        post_id=post_id,
        text=restore_typed_text(raw_text, links=links, media=media),
        visible_post=VisiblePost(parse_time(get_string(tweet, "created_at")), unescape(raw_text)),
        in_reply_to=get_string(tweet, "in_reply_to_status_id_str")
        or get_string(tweet, "in_reply_to_status_id"),
        is_reply=bool(parent_user_id or parent_handle) and not is_self_reply,
        # X uses `und`, `zxx` and the q… codes for posts without a language.
        language="" if re.match(r"und|zxx|q", language) else language,
        tags=tuple(tag for tag in dict.fromkeys(tags) if tag),
        versions=tuple(versions or get_strings(tweet, "edit_info", "initial", edits_key)),
    )


def _add_long_texts(
    archive: Archive, posts: dict[str, _Post]
) -> Generator[SkippedItem, None, dict[str, _Post]]:
    """Return the posts, with their full texts if `note-tweet.js` contains them.

    A long text without a post is omitted, because the post was deleted or was not public.
    """
    notes: dict[str, VisiblePost] = {}
    note_texts: dict[str, str] = {}
    scripts = archive.names_matching(r"data/note-tweet(?:-part\d+)?\.js")
    for located_row in _read_rows(archive, scripts, lambda row, location: (row, location)):
        if isinstance(located_row, SkippedItem):
            yield located_row
            continue
        row, location = located_row
        note_id = get_string(row, "noteTweet", "noteTweetId")
        text = get_string(row, "noteTweet", "core", "text")
        if not note_id or not text or note_id in notes:
            reason = "duplicate" if note_id in notes else json_rows.MALFORMED
            yield SkippedItem(f"note-{note_id}" if note_id else location, reason)
            continue
        links = {
            get_string(link, "shortUrl"): get_string(link, "expandedUrl")
            for link in get_objects(row, "noteTweet", "core", "urls")
        }
        notes[note_id] = VisiblePost(
            parse_time(get_string(row, "noteTweet", "createdAt")), unescape(text)
        )
        note_texts[note_id] = restore_typed_text(text, links=links)
    note_posts = join_long_posts(notes, {key: post.visible_post for key, post in posts.items()})
    for note_id in notes:
        yield SkippedItem(
            f"note-{note_id}", "joined_to_post" if note_id in note_posts else "no_such_post"
        )
    return posts | {
        post_id: replace(posts[post_id], text=note_texts[note_id])
        for note_id, post_id in note_posts.items()
        # A note from the same second that is not longer than its post is not the full text.
        if len(note_texts[note_id]) > len(posts[post_id].text)
    }


def _keep_last_versions(posts: dict[str, _Post]) -> Generator[SkippedItem, None, dict[str, _Post]]:
    """Return the latest version of each post, by the identifier of its first version."""
    first_versions: dict[str, str] = {}
    for post in posts.values():
        for version in post.versions:
            first_versions[version] = post.versions[0]
    latest_posts: dict[str, _Post] = {}
    for post in sorted(posts.values(), key=_get_sort_key):
        post_id = first_versions.get(post.post_id, post.post_id)
        if post_id in latest_posts:
            yield SkippedItem(latest_posts[post_id].post_id, "superseded")
        latest_posts[post_id] = post
    # A reply to any version is a reply to the post.
    return {
        post_id: replace(post, in_reply_to=first_versions.get(post.in_reply_to, post.in_reply_to))
        for post_id, post in latest_posts.items()
    }


def _get_sort_key(post: _Post) -> tuple[int, str]:
    return int(post.post_id), post.post_id


def _build_thread_records(
    posts: Mapping[str, _Post], account: _Account, include: frozenset[str]
) -> Iterator[ExportItem]:
    threads: dict[str, list[str]] = defaultdict(list)
    roots = find_thread_roots({post_id: post.in_reply_to for post_id, post in posts.items()})
    for post_id in sorted(posts, key=lambda post_id: _get_sort_key(posts[post_id])):
        threads[roots[post_id]].append(post_id)
    for root, members in threads.items():
        post = posts[root]
        kind = "reply" if post.is_reply else "post"
        reason = (
            "reply"
            if kind == "reply" and "replies" not in include
            else account.visibility
            if account.visibility != "public" and account.visibility not in include
            else ""
        )
        texts = [posts[post_id].text for post_id in members]
        if kind == "reply":
            texts = [remove_mentions(text) for text in texts]
        text = "\n\n".join(filter(None, texts))
        reason = reason or ("" if text else "no_text")
        if reason:
            yield from (SkippedItem(post_id, reason) for post_id in members)
            continue
        yield from (SkippedItem(key, "joined_to_thread") for key in members if key != root)
        times = [time for post_id in members if (time := posts[post_id].created_at) is not None]
        last_time = max(times, default=None)
        yield ExportRecord(
            source=NAME,
            source_id=root,
            text=text,
            kind=kind,
            url=f"https://x.com/{account.handle or 'i'}/status/{post.post_id}",
            author=account.name or account.handle,
            byline="data/account.js" if account.name or account.handle else "",
            language=post.language,
            created_at=post.created_at,
            updated_at=last_time if last_time != post.created_at else None,
            visibility=account.visibility,
            parent_id=post.in_reply_to if post.in_reply_to in posts else "",
            tags=tuple(dict.fromkeys(tag for post_id in members for tag in posts[post_id].tags)),
        )


_OLD_EXPORT = RejectedExport(
    ((r"data/js/tweets/\d{4}_\d\d\.js",), (r"data/js/tweet_index\.js", r"tweets\.csv")),
    r"\A\W*(?:Grailbird\.data\.tweets_|var tweet_index\b|tweet_id\",\"in_reply_to_)",
    title="X (Twitter) archive from 2018 or earlier",
    next_step="request a new archive from X (Settings, Your account, Download an archive of your "
    "data), which contains these posts too",
)
_PARTIAL_EXPORT = RejectedExport(
    ((rf"data/(?:js/)?{_POST_FILES}",), (r"Your archive\.html", r"data/manifest\.js")),
    r"\A\s*window\.YTD\.",
)
IMPORTER = Importer(
    NAME, "X (Twitter) archive", _list_scripts, read, (_OLD_EXPORT, _PARTIAL_EXPORT)
)
