"""Import Mastodon's archive of an account's posts: `outbox.json`, an ActivityPub collection.

Scope: the author's `Create` activities, who may read each, threads.
Out of scope: boosts (`Announce`), likes, bookmarks, direct messages: they are never read.

Format: https://docs.joinmastodon.org/user/moving/#export,
https://www.w3.org/TR/activitypub/#outbox.
Who may read a post: https://docs.joinmastodon.org/spec/activitypub/#properties-used.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import plain_words, without_foreign_parts
from twin_assets.corpus.importers.front_matter import moment
from twin_assets.corpus.importers.importer import Importer, RefusedExport
from twin_assets.corpus.importers.json_rows import member, objects, string, strings
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.importers.threads import first_of_thread

NAME = "mastodon"

_OUTBOX = re.compile(rb'\A\W*\{.{0,400}activitystreams.{0,4000}"OrderedCollection"', re.DOTALL)
_PUBLIC = frozenset({"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"})
_MENTIONS = re.compile(
    r'\A(<p>)?(?:\s*<span class="h-card"[^<>]*><a [^<>]*>@<span>[^<>]*</span></a></span>)+\s*'
)
_POSTS = frozenset({"Note", "Article", "Question", "Page"})
_OPT_INS: Mapping[str, frozenset[str]] = {
    # An opt-in to posts for followers includes public posts that were not announced.
    "unlisted": frozenset({"followers", "private"}),
    "followers": frozenset({"followers"}),
}


@dataclass(frozen=True)
class _Actor:
    address: str = ""
    name: str = ""


@dataclass(frozen=True)
class _Post:
    address: str
    html: str
    record: ExportRecord
    answers: str


def recognises(archive: Archive) -> bool:
    """Return whether there is an `outbox.json` that is a collection of activities."""
    return bool(_outboxes(archive))


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportRecord | Skipped]:
    """Yield public posts, threads joined; `include` may hold `followers` and `replies`."""
    posts: dict[str, _Post] = {}
    for name in _outboxes(archive):
        try:
            outbox = json_rows.document(archive, name)
            rows = [*json_rows.rows(name, member(outbox, "orderedItems"))]
        except MemberError as error:
            yield Skipped(name, error.reason)
            continue
        actor = _actor(archive, beside=name)
        for number, row in enumerate(rows):
            where = f"{name}#{number}"
            post = Skipped(where, row) if isinstance(row, str) else _post(row, actor, where=where)
            if isinstance(post, Skipped):
                yield post
            elif post.address in posts:
                yield Skipped(post.address, "duplicate")
            else:
                posts[post.address] = post
    yield from _records(posts, include)


def _outboxes(archive: Archive) -> list[str]:
    beside = bool(archive.matching(r"actor\.json"))
    return [
        name
        for name in archive.candidates(r"outbox\.json")[:10]
        if _OUTBOX.match(archive.head(name)) or (beside and name.endswith("outbox.json"))
    ]


def _actor(archive: Archive, *, beside: str) -> _Actor:
    """Return the outbox's owner, from the `actor.json` in the same folder."""
    name = beside.rpartition("/")[0]
    name = f"{name}/actor.json" if name else "actor.json"
    if name not in archive.names():
        return _Actor()
    try:
        document = json_rows.document(archive, name, limit=1 << 20)
    except MemberError:
        return _Actor()
    return _Actor(
        string(document, "id"), string(document, "name") or string(document, "preferredUsername")
    )


def _post(row: dict[str, Any], actor: _Actor, *, where: str) -> _Post | Skipped:
    where = string(row, "id") or where
    kind = string(row, "type")
    if kind == "Announce":
        return Skipped(where, "boost")
    if kind != "Create" or not isinstance(row.get("object"), dict):
        return Skipped(where, "not_a_post" if kind and kind != "Create" else json_rows.MALFORMED)
    note: dict[str, Any] = row["object"]
    address = string(note, "id")
    if not address or not isinstance(note.get("content"), str):
        return Skipped(address or where, json_rows.MALFORMED)
    if string(note, "type") not in _POSTS:
        return Skipped(address, "not_a_post")
    writer = string(note, "attributedTo") or string(row, "actor")
    if actor.address and writer and writer != actor.address:
        return Skipped(address, "foreign_author")
    answers = string(note, "inReplyTo")
    own = writer or actor.address
    title = string(note, "name") or string(note, "summary")
    html = without_foreign_parts(string(note, "content"))
    record = ExportRecord(
        source=NAME,
        source_id=re.sub(r"\Ahttps?://", "", address) or address,
        text=html,
        kind="reply" if answers and not (own and answers.startswith(own + "/")) else "post",
        title=plain_words(title),
        url=string(note, "url") or address,
        author=actor.name,
        byline="actor.json" if actor.name else "",
        markup="html",
        language=_language(note),
        created_at=moment(string(note, "published") or string(row, "published")),
        updated_at=moment(string(note, "updated")),
        visibility=_visibility(note if "to" in note else row),
        tags=tuple(
            string(tag, "name").lstrip("#")
            for tag in objects(note, "tag")
            if string(tag, "type") == "Hashtag"
        ),
    )
    return _Post(address, html, record, answers)


def _visibility(addressed: Mapping[str, Any]) -> str:
    """Return who may read a post; a message to named people is `private`."""
    to, copy = set(strings(addressed, "to")), set(strings(addressed, "cc"))
    if to & _PUBLIC:
        return "public"
    if copy & _PUBLIC:
        return "unlisted"
    return "followers" if any(name.endswith("/followers") for name in to) else "private"


def _language(note: Mapping[str, Any]) -> str:
    """Return the language of `contentMap` if it has exactly one, or ""."""
    content = member(note, "contentMap")
    names = list(cast("dict[str, object]", content)) if isinstance(content, dict) else []
    return names[0] if len(names) == 1 and names[0] != "und" else ""


def _records(
    posts: Mapping[str, _Post], include: frozenset[str]
) -> Iterator[ExportRecord | Skipped]:
    """Yield one record per thread: the first post sets its kind, each post its own visibility."""
    parents = {address: post.answers for address, post in posts.items()}
    # A post that continues the author's reply to somebody is part of that reply.
    answers_of = {address: posts[root] for address, root in first_of_thread(parents).items()}
    texts: dict[str, str] = {}
    for address, post in posts.items():
        if not _allowed(post.record, include):
            yield Skipped(address, post.record.visibility)
        elif answers_of[address].record.kind == "reply" and "replies" not in include:
            yield Skipped(address, "reply")
        else:
            texts[address] = post.answers
    threads: dict[str, list[_Post]] = defaultdict(list)
    first = first_of_thread(texts)
    for address in sorted(texts, key=lambda address: (_order(posts[address]), address)):
        threads[first[address]].append(posts[address])
    for root, members in threads.items():
        record, answers = posts[root].record, posts[root].answers
        html = "\n".join(
            _MENTIONS.sub(r"\1", post.html) if record.kind == "reply" else post.html
            for post in members
        )
        if not plain_words(html):
            yield from (Skipped(post.address, "no_text") for post in members)
            continue
        yield from (
            Skipped(post.address, "joined_to_thread") for post in members if post.address != root
        )
        yield replace(
            record,
            text=html,
            updated_at=max(filter(None, map(_changed, members)), default=None),
            parent_id=posts[answers].record.source_id if answers in posts else "",
            tags=tuple(dict.fromkeys(tag for post in members for tag in post.record.tags if tag)),
        )


def _allowed(record: ExportRecord, include: frozenset[str]) -> bool:
    if record.visibility == "public":
        return True
    return bool(_OPT_INS.get(record.visibility, frozenset()) & include)


def _order(post: _Post) -> float:
    return post.record.created_at.timestamp() if post.record.created_at else 0.0


def _changed(post: _Post) -> datetime | None:
    return post.record.updated_at


_IN_PART = RefusedExport(
    ((r"outbox\.json", r"actor\.json"),),
    r"\A\s*\{.{0,400}activitystreams.{0,4000}\"(?:OrderedCollection|Person)\"",
)
IMPORTER = Importer(NAME, "Mastodon archive", recognises, read, (_IN_PART,))
