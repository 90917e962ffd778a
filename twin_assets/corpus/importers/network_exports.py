"""Exports of networks of short posts: X (Twitter) and Mastodon, joined into threads.

X: each file is a script that assigns a JSON list, `window.YTD.tweets.part0 = [ … ]`; it is never
executed. `tweets.js` cuts a long post at 280 characters and does not identify its note;
`note-tweet.js` has the full text but does not identify the post, so the two are matched by their
creation time, to the second. Messages, likes, followers and ads are never opened.
Sources: README.txt in the archive,
https://help.x.com/en/managing-your-account/how-to-download-your-x-archive,
https://docs.x.com/x-api/fundamentals/data-dictionary (entities, `t.co`).

Mastodon: `outbox.json`, an ActivityPub collection. Boosts, likes, bookmarks and direct messages are
not imported.
Sources: https://docs.joinmastodon.org/user/moving/#export,
https://www.w3.org/TR/activitypub/#outbox,
https://docs.joinmastodon.org/spec/activitypub/#properties-used (visibility).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo, available_timezones

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.importer import ExportFiles, Importer, RejectedExport, read_each
from twin_assets.corpus.importers.json_rows import (
    get_member,
    get_objects,
    get_string,
    get_strings,
    get_time,
)
from twin_assets.corpus.importers.post_dates import find_zone
from twin_assets.corpus.importers.record import (
    ExportItem,
    ExportRecord,
    SkippedItem,
    find_exclusion_reason,
)

_Item = TypeVar("_Item")

_FIRST_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class NetworkPost:
    """One post of a network.

    Attributes:
        key: the name that `parent` of another post has for this one.
        record: the post by itself.
        parent: the key of the post that it answers, or "".
        reason: why the post is not taken in whatever the author opted in to, or "".
    """

    key: str
    record: ExportRecord
    parent: str = ""
    reason: str = ""


_Post = TypeVar("_Post", bound=NetworkPost)


def _collect(
    items: Iterable[_Post | SkippedItem],
) -> Generator[SkippedItem, None, dict[str, _Post]]:
    """Return the posts by key, after yielding what is skipped."""
    posts: dict[str, _Post] = {}
    for item in items:
        if isinstance(item, SkippedItem):
            yield item
        elif item.key in posts:
            yield SkippedItem(item.record.source_id, "duplicate")
        else:
            posts[item.key] = item
    return posts


def join_threads(
    posts: Mapping[str, NetworkPost],
    include: frozenset[str],
    *,
    remove_mentions: Callable[[str], str],
) -> Iterator[ExportItem]:
    """Yield one record a thread, and each post that is excluded, joined or without text.

    A post that continues the author's reply to someone is part of that reply, so a thread has the
    kind of its first post, even if that post itself is excluded.

    Args:
        posts: the posts in their order, by the key that `NetworkPost.parent` names.
        include: the author's opt-ins.
        remove_mentions: takes a reply's text without the names that the network puts before it.
    """
    roots = _find_thread_roots(posts)
    allowed: dict[str, NetworkPost] = {}
    for key, post in posts.items():
        record = replace(post.record, kind=posts[roots[key]].record.kind)
        if reason := post.reason or find_exclusion_reason(record, include):
            yield SkippedItem(record.source_id, reason)
        else:
            allowed[key] = post
    threads: dict[str, list[ExportRecord]] = defaultdict(list)
    roots = _find_thread_roots(allowed)
    for key, post in allowed.items():
        threads[roots[key]].append(post.record)
    for root, thread in threads.items():
        record, parent = allowed[root].record, posts.get(allowed[root].parent)
        texts = [
            remove_mentions(part.text) if record.kind == "reply" else part.text for part in thread
        ]
        is_html = record.markup == "html"
        text = ("\n" if is_html else "\n\n").join(filter(None, texts))
        if not (strip_tags(text) if is_html else text):
            yield from (SkippedItem(part.source_id, "no_text") for part in thread)
            continue
        yield from (
            SkippedItem(part.source_id, "joined_to_thread") for part in thread if part is not record
        )
        edited = max((part.updated_at for part in thread if part.updated_at), default=None)
        yield replace(
            record,
            text=text,
            updated_at=edited if edited != record.created_at else None,
            parent_id=parent.record.source_id if parent else "",
            tags=tuple(dict.fromkeys(tag for part in thread for tag in part.tags if tag)),
        )


def _find_thread_roots(posts: Mapping[str, NetworkPost]) -> dict[str, str]:
    """Map each post to the first post of its thread; earlier posts stand before later ones."""
    roots: dict[str, str] = {}
    for key, post in posts.items():
        roots[key] = roots.get(post.parent, key)
    return roots


_POST_FILES = r"tweets?(?:-part\d+)?\.js"
_EXCLUDED_FILES = {
    r"deleted-tweets?(?:-part\d+)?\.js": "deleted",
    r"community-tweet(?:-part\d+)?\.js": "community",
    r"twitter-circle-tweet(?:-part\d+)?\.js": "circle",
}
"""Files of posts that were not public or no longer exist; the posts are counted, not imported."""
_X_MENTIONS = re.compile(r"\A(?:@\w{1,20}\s+)+")
_SHORT_LINK = re.compile(r"https?://t\.co/\w+")
_QUOTED_POST_LINK = re.compile(
    r"\s*https?://(?:www\.|mobile\.)?(?:twitter|x)\.com/\w+/status/\d+\S*\Z"
)
_RAILS_ZONES = {
    "Pacific Time (US & Canada)": "America/Los_Angeles",
    "Mountain Time (US & Canada)": "America/Denver",
    "Central Time (US & Canada)": "America/Chicago",
    "Eastern Time (US & Canada)": "America/New_York",
    "Atlantic Time (Canada)": "America/Halifax",
    "Newfoundland": "America/St_Johns",
    "Arizona": "America/Phoenix",
    "Alaska": "America/Juneau",
    "Hawaii": "Pacific/Honolulu",
    "Brasilia": "America/Sao_Paulo",
    "Edinburgh": "Europe/London",
    "Bern": "Europe/Zurich",
    "St. Petersburg": "Europe/Moscow",
    **dict.fromkeys(("Chennai", "Mumbai", "New Delhi"), "Asia/Kolkata"),
    **dict.fromkeys(("Osaka", "Sapporo"), "Asia/Tokyo"),
    "Beijing": "Asia/Shanghai",
    "Wellington": "Pacific/Auckland",
}
"""Zones whose name is no city of the IANA database, or is another one's: `ActiveSupport::TimeZone`
(https://api.rubyonrails.org/classes/ActiveSupport/TimeZone.html)."""
_MIN_COMMON_PREFIX = 20
"""Minimum common prefix, in characters, of a note and a post that are one second apart."""


@dataclass(frozen=True)
class _Tweet(NetworkPost):
    """A post on X: its text, cut off if it is long, and the identifiers of its edits in order."""

    visible_text: str = ""
    versions: tuple[str, ...] = ()


def read_x(archive: Archive, name: str, _include: frozenset[str]) -> Iterator[_Tweet | SkippedItem]:
    """Yield the posts of one script."""
    account, visibility = _read_account(archive)
    zone = _find_rails_zone(account.get("timeZone", ""))
    document = json_rows.load_document(archive, name)
    return json_rows.map_rows(
        name, document, lambda row, location: _parse_tweet(row, location, account, visibility, zone)
    )


def finish_x(
    archive: Archive, items: Iterator[_Tweet | SkippedItem], include: frozenset[str]
) -> Iterator[ExportItem]:
    """Yield posts and threads; `include` may add `replies` and protected posts (`followers`)."""
    for pattern, reason in _EXCLUDED_FILES.items():
        files = archive.names_matching(rf"data/{pattern}")
        yield from _read_rows(archive, files, partial(_exclude_row, reason=reason))
    posts = yield from _collect(items)
    note_files = archive.names_matching(r"data/note-tweet(?:-part\d+)?\.js")
    notes = yield from _collect(_read_rows(archive, note_files, _parse_note))
    posts = yield from _add_long_texts(posts, notes)
    latest_posts = yield from _keep_last_versions(posts)
    yield from join_threads(
        latest_posts, include, remove_mentions=lambda text: _X_MENTIONS.sub("", text)
    )


def _read_rows(
    archive: Archive, names: Sequence[str], parse: Callable[[dict[str, Any], str], _Item]
) -> Iterator[_Item | SkippedItem]:
    return read_each(
        names,
        lambda name: json_rows.map_rows(name, json_rows.load_document(archive, name), parse),
    )


def _exclude_row(_row: dict[str, Any], location: str, *, reason: str) -> SkippedItem:
    return SkippedItem(location, reason)


def _read_account(archive: Archive) -> tuple[Mapping[str, str], str]:
    """Return the account's `accountId`, `username`, name and zone, and who may read its posts."""

    def read_objects(name: str) -> list[dict[str, Any]]:
        rows = _read_rows(archive, archive.names_matching(name), lambda row, _: row)
        return [row for row in rows if not isinstance(row, SkippedItem)]

    account: dict[str, str] = {}
    for row in read_objects(r"data/account\.js"):
        fields = ("accountId", "username", "accountDisplayName")
        account = {field: get_string(row, "account", field) for field in fields}
    zones = [
        get_string(row, "accountTimezone", "timeZone")
        for row in read_objects(r"data/account-timezone\.js")
    ]
    changes = [
        tuple(get_string(row, "protectedHistory", name) for name in ("protectedAt", "action"))
        for row in read_objects(r"data/protected-history\.js")
    ]
    is_protected = bool(changes) and max(changes)[1].lower() == "protect"
    account["timeZone"] = next(filter(None, zones), "")
    return account, "followers" if is_protected else "public"


def _find_rails_zone(name: str) -> ZoneInfo | None:
    """Return the zone that Ruby on Rails names by its largest city, or None if it is unknown."""
    if not name or name in _RAILS_ZONES:
        return find_zone(_RAILS_ZONES.get(name, ""))
    cities = {zone.rpartition("/")[2]: zone for zone in sorted(available_timezones())}
    return find_zone(cities.get(name.replace(" ", "_"), ""))


def _parse_tweet(
    row: dict[str, Any],
    location: str,
    account: Mapping[str, str],
    visibility: str,
    zone: ZoneInfo | None,
) -> _Tweet | SkippedItem:
    tweet: dict[str, Any] = row["tweet"] if isinstance(row.get("tweet"), dict) else row
    post_id = get_string(tweet, "id_str") or get_string(tweet, "id")
    if not re.fullmatch(r"\d{1,25}", post_id) or not isinstance(tweet.get("full_text"), str):
        return SkippedItem(post_id or location, json_rows.MALFORMED)
    raw_text = get_string(tweet, "full_text")
    if raw_text.startswith("RT @") or "retweeted_status" in tweet:
        return SkippedItem(post_id, "retweet")
    answered = {
        get_string(tweet, f"in_reply_to_{name}").lower()
        for name in ("user_id_str", "user_id", "screen_name")
    } - {""}
    own = {account.get(name, "").lower() for name in ("accountId", "username")}
    language = get_string(tweet, "lang")
    edits = [
        get_strings(tweet, "edit_info", *path, "editTweetIds")
        for path in (("edit", "editControlInitial"), ("initial",))
    ]
    media = [
        get_string(item, "url")
        for name in ("entities", "extended_entities")
        for item in get_objects(tweet, name, "media")
    ]
    name = account.get("accountDisplayName") or account.get("username", "")
    created_at = get_time(tweet, "created_at", zone=zone)
    record = ExportRecord(
        source="x",
        source_id=post_id,
        text=_restore_text(
            raw_text,
            _read_links(tweet, "url", "expanded_url", "entities") | dict.fromkeys(media, ""),
        ),
        kind="reply" if answered and not answered & own else "post",
        url=f"https://x.com/{account.get('username') or 'i'}/status/{post_id}",
        author=name,
        byline="data/account.js",
        # X uses `und`, `zxx` and the q… codes for posts without a language.
        language="" if re.match(r"und|zxx|q", language) else language,
        created_at=created_at,
        updated_at=created_at,
        visibility=visibility,
        tags=tuple(get_string(tag, "text") for tag in get_objects(tweet, "entities", "hashtags")),
    )
    parent = get_string(tweet, "in_reply_to_status_id_str") or get_string(
        tweet, "in_reply_to_status_id"
    )
    return _Tweet(
        post_id,
        record,
        parent,
        visible_text=_X_MENTIONS.sub("", _unescape(raw_text)),
        versions=tuple(edits[0] or edits[1]),
    )


def _parse_note(row: dict[str, Any], location: str) -> _Tweet | SkippedItem:
    """Return the full text of a long post."""
    note_id = get_string(row, "noteTweet", "noteTweetId")
    text = get_string(row, "noteTweet", "core", "text")
    if not note_id or not text:
        return SkippedItem(f"note-{note_id}" if note_id else location, json_rows.MALFORMED)
    links = _read_links(row, "shortUrl", "expandedUrl", "noteTweet", "core")
    created_at = get_time(row, "noteTweet", "createdAt")
    record = ExportRecord(
        "x", f"note-{note_id}", text=_restore_text(text, links), created_at=created_at
    )
    return _Tweet(note_id, record, visible_text=_unescape(text))


def _read_links(row: dict[str, Any], short: str, full: str, *path: str) -> dict[str, str]:
    links = get_objects(row, *path, "urls")
    return {get_string(link, short): url for link in links if (url := get_string(link, full))}


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _restore_text(raw_text: str, links: Mapping[str, str]) -> str:
    """Return a text as it was typed: whole links, and none to its media or to a quoted post."""
    text = _SHORT_LINK.sub(lambda link: links.get(link[0], link[0]), _unescape(raw_text))
    return _QUOTED_POST_LINK.sub("", text.rstrip()).strip()


def _add_long_texts(
    posts: Mapping[str, _Tweet], notes: Mapping[str, _Tweet]
) -> Generator[SkippedItem, None, dict[str, _Tweet]]:
    """Return the posts, those that are cut off with the text of their note.

    A note's post is the one of the same second whose text begins most like the note's, or else one
    of the seconds before and after that begins alike. A note without a post is left out, because
    its post was deleted or was not public.
    """
    ids_by_second: dict[int, list[str]] = defaultdict(list)
    for post_id, post in posts.items():
        if post.record.created_at is not None:
            ids_by_second[int(post.record.created_at.timestamp())].append(post_id)
    completed: dict[str, _Tweet] = {}
    for note in notes.values():
        time = note.record.created_at
        second, found = int(time.timestamp()) if time else -1, ""
        for seconds in ([second], [second - 1, second + 1]):
            common = {
                post_id: _count_common(note.visible_text, posts[post_id].visible_text)
                for second_of_post in seconds
                for post_id in ids_by_second.get(second_of_post, ())
                if post_id not in completed
            }
            minimum = _MIN_COMMON_PREFIX if len(seconds) > 1 else min(1, len(common) - 1)
            best = max(common, key=lambda post_id: common[post_id], default="")
            if not found and best and common[best] >= minimum:
                found = best
        yield SkippedItem(note.record.source_id, "joined_to_post" if found else "no_such_post")
        if found:
            # A note that is not longer than its post is not the full text.
            text = max(posts[found].record.text, note.record.text, key=len)
            completed[found] = replace(posts[found], record=replace(posts[found].record, text=text))
    return {**posts, **completed}


def _count_common(left: str, right: str) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _keep_last_versions(
    posts: Mapping[str, _Tweet],
) -> Generator[SkippedItem, None, dict[str, NetworkPost]]:
    """Return the latest version of each post, under the identifier of its first version."""
    firsts = {version: post.versions[0] for post in posts.values() for version in post.versions}
    latest: dict[str, NetworkPost] = {}
    ids = sorted(
        (len(first), first, int(post_id), post_id)
        for post_id in posts
        for first in [firsts.get(post_id, post_id)]
    )
    for *_, post_id in ids:
        post, first = posts[post_id], firsts.get(post_id, post_id)
        if first in latest:
            yield SkippedItem(first, "superseded")
        # A reply to any version is a reply to the post.
        record = replace(post.record, source_id=first)
        latest[first] = NetworkPost(first, record, firsts.get(post.parent, post.parent))
    return latest


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
X = Importer(
    "x",
    "X (Twitter) archive",
    ExportFiles(
        _POST_FILES,
        rb"\A\W*window\.YTD\.tweets?\.part\d+\s*=",
        sure_names=(rf"data/{_POST_FILES}",),
    ).find,
    read_x,
    (_OLD_EXPORT, _PARTIAL_EXPORT),
    finish=finish_x,
)


_PUBLIC = frozenset({"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"})
_TOOT_MENTIONS = re.compile(
    r'\A(<p>)?(?:\s*<span class="h-card"[^<>]*><a [^<>]*>@<span>[^<>]*</span></a></span>)+\s*'
)
_POST_TYPES = frozenset({"Note", "Article", "Question", "Page"})


def read_mastodon(
    archive: Archive, name: str, include: frozenset[str]
) -> Iterator[NetworkPost | SkippedItem]:
    """Yield the posts of one outbox."""
    activities = get_member(json_rows.load_document(archive, name), "orderedItems")
    actor = _read_actor(archive, outbox_name=name)
    return json_rows.map_rows(
        name, activities, lambda row, location: _parse_activity(row, location, actor, include)
    )


def finish_mastodon(
    _archive: Archive, items: Iterator[NetworkPost | SkippedItem], include: frozenset[str]
) -> Iterator[ExportItem]:
    """Yield public posts, joined into threads; `include` may add `followers` and `replies`."""
    collected = yield from _collect(items)
    posts = sorted(
        collected.items(), key=lambda post: (post[1].record.created_at or _FIRST_TIME, post[0])
    )
    yield from join_threads(
        dict(posts), include, remove_mentions=lambda html: _TOOT_MENTIONS.sub(r"\1", html)
    )


def _read_actor(archive: Archive, *, outbox_name: str) -> Mapping[str, str]:
    """Return the `id` and `name` of the outbox's owner, from `actor.json` in the same folder."""
    name = f"{outbox_name.rpartition('/')[0]}/actor.json".lstrip("/")
    try:
        document = json_rows.load_document(archive, name, max_bytes=1 << 20)
    except MemberError:
        return {}  # the byline is lost, but the posts are still read
    return {
        "id": get_string(document, "id"),
        "name": get_string(document, "name") or get_string(document, "preferredUsername"),
    }


def _parse_activity(
    activity: dict[str, Any], location: str, actor: Mapping[str, str], include: frozenset[str]
) -> NetworkPost | SkippedItem:
    location = get_string(activity, "id") or location
    activity_type = get_string(activity, "type")
    note: object = activity.get("object")
    if activity_type and activity_type != "Create":
        return SkippedItem(location, "boost" if activity_type == "Announce" else "not_a_post")
    uri = get_string(note, "id")
    if not activity_type or not uri or not isinstance(get_member(note, "content"), str):
        return SkippedItem(uri or location, json_rows.MALFORMED)
    if get_string(note, "type") not in _POST_TYPES:
        return SkippedItem(uri, "not_a_post")
    owner = actor.get("id", "")
    account = get_string(note, "attributedTo") or get_string(activity, "actor") or owner
    if owner and account != owner:
        return SkippedItem(uri, "foreign_author")
    has_recipients = "to" in cast("dict[str, object]", note)
    visibility = _find_visibility(note if has_recipients else activity)
    # An opt-in to followers-only posts includes unlisted public posts; a message is never read.
    is_excluded = visibility == "private" or (
        visibility == "unlisted" and include.isdisjoint({"followers", "private"})
    )
    parent = get_string(note, "inReplyTo")
    languages = get_member(note, "contentMap")
    language = list(cast("dict[str, object]", languages)) if isinstance(languages, dict) else []
    record = ExportRecord(
        source="mastodon",
        source_id=re.sub(r"\Ahttps?://", "", uri) or uri,
        text=remove_foreign_parts(get_string(note, "content")),
        kind="reply" if parent and not (account and parent.startswith(f"{account}/")) else "post",
        title=strip_tags(get_string(note, "name") or get_string(note, "summary")),
        url=get_string(note, "url") or uri,
        author=actor.get("name", ""),
        byline="actor.json",
        markup="html",
        language=language[0] if len(language) == 1 and language[0] != "und" else "",
        created_at=get_time(note, "published") or get_time(activity, "published"),
        updated_at=get_time(note, "updated"),
        visibility=visibility,
        tags=tuple(
            get_string(tag, "name").lstrip("#")
            for tag in get_objects(note, "tag")
            if get_string(tag, "type") == "Hashtag"
        ),
    )
    return NetworkPost(uri, record, parent, visibility if is_excluded else "")


def _find_visibility(fields: object) -> str:
    """Return a post's visibility; a message to named people is `private`."""
    recipients, copied = set(get_strings(fields, "to")), set(get_strings(fields, "cc"))
    if recipients & _PUBLIC:
        return "public"
    if copied & _PUBLIC:
        return "unlisted"
    is_for_followers = any(recipient.endswith("/followers") for recipient in recipients)
    return "followers" if is_for_followers else "private"


MASTODON = Importer(
    "mastodon",
    "Mastodon archive",
    ExportFiles(
        r"outbox\.json",
        rb'\A\W*\{.{0,400}activitystreams.{0,4000}"OrderedCollection"',
        sure_names=(r"outbox\.json", r"actor\.json"),
    ).find,
    read_mastodon,
    (
        RejectedExport(
            ((r"outbox\.json", r"actor\.json"),),
            r"\A\s*\{.{0,400}activitystreams.{0,4000}\"(?:OrderedCollection|Person)\"",
        ),
    ),
    finish=finish_mastodon,
)
