"""An export of each importer, in pieces, so that a test knows what a damaged byte may cost.

Scope: exports as their platforms write them, each of the author's texts and each of others'
secrets with a mark of its own. Nothing here is anybody's export.
Out of scope: damage (`mutations`), one importer's details (its own test).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

SECRET = "SECRET"
"""Begins every word that may never enter: drafts, messages, comments, addresses of others."""

_WORDS = "The clock on the wall of the workshop has told the wrong time since the flood, and"


@dataclass(frozen=True)
class Piece:
    """Consecutive bytes of a member.

    Attributes:
        mark: a word in the text of the author's post that these bytes hold; "" for the rest.
        identifier: by which a `Skipped` names it, or what its name ends with.
    """

    body: bytes
    mark: str = ""
    identifier: str = ""


Export = dict[str, list[Piece]]


def words(mark: str) -> str:
    return f'{_WORDS} {mark} says so. It is 5 < 7 & "true", don\'t you see? Ünïcode: 時計, 🕰️.'


def _list(rows: list[tuple[object, str, str]], *, head: str = "[", tail: str = "]") -> list[Piece]:
    """A JSON list: (row, mark, identifier) each."""
    pieces = [Piece(head.encode())]
    for number, (row, mark, identifier) in enumerate(rows):
        if number:
            pieces.append(Piece(b", "))
        body = json.dumps(row, indent=1, ensure_ascii=number % 2 == 0).encode()
        pieces.append(Piece(body, mark, identifier))
    return [*pieces, Piece(tail.encode())]


def x_archive() -> Export:
    def tweet(number: int, text: str, **more: object) -> dict[str, object]:
        fields = {
            "edit_info": {"initial": {"editTweetIds": [str(number)]}},
            "retweeted": False,
            "source": '<a href="https://mobile.x.com" rel="nofollow">X</a>',
            "entities": {"hashtags": [], "urls": [], "user_mentions": []},
            "id_str": str(number),
            "created_at": f"Thu Feb 09 18:{number % 60:02}:09 +0000 2023",
            "full_text": text.replace("&", "&amp;").replace("<", "&lt;"),
            "lang": "en",
        }
        return {"tweet": fields | more}

    first = 1_623_000_000_000_000_000
    rows: list[tuple[object, str, str]] = [
        (tweet(first + n, words(f"xpost{n}x")), f"xpost{n}x", str(first + n)) for n in range(6)
    ]
    rows.append((tweet(first + 10, f"RT @bob: {SECRET} of bob"), "", ""))
    reply = {"in_reply_to_status_id_str": str(first), "in_reply_to_user_id_str": "42"}
    rows.append((tweet(first + 11, words("xthreadx"), **reply), "xthreadx", str(first + 11)))
    to_bob = {"in_reply_to_status_id_str": "77", "in_reply_to_user_id_str": "7"}
    rows.append((tweet(first + 12, f"@bob {SECRET} answer", **to_bob), "", ""))
    account = {"email": f"{SECRET}@example.org", "username": "ada", "accountId": "42"}
    message = {"dmConversation": {"messages": [{"messageCreate": {"text": SECRET}}]}}
    return {
        "data/tweets.js": _list(rows, head="window.YTD.tweets.part0 = [ "),
        "data/tweets-part1.js": _list(
            [
                (tweet(first + n, words(f"xpost{n}x")), f"xpost{n}x", str(first + n))
                for n in range(20, 23)
            ],
            head="window.YTD.tweets.part1 = [ ",
        ),
        "data/account.js": _list([({"account": account}, "", "")], head="window.YTD.account = ["),
        "data/direct-messages.js": _list([(message, "", "")], head="window.YTD.dm.part0 = ["),
    }


def mastodon() -> Export:
    me, public = "https://social.example/users/ada", "https://www.w3.org/ns/activitystreams#Public"

    def create(number: int, text: str, to: list[str], **more: object) -> dict[str, object]:
        note = {
            "id": f"{me}/statuses/{number}",
            "type": "Note",
            "inReplyTo": None,
            "published": f"2023-02-{number % 27 + 1:02}T18:05:09Z",
            "attributedTo": me,
            "to": to,
            "cc": [f"{me}/followers"],
            "content": "<p>" + text.replace("&", "&amp;").replace("<", "&lt;") + "</p>",
            "contentMap": {"en": "x"},
            "tag": [{"type": "Hashtag", "name": "#clocks"}],
        }
        return {
            "id": f"{me}/statuses/{number}/activity",
            "type": "Create",
            "actor": me,
            "published": note["published"],
            "to": to,
            "cc": [f"{me}/followers"],
            "object": note | more,
        }

    rows: list[tuple[object, str, str]] = [
        (create(n, words(f"toot{n}x"), [public]), f"toot{n}x", f"/statuses/{n}")
        for n in range(100, 106)
    ]
    rows.insert(2, (create(200, f"{SECRET} message", ["https://x.example/users/bob"]), "", ""))
    rows.insert(4, (create(201, f"{SECRET} followers", [f"{me}/followers"]), "", ""))
    boost = {"id": f"{me}/statuses/300/activity", "type": "Announce", "object": "https://x/1"}
    rows.append((boost, "", ""))
    answer = {"inReplyTo": f"{me}/statuses/100"}
    rows.append((create(110, words("tootthreadx"), [public], **answer), "tootthreadx", "/110"))
    head = (
        '{"@context":"https://www.w3.org/ns/activitystreams","id":"outbox.json",'
        '"type":"OrderedCollection","totalItems":10,"orderedItems":['
    )
    actor = {"id": me, "type": "Person", "preferredUsername": "ada", "name": "Ada"}
    return {
        "outbox.json": _list(rows, head=head, tail="]}"),
        "actor.json": [Piece(json.dumps(actor).encode())],
        "likes.json": [Piece(f'{{"orderedItems":["{SECRET}"]}}'.encode())],
    }


def wordpress() -> Export:
    def item(number: int, text: str, status: str, more: str = "", kind: str = "post") -> bytes:
        return f"""<item>
    <title><![CDATA[Title {number}]]></title>
    <link>https://blog.example/{number}/</link>
    <pubDate>Thu, 09 Feb 2023 18:05:09 +0000</pubDate>
    <dc:creator><![CDATA[ada]]></dc:creator>
    <guid isPermaLink="false">https://blog.example/?p={number}</guid>
    <content:encoded><![CDATA[<!-- wp:paragraph -->
<p>{text}</p>
<!-- /wp:paragraph -->]]></content:encoded>
    <excerpt:encoded><![CDATA[]]></excerpt:encoded>
    <wp:post_id>{number}</wp:post_id>
    <wp:post_date_gmt><![CDATA[2023-02-09 18:05:09]]></wp:post_date_gmt>
    <wp:status><![CDATA[{status}]]></wp:status>
    <wp:post_type><![CDATA[{kind}]]></wp:post_type>
    <wp:post_password><![CDATA[]]></wp:post_password>
    <category domain="post_tag" nicename="c"><![CDATA[Clocks]]></category>
    {more}</item>""".encode()

    comment = (
        "<wp:comment><wp:comment_id>9</wp:comment_id><wp:comment_content>"
        f"<![CDATA[{SECRET} comment]]></wp:comment_content></wp:comment>"
    )
    head = f"""<?xml version="1.0" encoding="UTF-8" ?>
<!-- This is a WordPress eXtended RSS file generated by WordPress -->
<rss version="2.0" xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/"
  xmlns:content="http://purl.org/rss/1.0/modules/content/"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:wp="http://wordpress.org/export/1.2/">
<channel><title>Blog</title><link>https://blog.example</link><language>en-US</language>
<wp:wxr_version>1.2</wp:wxr_version><wp:base_blog_url>https://blog.example</wp:base_blog_url>
<wp:author><wp:author_login><![CDATA[ada]]></wp:author_login>
<wp:author_email><![CDATA[{SECRET}@example.org]]></wp:author_email></wp:author>
"""
    pieces = [Piece(head.encode())]
    for n in range(1, 9):
        mark = f"wpost{n}x"
        pieces.append(Piece(item(n, words(mark), "publish", comment), mark, f"/{n}"))
        pieces.append(Piece(b"\n"))
    pieces[5:5] = [Piece(item(90, f"{SECRET} draft", "draft")), Piece(b"\n")]
    pieces[9:9] = [Piece(item(91, f"{SECRET} private", "private")), Piece(b"\n")]
    return {"ada.WordPress.2024.xml": [*pieces, Piece(b"</channel>\n</rss>\n")]}


def ghost() -> Export:
    def post(number: int, text: str, status: str = "published", visibility: str = "public"):
        return {
            "id": f"{number:024}",
            "uuid": f"00000000-0000-4000-8000-{number:012}",
            "title": f"Title {number}",
            "slug": f"title-{number}",
            "html": "<p>" + text.replace("&", "&amp;").replace("<", "&lt;") + "</p>",
            "type": "post",
            "status": status,
            "visibility": visibility,
            "published_at": "2023-02-09T18:05:09.000Z",
        }

    rows: list[tuple[object, str, str]] = [
        (post(n, words(f"gpost{n}x")), f"gpost{n}x", f"{n:012}") for n in range(1, 8)
    ]
    rows.insert(2, (post(90, f"{SECRET} draft", "draft"), "", ""))
    rows.insert(5, (post(91, f"{SECRET} paid", visibility="paid"), "", ""))
    others = {
        "posts_authors": [{"id": "1", "post_id": f"{1:024}", "author_id": "u1"}],
        "users": [{"id": "u1", "name": "Ada", "email": f"{SECRET}@example.org"}],
        "tags": [{"id": "t1", "name": "Clocks"}],
        "posts_tags": [{"id": "1", "post_id": f"{1:024}", "tag_id": "t1"}],
    }
    head = '{"db":[{"meta":{"exported_on":1753891082041,"version":"6.0.0"},"data":{"posts":['
    tail = "]," + json.dumps(others)[1:-1] + "}}]}"
    return {"ada.ghost.2024-05-01.json": _list(rows, head=head, tail=tail)}


def feed() -> Export:
    head = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
  xmlns:dc="http://purl.org/dc/elements/1.1/">
<channel><title>Blog</title><link>https://blog.example</link><language>en</language>
"""
    pieces = [Piece(head.encode())]
    for n in range(1, 9):
        mark = f"fpost{n}x"
        body = f"""<item><title>Title {n}</title><link>https://blog.example/{n}</link>
<guid isPermaLink="false">https://blog.example/?p={n}</guid><dc:creator>Ada</dc:creator>
<pubDate>Thu, 09 Feb 2023 18:05:09 +0000</pubDate><description>A teaser</description>
<content:encoded><![CDATA[<p>{words(mark)}</p>]]></content:encoded></item>"""
        pieces += [Piece(body.encode(), mark, f"?p={n}"), Piece(b"\n")]
    return {"feed.xml": [*pieces, Piece(b"</channel></rss>\n")]}


def linkedin() -> Export:
    numbers = count((1_682_944_496_789) << 22, 86_400_000 << 22)

    def share(text: str, mark: str = "", visibility: str = "MEMBER_NETWORK") -> Piece:
        number = next(numbers)
        link = f"https://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A{number}"
        quoted = text.replace('"', '""')
        row = f'2023-05-01 12:34:56,{link},"{quoted}"\n""\n"Second paragraph.",,,{visibility}\n'
        return Piece(row.encode(), mark, str(number))

    head = b"Date,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\n"
    rows = [share(words(f"lpost{n}x"), f"lpost{n}x") for n in range(7)]
    rows.insert(3, share(f"{SECRET} for friends", visibility="CONNECTIONS"))
    return {
        "Shares.csv": [Piece(head), *rows],
        "messages.csv": [Piece(f"FROM,TO,CONTENT\nGrace,Ada,{SECRET}\n".encode())],
    } | {f"Articles/Articles/a{n}.html": [_article(n)] for n in range(2)}


def _article(number: int) -> Piece:
    mark = f"larticle{number}x"
    page = f"""<html><head><title>On clocks</title></head><body>
<h1><a href="https://www.linkedin.com/pulse/clocks-{number}?trk=x">On clocks</a></h1>
<p class="published">Published on 2022-03-02 10:30</p>
<div><p>{words(mark)}</p></div></body></html>"""
    return Piece(page.encode(), mark, f"clocks-{number}")


def medium() -> Export:
    def page(number: int, mark: str, text: str, published: bool = True) -> Piece:
        when = '<time class="dt-published" datetime="2020-01-02T03:04:05Z">a day</time>'
        ada = '<a href="https://medium.com/@ada" class="p-author h-card">Ada</a>'
        by = f"<p>By {ada} on {when}.</p>"
        body = f"""<!DOCTYPE html><html><head><title>On clocks</title></head><body>
<article class="h-entry"><header><h1 class="p-name">On clocks {number}</h1></header>
<section data-field="subtitle" class="p-summary">A subtitle</section>
<section data-field="body" class="e-content"><p class="graf graf--p">{text}</p></section>
<footer>{by if published else ""}<p>Exported from <a href="https://medium.com">Medium</a></p>
</footer></article></body></html>"""
        return Piece(body.encode(), mark, f"{number:012x}")

    found: Export = {
        f"posts/2020-01-02_On-clocks-{n:012x}.html": [page(n, f"mstory{n}x", words(f"mstory{n}x"))]
        for n in range(1, 6)
    }
    found["posts/draft_Not-yet-bbbbbbbbbbbb.html"] = [page(99, "", f"{SECRET} draft", False)]
    return found | {"ips/ips-1.html": [Piece(f"<p>{SECRET}</p>".encode())]}


def substack() -> Export:
    head = "post_id,post_date,is_published,email_sent_at,type,audience,title,subtitle\n"
    rows, found = [Piece(head.encode())], Export()
    for n in range(1, 6):
        row = f'{n}.clocks-{n},2024-03-01T10:00:00.000Z,true,,newsletter,everyone,"On, {n}",x\n'
        rows.append(Piece(row.encode()))
        mark = f"sstack{n}x"
        page = f"<h2>On clocks</h2><p>{words(mark)}</p>"
        found[f"posts/{n}.clocks-{n}.html"] = [Piece(page.encode(), mark, str(n))]
    rows.append(Piece(b"90.d,,false,,newsletter,everyone,Draft,\n"))
    rows.append(Piece(b"91.p,2024-03-02T10:00:00.000Z,true,,newsletter,only_paid,Paid,\n"))
    found["posts/90.d.html"] = [Piece(f"<p>{SECRET} draft</p>".encode())]
    found["posts/91.p.html"] = [Piece(f"<p>{SECRET} paid</p>".encode())]
    found["email_list.ada.csv"] = [Piece(f"email\n{SECRET}@example.org\n".encode())]
    return found | {"posts.csv": rows}


def jekyll() -> Export:
    head = "---\nlayout: post\ntitle: 'On: clocks'\ndate: 2020-01-0{} 10:00\ntags: [a, b]\n---\n"
    posts = {
        f"_posts/2020-01-0{n}-clocks-{n}.md": [
            Piece(f"{head.format(n)}\n{words(f'jpost{n}x')}\n".encode(), f"jpost{n}x")
        ]
        for n in range(1, 6)
    }
    config = "title: Blog\nurl: https://blog.example\ntimezone: Europe/Zurich\n"
    draft = f"---\ntitle: Not yet\npublished: false\n---\n{SECRET} words\n"
    return posts | {
        "_config.yml": [Piece(config.encode())],
        "_posts/2020-02-01-not-yet.md": [Piece(draft.encode())],
    }


def hugo() -> Export:
    heads = (
        "---\ntitle: Clocks\ndate: 2020-01-01\n---\n",
        '+++\ntitle = "Clocks"\ndate = 2020-01-02T10:00:00Z\n+++\n',
        '{\n"title": "Clocks",\n"date": "2020-01-03"\n}\n\n',
    )
    posts = {
        f"content/post/clocks-{n}.md": [
            Piece(f"{head}\n{words(f'hpost{n}x')}\n".encode(), f"hpost{n}x")
        ]
        for n, head in enumerate((*heads, *heads))
    }
    draft = f'+++\ntitle = "Not yet"\ndraft = true\n+++\n{SECRET} words\n'
    return posts | {
        "hugo.toml": [Piece(b'baseURL = "https://blog.example/"\ntitle = "Blog"\n')],
        "content/post/not-yet.md": [Piece(draft.encode())],
    }


def notes() -> Export:
    return {
        f"{n}.{suffix}": [Piece(f"# Clocks\n\n{words(f'note{n}x')}\n".encode(), f"note{n}x")]
        for n, suffix in enumerate(("md", "markdown", "md", "md", "md"))
    }


FOLDERS = {build.__name__: build for build in (jekyll, hugo, notes)}
"""Folders of files, which no module of `recognition.IMPORTERS` reads."""

EXPORTS = {
    build.__name__ if build is not x_archive else "x": build
    for build in (linkedin, medium, substack, x_archive, mastodon, wordpress, ghost, feed)
}


def marks(export: Export) -> Iterator[Piece]:
    """The pieces that hold a post of the author's."""
    for pieces in export.values():
        yield from (piece for piece in pieces if piece.mark)
