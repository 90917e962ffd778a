"""Import Mastodon's archive of an account's posts: `outbox.json`, an ActivityPub collection.

Scope: the author's `Create` activities, their visibility, threads.
Out of scope: boosts (`Announce`), likes, bookmarks and direct messages, which are not imported.

Format: https://docs.joinmastodon.org/user/moving/#export,
https://www.w3.org/TR/activitypub/#outbox.
Visibility: https://docs.joinmastodon.org/spec/activitypub/#properties-used.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.front_matter import parse_datetime
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.json_rows import get_member, get_objects, get_string, get_strings
from twin_assets.corpus.importers.members import Archive, MemberError
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.threads import find_thread_roots

NAME = "mastodon"

_OUTBOX = re.compile(rb'\A\W*\{.{0,400}activitystreams.{0,4000}"OrderedCollection"', re.DOTALL)
_PUBLIC = frozenset({"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"})
_MENTIONS = re.compile(
    r'\A(<p>)?(?:\s*<span class="h-card"[^<>]*><a [^<>]*>@<span>[^<>]*</span></a></span>)+\s*'
)
_POST_TYPES = frozenset({"Note", "Article", "Question", "Page"})
_OPT_INS: Mapping[str, frozenset[str]] = {
    # An opt-in to followers-only posts includes unlisted public posts.
    "unlisted": frozenset({"followers", "private"}),
    "followers": frozenset({"followers"}),
}


class _Actor(NamedTuple):
    uri: str = ""
    name: str = ""


@dataclass(frozen=True)
class _Post:
    uri: str
    record: ExportRecord
    in_reply_to: str


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield public posts, joined into threads; `include` may add `followers` and `replies`."""

    def read_outbox(name: str) -> Iterator[_Post | SkippedItem]:
        activities = get_member(json_rows.load_document(archive, name), "orderedItems")
        actor = _read_actor(archive, outbox_name=name)
        return json_rows.map_rows(
            name, activities, lambda row, location: _parse_post(row, actor, location=location)
        )

    posts: dict[str, _Post] = {}
    for post in read_files(_list_outboxes(archive), read_outbox):
        if isinstance(post, SkippedItem):
            yield post
        elif post.uri in posts:
            yield SkippedItem(post.uri, "duplicate")
        else:
            posts[post.uri] = post
    yield from _build_thread_records(posts, include)


def _list_outboxes(archive: Archive) -> list[str]:
    """Return the files named `outbox.json` with a collection of activities."""
    has_actor = bool(archive.names_matching(r"actor\.json"))
    return [
        name
        for name in archive.candidates(r"outbox\.json")[:10]
        if _OUTBOX.match(archive.head(name)) or (has_actor and name.endswith("outbox.json"))
    ]


def _read_actor(archive: Archive, *, outbox_name: str) -> _Actor:
    """Return the outbox's owner, from the `actor.json` in the same folder."""
    name = outbox_name.rpartition("/")[0]
    name = f"{name}/actor.json" if name else "actor.json"
    if name not in archive.names():
        return _Actor()
    try:
        document = json_rows.load_document(archive, name, max_bytes=1 << 20)
    except MemberError:
        return _Actor()
    return _Actor(
        get_string(document, "id"),
        get_string(document, "name") or get_string(document, "preferredUsername"),
    )


def _parse_post(activity: dict[str, Any], actor: _Actor, *, location: str) -> _Post | SkippedItem:
    location = get_string(activity, "id") or location
    activity_type = get_string(activity, "type")
    if activity_type == "Announce":
        return SkippedItem(location, "boost")
    if activity_type != "Create" or not isinstance(activity.get("object"), dict):
        return SkippedItem(
            location,
            "not_a_post" if activity_type and activity_type != "Create" else json_rows.MALFORMED,
        )
    note: dict[str, Any] = activity["object"]
    uri = get_string(note, "id")
    if not uri or not isinstance(note.get("content"), str):
        return SkippedItem(uri or location, json_rows.MALFORMED)
    if get_string(note, "type") not in _POST_TYPES:
        return SkippedItem(uri, "not_a_post")
    attributed_to = get_string(note, "attributedTo") or get_string(activity, "actor")
    if actor.uri and attributed_to and attributed_to != actor.uri:
        return SkippedItem(uri, "foreign_author")
    in_reply_to = get_string(note, "inReplyTo")
    account = attributed_to or actor.uri
    title = get_string(note, "name") or get_string(note, "summary")
    record = ExportRecord(
        source=NAME,
        source_id=re.sub(r"\Ahttps?://", "", uri) or uri,
        text=remove_foreign_parts(get_string(note, "content")),
        kind="reply"
        if in_reply_to and not (account and in_reply_to.startswith(account + "/"))
        else "post",
        title=strip_tags(title),
        url=get_string(note, "url") or uri,
        author=actor.name,
        byline="actor.json" if actor.name else "",
        markup="html",
        language=_read_language(note),
        created_at=parse_datetime(
            get_string(note, "published") or get_string(activity, "published")
        ),
        updated_at=parse_datetime(get_string(note, "updated")),
        visibility=_find_visibility(note if "to" in note else activity),
        tags=tuple(
            get_string(tag, "name").lstrip("#")
            for tag in get_objects(note, "tag")
            if get_string(tag, "type") == "Hashtag"
        ),
    )
    return _Post(uri, record, in_reply_to)


def _find_visibility(fields: Mapping[str, Any]) -> str:
    """Return a post's visibility; a message to named people is `private`."""
    recipients, cc = (set(get_strings(fields, "to")), set(get_strings(fields, "cc")))
    if recipients & _PUBLIC:
        return "public"
    if cc & _PUBLIC:
        return "unlisted"
    return (
        "followers"
        if any(recipient.endswith("/followers") for recipient in recipients)
        else "private"
    )


def _read_language(note: Mapping[str, Any]) -> str:
    """Return the only language in `contentMap`, or "" if there is not exactly one."""
    content = get_member(note, "contentMap")
    names = list(cast("dict[str, object]", content)) if isinstance(content, dict) else []
    return names[0] if len(names) == 1 and names[0] != "und" else ""


def _build_thread_records(
    posts: Mapping[str, _Post], include: frozenset[str]
) -> Iterator[ExportItem]:
    """Yield one record per thread, with the kind of its first post and without excluded posts."""
    parents = {uri: post.in_reply_to for uri, post in posts.items()}
    # A post that continues the author's reply to someone is part of that reply.
    root_posts = {uri: posts[root] for uri, root in find_thread_roots(parents).items()}
    allowed_parents: dict[str, str] = {}
    for uri, post in posts.items():
        visibility = post.record.visibility
        if visibility != "public" and include.isdisjoint(_OPT_INS.get(visibility, ())):
            yield SkippedItem(uri, visibility)
        elif root_posts[uri].record.kind == "reply" and "replies" not in include:
            yield SkippedItem(uri, "reply")
        else:
            allowed_parents[uri] = post.in_reply_to
    threads: dict[str, list[_Post]] = defaultdict(list)
    roots = find_thread_roots(allowed_parents)
    for uri in sorted(allowed_parents, key=lambda uri: (_get_sort_time(posts[uri]), uri)):
        threads[roots[uri]].append(posts[uri])
    for root, thread in threads.items():
        record, parent = posts[root].record, posts[root].in_reply_to
        html = "\n".join(
            _MENTIONS.sub(r"\1", post.record.text) if record.kind == "reply" else post.record.text
            for post in thread
        )
        if not strip_tags(html):
            yield from (SkippedItem(post.uri, "no_text") for post in thread)
            continue
        yield from (
            SkippedItem(post.uri, "joined_to_thread") for post in thread if post.uri != root
        )
        yield replace(
            record,
            text=html,
            updated_at=max(filter(None, (post.record.updated_at for post in thread)), default=None),
            parent_id=posts[parent].record.source_id if parent in posts else "",
            tags=tuple(dict.fromkeys(tag for post in thread for tag in post.record.tags if tag)),
        )


def _get_sort_time(post: _Post) -> float:
    return post.record.created_at.timestamp() if post.record.created_at else 0.0


_PARTIAL_EXPORT = RejectedExport(
    ((r"outbox\.json", r"actor\.json"),),
    r"\A\s*\{.{0,400}activitystreams.{0,4000}\"(?:OrderedCollection|Person)\"",
)
IMPORTER = Importer(NAME, "Mastodon archive", _list_outboxes, read, (_PARTIAL_EXPORT,))
