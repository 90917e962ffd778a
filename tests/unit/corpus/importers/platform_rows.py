"""Build rows of platforms' exports with plausible fields, for tests to vary.

Scope: one post each of X, Mastodon, WordPress, Ghost, LinkedIn and a feed, and the frame around
them. Out of scope: whole exports (`marked_exports`, each importer's test).
"""

from __future__ import annotations

import json
from typing import Any

ACCOUNT = "https://social.example/users/ada"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
FOLLOWERS = f"{ACCOUNT}/followers"

WXR_HEAD = """<?xml version="1.0" encoding="UTF-8" ?>
<rss version="2.0" xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/"
 xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:plug="https://plug.example/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:wp="http://wordpress.org/export/1.2/"><channel>
<title>Blog</title><link>https://blog.example</link><language>en-US</language>
<wp:wxr_version>1.2</wp:wxr_version><wp:base_blog_url>https://blog.example</wp:base_blog_url>
<wp:author><wp:author_login><![CDATA[ada]]></wp:author_login><wp:author_email>ada@example.org
</wp:author_email><wp:author_display_name><![CDATA[Ada L]]></wp:author_display_name></wp:author>
"""
FEED_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:creativeCommons="http://backend.userland.com/creativeCommonsRssModule">
<channel><title>Blog</title><link>https://blog.example/</link><language>en-gb</language>
<managingEditor>ada@example.org (Ada L)</managingEditor>
<creativeCommons:license>https://creativecommons.org/licenses/by/4.0/</creativeCommons:license>
"""
RSS_TAIL = "</channel></rss>"
SHARES_HEAD = "Date,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\n"


def build_tweet(number: int, text: str, **fields: Any) -> dict[str, Any]:
    return {
        "tweet": {
            "retweeted": False,
            "id_str": str(number),
            "created_at": f"Thu Feb 09 18:{number % 60:02}:09 +0000 2023",
            "full_text": text,
            "lang": "en",
        }
        | fields
    }


def build_note(
    number: int, html: str, *, to: str = PUBLIC, cc: str = FOLLOWERS, **fields: Any
) -> dict[str, Any]:
    """Return the Mastodon activity that published a post."""
    note = {
        "id": f"{ACCOUNT}/statuses/{number}",
        "type": "Note",
        "published": f"2023-02-{(number - 1) % 28 + 1:02}T18:05:09Z",
        "attributedTo": ACCOUNT,
        "to": [to],
        "cc": [cc],
        "content": html,
        "contentMap": {"en": html},
        "inReplyTo": None,
    }
    return {
        "id": f"{ACCOUNT}/statuses/{number}/activity",
        "type": "Create",
        "actor": ACCOUNT,
        "to": [to],
        "cc": [cc],
        "object": note | fields,
    }


def build_item_xml(number: int, text: str = "words", *, extra_xml: str = "", **fields: str) -> str:
    """Return an item; `fields` are `wp:` elements, and `extra_xml` is further XML."""
    values = {"status": "publish", "post_type": "post", "post_password": ""} | fields
    elements = "".join(
        f"<wp:{name}><![CDATA[{value}]]></wp:{name}>" for name, value in values.items()
    )
    return (
        f"<item><title>Title &amp;amp; {number}</title><link>https://blog.example/{number}/</link>"
        "<pubDate>Thu, 09 Feb 2023 18:05:09 +0000</pubDate><dc:creator>ada</dc:creator>"
        f"<content:encoded><![CDATA[{text}]]></content:encoded><wp:post_id>{number}</wp:post_id>"
        f"<wp:post_date_gmt>2023-02-09 17:05:09</wp:post_date_gmt>{elements}{extra_xml}</item>\n"
    )


def build_post(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "uuid": f"uuid-{number}",
        "title": f"Title &amp; {number}",
        "slug": f"title-{number}",
        "html": f"<p>text {number}</p>",
        "type": "post",
        "status": "published",
        "visibility": "public",
        "published_at": "2023-02-09T18:05:09.000Z",
        "created_at": "2023-01-01T00:00:00.000Z",
    } | fields


def build_share(number: int, commentary: str, visibility: str = "MEMBER_NETWORK") -> str:
    """Return a row of `Shares.csv` as LinkedIn writes it, quoted line by line."""
    link = f"https://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A{number}"
    doubled = commentary.replace('"', '""')
    return f'2023-05-01 12:34:56,{link},"{doubled}"\n""\n"Second paragraph.",,,{visibility}\n'


def build_item(number: int, content: str) -> str:
    return (
        f"<item><title>Title {number}</title><link>https://blog.example/{number}</link>"
        f"<guid>https://blog.example/?p={number}</guid>"
        f"<pubDate>Thu, 09 Feb 2023 18:05:09 +0100</pubDate>{content}</item>\n"
    )


def build_content(html: str) -> str:
    return f"<content:encoded><![CDATA[{html}]]></content:encoded>"


def build_script(name: str, rows: list[Any]) -> str:
    """Return the rows as a script of an X archive."""
    return f"window.YTD.{name} = {json.dumps(rows, indent=2)}"
