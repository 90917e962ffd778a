"""Test what becomes of each platform's posts: one table of exports, with their records and skips.

No record of any case contains `SECRET`, `HIS WORDS` or an address at example.org.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from tests.unit.corpus import sample_exports as samples
from tests.unit.corpus.export_files import Files, write_folder
from tests.unit.corpus.importers.importer_outcomes import read_export
from tests.unit.corpus.importers.platform_rows import (
    ACCOUNT,
    FEED_HEAD,
    FOLLOWERS,
    PUBLIC,
    RSS_TAIL,
    SHARES_HEAD,
    WXR_HEAD,
    build_content,
    build_item,
    build_item_xml,
    build_note,
    build_post,
    build_script,
    build_share,
    build_tweet,
)
from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.blog_exports import WORDPRESS, remove_gated_parts
from twin_assets.corpus.importers.recognition import IMPORTERS, find_importer
from twin_assets.corpus.importers.record import ExportRecord
from twin_assets.corpus.importers.wordpress_text import convert_to_html
from twin_assets.corpus.raw_rows import build_record_row


@dataclass(frozen=True)
class Case:
    """An export, some fields of each record by `source_id`, and the number of skips by reason."""

    importer: str
    files: Files
    records: Mapping[str, Mapping[str, Any]]
    skips: Mapping[str, int] | None = None
    include: str = ""


def build_x(tweets: list[Any], notes: list[Any] | None = None, **scripts: list[Any]) -> Files:
    account = {"email": "ada@example.org", "username": "ada", "accountId": "42"}
    scripts = {"account": [{"account": account | {"accountDisplayName": "Ada L"}}]} | scripts
    files = {
        f"data/{name.replace('_', '-')}.js": build_script(f"{name}.part0", rows)
        for name, rows in ({"tweets": tweets, "note_tweet": notes or []} | scripts).items()
    }
    return files if notes else {name: text for name, text in files.items() if "note" not in name}


def build_long_text(number: int, text: str, minute: int, second: int = 9) -> dict[str, Any]:
    links = [{"shortUrl": "https://t.co/n", "expandedUrl": "https://e.org/n"}]
    time = f"2023-02-09T18:{minute:02}:{second:02}.000Z"
    core = {"text": text, "urls": links}
    return {"noteTweet": {"noteTweetId": str(number), "createdAt": time, "core": core}}


def answer(post: int, user: int = 42) -> dict[str, str]:
    return {"in_reply_to_status_id_str": str(post), "in_reply_to_user_id_str": str(user)}


def build_outbox(*activities: Any) -> Files:
    head = {"@context": "https://www.w3.org/ns/activitystreams", "type": "OrderedCollection"}
    actor = {"@context": [], "id": ACCOUNT, "preferredUsername": "ada", "name": "Ada"}
    outbox = json.dumps(head | {"orderedItems": activities})
    return {"outbox.json": outbox, "actor.json": json.dumps(actor)}


def build_wordpress(*items: str) -> Files:
    return {"export.xml": WXR_HEAD + "".join(items) + RSS_TAIL}


def build_ghost(*posts: Any, zone: str = "Etc/UTC") -> Files:
    tables = {
        "settings": [{"key": "title", "value": "SECRET"}, {"key": "timezone", "value": zone}],
        "posts": posts,
        "posts_authors": [{"post_id": "p1", "author_id": f"u{n}"} for n in (1, 2)],
        "users": [
            {"id": "u1", "name": "Ada", "email": "ada@example.org"},
            {"id": "u2", "name": "Grace", "email": "grace@example.org"},
        ],
        "tags": [{"id": "t1", "name": "Clocks"}, {"id": "t2", "name": "#internal"}],
        "posts_tags": [{"post_id": "p1", "tag_id": f"t{n}"} for n in (1, 2)],
    }
    return {"ada.ghost.json": json.dumps({"db": [{"meta": {"exported_on": 1}, "data": tables}]})}


def toot(number: int) -> str:
    return f"social.example/users/ada/statuses/{number}"


_MENTION = '<span class="h-card"><a href="x" class="u-url mention">@<span>bob</span></a></span>'
_ENTITIES = {
    "urls": [
        {"url": "https://t.co/a", "expanded_url": "https://example.com/a?b=1&c=2"},
        {"url": "https://t.co/q", "expanded_url": "https://twitter.com/bob/status/77"},
    ],
    "media": [{"url": "https://t.co/m"}],
    "hashtags": [{"text": "clocks"}, {"text": "clocks"}],
}
_EDITS = {"editTweetIds": ["1", "5"]}
_PROTECTIONS = [
    {"protectedHistory": {"protectedAt": f"{year}-01-01T00:00:00.000Z", "action": action}}
    for year, action in ((2011, "Unprotect"), (2020, "Protect"))
]
_SAME_SECOND = {"created_at": "Thu Feb 09 18:02:09 +0000 2023"}
_FIRST = 7 << 60
_BOLD = "".join(chr(0x1D5D4 + ord(letter) - ord("A")) for letter in "CLOCKS")

CASES: dict[str, Case] = {
    "x: a text as it was typed": Case(
        "x",
        build_x(
            [
                build_tweet(
                    1,
                    "a &lt; b &amp;amp; see https://t.co/a https://t.co/m https://t.co/q",
                    entities=_ENTITIES,
                )
            ]
        ),
        {
            "1": {
                "text": "a < b &amp; see https://example.com/a?b=1&c=2",
                "tags": ("clocks",),
                "url": "https://x.com/ada/status/1",
                "author": "Ada L",
                "byline": "data/account.js",
                "created_at": "2023-02-09T18:01:09+00:00",
                "updated_at": None,
                "language": "en",
            }
        },
        {},
    ),
    "x: no text by others": Case(
        "x",
        build_x(
            [
                build_tweet(1, "mine"),
                build_tweet(2, "RT @bob: HIS WORDS"),
                build_tweet(3, "also", retweeted_status={"full_text": "HIS WORDS"}),
                build_tweet(4, "@bob yes", **answer(8, 7)),
            ],
            like=[{"like": {"fullText": "HIS WORDS"}}],
            direct_messages=[{"dm": {"text": "HIS WORDS"}}],
            deleted_tweets=[{"tweet": {"full_text": "SECRET"}}],
            community_tweet=[{"tweet": {"full_text": "SECRET"}}],
        ),
        {"1": {"text": "mine"}},
        {"retweet": 2, "reply": 1, "deleted": 1, "community": 1},
    ),
    "x: the author goes on in a reply": Case(
        "x",
        build_x(
            [
                build_tweet(4, "@bob @eve I disagree", in_reply_to_user_id_str="7"),
                build_tweet(5, "and so", **answer(4)),
            ]
        ),
        {"4": {"text": "I disagree\n\nand so", "kind": "reply"}},
        {"joined_to_thread": 1},
        "replies",
    ),
    "x: long posts": Case(
        "x",
        build_x(
            [
                build_tweet(1, "Something short of the same second as nothing."),
                build_tweet(2, "A long text that begins like this… https://t.co/x"),
                build_tweet(3, "Another text of its own… https://t.co/y"),
            ],
            [
                build_long_text(
                    900, "A long text that begins like this, https://t.co/n &lt; end.", 2
                ),
                build_long_text(901, "Another text of its own mind, longer than that.", 3, 10),
                build_long_text(902, "SECRET text whose post was deleted.", 40),
            ],
        ),
        {
            "1": {"text": "Something short of the same second as nothing."},
            "2": {"text": "A long text that begins like this, https://e.org/n < end."},
            "3": {"text": "Another text of its own mind, longer than that."},
        },
        {"joined_to_post": 2, "no_such_post": 1},
    ),
    "x: long posts of one second": Case(
        "x",
        build_x(
            [
                build_tweet(1, "First begins so… https://t.co/1", **_SAME_SECOND),
                build_tweet(2, "Second has…", **_SAME_SECOND),
            ],
            [
                build_long_text(900, "Second has more words.", 2),
                build_long_text(901, "First begins so and ends with many more words.", 2),
            ],
        ),
        {
            "1": {"text": "First begins so and ends with many more words."},
            "2": {"text": "Second has more words."},
        },
    ),
    "x: threads": Case(
        "x",
        build_x(
            [
                build_tweet(3, "three", **answer(2)),
                build_tweet(1, "one"),
                build_tweet(2, "two", **answer(1)),
                build_tweet(9, "alone: the post before was deleted", **answer(8)),
            ]
        ),
        {
            "1": {"text": "one\n\ntwo\n\nthree", "updated_at": "2023-02-09T18:03:09+00:00"},
            "9": {"text": "alone: the post before was deleted"},
        },
        {"joined_to_thread": 2},
    ),
    "x: an edit keeps its identifier": Case(
        "x",
        build_x(
            [
                build_tweet(1, "with a tpyo", edit_info={"initial": _EDITS}),
                build_tweet(5, "without", edit_info={"edit": {"editControlInitial": _EDITS}}),
                build_tweet(6, "more", **answer(5)),
            ]
        ),
        {"1": {"text": "without\n\nmore", "url": "https://x.com/ada/status/5"}},
        {"superseded": 1, "joined_to_thread": 1},
    ),
    "x: a protected account": Case(
        "x",
        build_x([build_tweet(1, "SECRET")], protected_history=_PROTECTIONS),
        {},
        {"followers": 1},
    ),
    "x: parts, and a damaged row and part": Case(
        "x",
        {
            **build_x([build_tweet(1, "one"), {"tweet": {"id_str": {}, "full_text": "lost"}}]),
            "data/tweets-part1.js": "\ufeff"
            + build_script("tweets.part1", [build_tweet(2, "two"), build_tweet(1, "one")]),
            "data/tweets-part2.js": build_script("tweets.part2", [build_tweet(3, "three")])[:-9],
        },
        {"1": {"text": "one"}, "2": {"text": "two"}},
        {"malformed_row": 1, "duplicate": 1, "torn": 1},
    ),
    "mastodon: a public post": Case(
        "mastodon",
        build_outbox(
            build_note(
                2,
                "<p>Mine &amp; mine</p>",
                tag=[{"type": "Hashtag", "name": "#clocks"}, {"type": "Mention", "name": "@bob"}],
                summary="A title",
                updated="2023-03-01",
            )
        ),
        {
            toot(2): {
                "text": "<p>Mine &amp; mine</p>",
                "markup": "html",
                "title": "A title",
                "author": "Ada",
                "language": "en",
                "created_at": "2023-02-02T18:05:09+00:00",
                "updated_at": "2023-03-01T00:00:00+00:00",
                "tags": ("clocks",),
            }
        },
        {},
    ),
    "mastodon: boosts, replies, others, a reply's continuation and a damaged row": Case(
        "mastodon",
        build_outbox(
            {"id": "b", "type": "Announce", "object": "https://x.example/1"},
            build_note(1, f"<p>{_MENTION} no</p>", inReplyTo="https://x.example/users/bob/1"),
            build_note(2, "<p>HIS WORDS</p>", attributedTo="https://x.example/users/bob"),
            build_note(3, '<p class="quote-inline">RE: <a>HIS WORDS</a></p><p>Well said.</p>'),
            build_note(4, "<p>and more</p>", inReplyTo=f"{ACCOUNT}/statuses/1"),
            {"id": "d", "type": "Delete", "object": {}},
            build_note(5, "<p>lost</p>", content=4),
        ),
        {toot(3): {"text": "<p>Well said.</p>"}},
        {"boost": 1, "reply": 2, "foreign_author": 1, "not_a_post": 1, "malformed_row": 1},
    ),
    "mastodon: replies are asked for": Case(
        "mastodon",
        build_outbox(
            build_note(1, f"<p>{_MENTION} no</p>", inReplyTo="https://x.example/users/bob/1"),
            build_note(4, "<p>and more</p>", inReplyTo=f"{ACCOUNT}/statuses/1"),
        ),
        {toot(1): {"text": "<p>no</p>\n<p>and more</p>", "kind": "reply"}},
        {"joined_to_thread": 1},
        "replies",
    ),
    "mastodon: a thread without its private posts": Case(
        "mastodon",
        build_outbox(
            build_note(1, "<p>one</p>"),
            build_note(2, "<p>two</p>", inReplyTo=f"{ACCOUNT}/statuses/1"),
            build_note(3, "SECRET", to=FOLLOWERS, cc="", inReplyTo=f"{ACCOUNT}/statuses/2"),
            build_note(4, "SECRET", to=FOLLOWERS, cc=PUBLIC),
            build_note(5, "SECRET", to="https://x.example/users/bob", cc=""),
        ),
        {toot(1): {"text": "<p>one</p>\n<p>two</p>"}},
        {"joined_to_thread": 1, "followers": 1, "unlisted": 1, "private": 1},
    ),
    "mastodon: no opt-in brings a message to one person": Case(
        "mastodon",
        build_outbox(
            build_note(3, "<p>for friends</p>", to=FOLLOWERS, cc=""),
            build_note(4, "<p>quietly</p>", to=FOLLOWERS, cc=PUBLIC),
            build_note(5, "SECRET", to="https://x.example/users/bob", cc=""),
        ),
        {toot(3): {"visibility": "followers"}, toot(4): {"visibility": "unlisted"}},
        {"private": 1},
        "followers private replies drafts paid",
    ),
    "wordpress: a published post": Case(
        "wordpress",
        build_wordpress(
            build_item_xml(
                5,
                extra_xml='<category domain="post_tag" nicename="c"><![CDATA[Clocks &amp; bells]]>'
                '</category><category domain="nav_menu" nicename="m"><![CDATA[Menu]]></category>',
            )
        ),
        {
            "blog.example/5": {
                "title": "Title & 5",
                "author": "Ada L",
                "byline": "dc:creator",
                "created_at": "2023-02-09T17:05:09+00:00",
                "url": "https://blog.example/5/",
                "language": "en-US",
                "tags": ("Clocks & bells",),
            }
        },
        {},
    ),
    "wordpress: what is not public, comments, quotes, embeds, control characters": Case(
        "wordpress",
        build_wordpress(
            *(
                build_item_xml(n + 10, "SECRET", status=status)
                for n, status in enumerate(("draft", "pending", "of a plug-in", "private", "trash"))
            ),
            build_item_xml(20, "SECRET", post_password="open sesame"),
            build_item_xml(21, "SECRET", post_type="page"),
            build_item_xml(22, "SECRET", post_type="attachment", status="inherit"),
            build_item_xml(
                23,
                "HIS WORDS",
                extra_xml='<category domain="post_format" nicename="post-format-quote"/>',
            ),
            build_item_xml(
                24,
                "<!-- wp:paragraph --><p>mi\x08ne</p><!-- /wp:paragraph --><!-- wp:embed -->"
                '<figure class="wp-block-embed">HIS WORDS</figure><!-- /wp:embed -->',
                extra_xml="<wp:comment><wp:comment_content>HIS WORDS</wp:comment_content>"
                "</wp:comment>",
            ),
        ),
        {"blog.example/24": {"text": "<p>mine</p>"}},
        {
            **{"draft": 3, "private": 2, "trash": 1, "page": 1, "not_a_post": 1},
            **{"quote": 1, "comment": 1},
        },
    ),
    "wordpress: drafts and private posts are asked for": Case(
        "wordpress",
        build_wordpress(
            build_item_xml(1, status="draft"), build_item_xml(2, post_password="open sesame")
        ),
        {
            "blog.example/1": {"kind": "draft", "visibility": "private"},
            "blog.example/2": {"kind": "post", "visibility": "private"},
        },
        {},
        "drafts private",
    ),
    "wordpress: read up to the damage": Case(
        "wordpress",
        build_wordpress(
            build_item_xml(1),
            build_item_xml(2).replace("<wp:post_id>2</wp:post_id>", ""),
            build_item_xml(3),
            build_item_xml(4).replace("]]></content", "]]</content"),  # CDATA without an end
            build_item_xml(5),
        ),
        {"blog.example/1": {}, "blog.example/3": {}},
        {"malformed_row": 1, "torn": 1},
    ),
    "ghost: a post": Case(
        "ghost",
        build_ghost(
            build_post(
                1,
                canonical_url="https://ada.example/a",
                locale="en",
                html='<p>mine</p><figure class="kg-bookmark-card"><a>HIS WORDS</a></figure>',
            ),
            build_post(2, html=None, markdown="from *markdown*"),
            build_post(3, html=None, plaintext="from words"),
            build_post(4, html=None, lexical='{"root": {"children": []}}'),
            {"id": None, "title": "lost"},
        ),
        {
            "uuid-1": {
                "title": "Title & 1",
                "text": "<p>mine</p>",
                "author": "Ada, Grace",
                "byline": "posts_authors",
                "tags": ("Clocks",),
                "url": "https://ada.example/a",
                "language": "en",
                "created_at": "2023-02-09T18:05:09+00:00",
            },
            "uuid-2": {"text": "from *markdown*", "markup": "markdown", "author": ""},
            "uuid-3": {"text": "from words", "markup": "text"},
        },
        {"no_text": 1, "malformed_row": 1},
    ),
    **{
        f"ghost: visibility with {include or 'no opt-in'}": Case(
            "ghost",
            build_ghost(
                *(
                    build_post(n, html=f"<p>{'' if include else 'SECRET'} text</p>", **fields)
                    for n, fields in enumerate(
                        (
                            {"status": "draft"},
                            {"status": "scheduled"},
                            {"status": ""},
                            {"visibility": "members"},
                            {"status": "sent"},
                            {"visibility": "paid"},
                            {"visibility": "tiers"},
                            {"type": "page"},
                            {"status": "draft", "visibility": "members"},
                        ),
                        start=11,
                    )
                )
            ),
            records,
            skips,
            include,
        )
        for include, records, skips in (
            ("", {}, {"draft": 4, "followers": 2, "paid": 2, "page": 1}),
            (
                "drafts paid",
                {f"uuid-{n}": {"visibility": "private"} for n in (11, 12, 13)}
                | {f"uuid-{n}": {"visibility": "paid"} for n in (16, 17)},
                {"followers": 3, "page": 1},
            ),
        )
    },
    "linkedin: shares and an article": Case(
        "linkedin",
        samples.LINKEDIN,
        {
            f"share:{samples.FIRST}": {
                "text": f'{samples.SENTENCE}\n\nHe said "mend it", and I did. #clocks',
                "created_at": "2023-05-01T12:34:56.789000+00:00",
                "author": "Ada Lovelace",
                "byline": "Profile.csv",
                "tags": ("clocks",),
            },
            f"ugcPost:{samples.SECOND}": {"text": f"Two lines,\nboth mine: {samples.SENTENCE}"},
            f"share:{samples.FOURTH}": {"text": f"It’s a naïve clock. {samples.SENTENCE}"},
            "article:on-clocks-ada-lovelace": {
                "kind": "article",
                "url": "https://www.linkedin.com/pulse/on-clocks-ada-lovelace",
                "title": "On clocks",
                "created_at": "2022-03-02T10:30:00+00:00",
                "text": f'\n<img src="https://media.licdn.com/cover.png">\n\n\n\n<div><p>{samples.SENTENCE}</p>'
                "<p>Second paragraph &amp; more.</p></div>",
            },
        },
        samples.LINKEDIN_SKIPS,
    ),
    "linkedin: groups, unknown visibility, bold letters": Case(
        "linkedin",
        {
            "Shares.csv": SHARES_HEAD
            + build_share(_FIRST + 1, "SECRET").replace("share%3A", "groupPost%3A123-")
            + build_share(_FIRST + 2, "SECRET", "")
            + build_share(_FIRST + 3, "SECRET", "FRIENDS_OF_FRIENDS")
            + build_share(_FIRST + 4, f"{_BOLD} are fine, \u00bd hour. {{hashtag|#|{_BOLD}}}")
        },
        {
            f"share:{_FIRST + 4}": {
                "text": "CLOCKS are fine, \u00bd hour. #CLOCKS\n\nSecond paragraph.",
                "tags": ("CLOCKS",),
            }
        },
        {"followers": 1, "unknown_visibility": 2},
    ),
    "linkedin: without a column of visibility nothing is public": Case(
        "linkedin",
        {
            "Shares.csv": (SHARES_HEAD + build_share(_FIRST, "SECRET"))
            .replace(",Visibility", "")
            .replace(",MEMBER_NETWORK", "")
        },
        {},
        {"unknown_visibility": 1},
    ),
    "medium: a story": Case(
        "medium",
        samples.MEDIUM,
        {
            "0123456789ab": {
                "title": "On clocks",
                "kind": "article",
                "created_at": "2020-01-02T03:04:05.678000+00:00",
                "author": "Ada Lovelace",
                "byline": "p-author",
                "url": "https://medium.com/@ada/on-clocks-0123456789ab",
            }
        },
        samples.MEDIUM_SKIPS,
    ),
    "medium: drafts and responses are asked for": Case(
        "medium",
        samples.MEDIUM,
        {
            "0123456789ab": {"kind": "article", "visibility": "public"},
            "aaaaaaaaaaaa": {"kind": "reply", "visibility": "public"},
            "bbbbbbbbbbbb": {"kind": "draft", "visibility": "private"},
        },
        {},
        "drafts replies",
    ),
    "substack: free posts up to the paywall": Case(
        "substack",
        samples.SUBSTACK,
        {
            "101": {
                "title": "On clocks, again",
                "kind": "article",
                "created_at": "2024-03-01T10:00:00+00:00",
            },
            "103": {"text": f"<p>{samples.SENTENCE}</p>"},
            "107": {"title": "Two lines", "kind": "post"},
        },
        samples.SUBSTACK_SKIPS,
    ),
    "substack: paid posts are asked for": Case(
        "substack",
        samples.SUBSTACK,
        {
            **{"101": {}, "102": {"visibility": "paid"}, "105": {"visibility": "followers"}},
            **{"103": {"text": f"<p>{samples.SENTENCE}</p><p>PAID WORDS</p>"}, "107": {}},
        },
        {"draft": 1, "no_text": 1},
        "paid followers",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_posts_become_records(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    [importer] = [importer for importer in IMPORTERS if importer.name == case.importer]
    result = read_export(write_folder(case.files, tmp_path), importer, *case.include.split())
    fields = {key: json.loads(record.as_json()) for key, record in result.records.items()}
    assert {
        key: {
            name: tuple(fields[key][name]) if name == "tags" else fields[key][name]
            for name in case.records.get(key, ())
        }
        for key in fields
    } == {key: dict(values) for key, values in case.records.items()}
    if case.skips is not None:
        assert result.reason_counts == case.skips
    text = json.dumps(fields)
    words = ("SECRET", "HIS WORDS", "example.org", *samples.TEXT_BY_OTHERS)
    assert [word for word in words if word in text] == []


_X_ZONES = [
    {"account_timezone": [{"accountTimezone": {"accountId": "42", "timeZone": name}}]}
    for name in ("Pacific Time (US & Canada)", "Tokyo", "Central Standard Time")
]
_FEBRUARY_10 = {"created_at": "Fri Feb 10 02:00:00 +0000 2023"}
LOCAL_TIMES: list[tuple[str, str, Files, str]] = [
    ("wordpress", "both times", build_wordpress(build_item_xml(1, post_date="2023-02-10 02:05:09")),
     "2023-02-10T02:05:09"),
    ("wordpress", "UTC alone", build_wordpress(build_item_xml(1)), "2023-02-09T17:05:09"),
    ("ghost", "a zone", build_ghost(build_post(1), zone="Asia/Tokyo"), "2023-02-10T03:05:09"),
    ("ghost", "an unknown zone", build_ghost(build_post(1), zone="Mars"), "2023-02-09T18:05:09"),
    ("x", "a zone", build_x([build_tweet(1, "a", **_FEBRUARY_10)], **_X_ZONES[0]),
     "2023-02-09T18:00:00"),
    ("x", "a city", build_x([build_tweet(1, "a", **_FEBRUARY_10)], **_X_ZONES[1]),
     "2023-02-10T11:00:00"),
    ("x", "an unknown zone", build_x([build_tweet(1, "a", **_FEBRUARY_10)], **_X_ZONES[2]),
     "2023-02-10T02:00:00"),
    ("mastodon", "UTC", build_outbox(build_note(9, "<p>a</p>")), "2023-02-09T18:05:09"),
    ("mastodon", "an offset",
     build_outbox(build_note(9, "<p>a</p>", published="2023-02-10T03:05:09+09:00")),
     "2023-02-10T03:05:09"),
    ("medium", "UTC", {name: samples.MEDIUM[name] for name in list(samples.MEDIUM)[:1]},
     "2020-01-02T03:04:05.678000"),
    ("linkedin", "UTC", {"Shares.csv": SHARES_HEAD + build_share(samples.FIRST, "a")},
     "2023-05-01T12:34:56.789000"),
    ("substack", "UTC",
     {"posts.csv": "".join(samples.POSTS_CSV.splitlines(keepends=True)[:2]),
      "posts/101.on-clocks.html": "<p>a</p>"},
     "2024-03-01T10:00:00"),
    ("feed", "an offset", {"feed.xml": FEED_HEAD + build_item(1, build_content("<p>a</p>"))
                           + RSS_TAIL}, "2023-02-09T18:05:09"),
    ("table", "an offset", {"a.csv": "date,text\n2024-06-01T00:30:00+09:00,a\n"},
     "2024-06-01T00:30:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("importer_name", "files", "local_time"),
    [pytest.param(name, *rest, id=f"{name}: {zone}") for name, zone, *rest in LOCAL_TIMES],
)
def test_a_post_has_the_day_that_its_platform_shows(
    importer_name: str, files: Files, local_time: str, tmp_path: Path
) -> None:
    [importer] = [importer for importer in IMPORTERS if importer.name == importer_name]
    row = build_record_row(read_export(write_folder(files, tmp_path), importer).record)
    assert row["local_time"].isoformat() == local_time
    assert row["local_time"].tzinfo is None
    assert row["created_at"].tzinfo is UTC


@pytest.mark.parametrize("name", samples.EXPORTS)
def test_malformed_rows_do_not_affect_other_posts(name: str, tmp_path: Path) -> None:
    [importer] = [importer for importer in IMPORTERS if importer.name == name]
    result = read_export(write_folder(samples.MALFORMED_EXPORTS[name], tmp_path), importer)
    assert result.reason_counts == samples.MALFORMED_SKIP_COUNTS[name]
    # The malformed row of Substack is a post.
    assert len(result.records) == samples.RECORD_COUNTS[name] - (name == "substack")


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        (
            "<!--kg-gated-block:begin nonMember:false --><p>CLOSED</p><!--kg-gated-block:end-->b",
            "b",
        ),
        ("<!--kg-gated-block:begin nonMember:true -->a<!--kg-gated-block:end-->b", "ab"),
        ("a<!--members-only-->BELOW THE WALL", "a"),
        ("a<!--kg-gated-block:begin nonMember:false-->NEVER CLOSED", "a"),
    ],
)
def test_what_only_members_see_is_removed(page: str, shown: str) -> None:
    assert re.sub("<!--.*?-->", "", remove_gated_parts(page)) == shown


@pytest.mark.parametrize(
    ("content", "html"),
    [
        (
            "One\nline.\r\n\r\nTwo.\n<ul>\n<li>a</li>\n</ul>\nThree.",
            "<p>One<br />\nline.</p>\n<p>Two.</p>\n<ul>\n<li>a</li>\n</ul>\n<p>Three.</p>",
        ),
        ("<!-- wp:paragraph -->\n<p>a</p>\n<!-- /wp:paragraph -->", "<p>a</p>"),
        ("<pre>a\n\n  b</pre>", "<pre>a\n\n  b</pre>"),
        (
            '[1] and [sic] [gallery ids="1,2"] a[0] [x y] [foo bar="1"]',
            "<p>[1] and [sic]  a[0] [x y]</p>",
        ),
        ("[embed]https://x.example/1[/embed]mine[youtube https://y]", "<p>mine</p>"),
        ('[vc_row][vc_column_text css="x"]in[/vc_column_text][/vc_row]', "<p>in</p>"),
        ("write [[gallery]] so", "<p>write [gallery] so</p>"),
        (
            'a\n[code lang="python"]\nif a &lt; b:\n\n    x = "[gallery]"\n[/code]b',
            '<p>a</p>\n<pre><code class="language-python">if a &lt; b:\n\n    x = "[gallery]"'
            "</code></pre>\n<p>b</p>",
        ),
        ("[php]echo 1;[/php]", '<pre><code class="language-php">echo 1;</code></pre>'),
        ("[code]never closed\n\nmore", "<p>[code]never closed</p>\n<p>more</p>"),
        ("a <code>[gallery]</code> b", "<p>a <code>[gallery]</code> b</p>"),
    ],
)
def test_a_wordpress_text_becomes_its_pages_html(content: str, html: str) -> None:
    assert convert_to_html(content) == html


def test_hostile_text_takes_linear_time() -> None:
    for piece in ("[code]", "<pre>", "<!-- wp:a ", '[a b="', "<p>", "[[", "\n\n", "[a b=c "):
        assert isinstance(convert_to_html(piece * (400_000 // len(piece))), str)


def test_a_wordpress_export_without_its_marks_is_no_feed_of_drafts(tmp_path: Path) -> None:
    draft = build_item_xml(1, "SECRET", status="draft")
    path = tmp_path / "export.xml"
    path.write_text(f"<rss><channel>{'<!-- -->' * 20_000}{draft}{RSS_TAIL}")
    with open_archive(path) as archive:
        assert find_importer(archive) is feed.IMPORTER
        items = list(feed.IMPORTER.read(archive, include=frozenset({"drafts", "private"})))
    assert not [item for item in items if isinstance(item, ExportRecord)]


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    head = WXR_HEAD.replace("<rss", f"{doctype}<rss", 1)
    item = build_item_xml(1).replace("Title", "&a; &b;")
    result = read_export(write_folder({"a.xml": head + item + RSS_TAIL}, tmp_path), WORDPRESS)
    assert "aaaa" not in repr(result)
    assert "root:" not in repr(result)
