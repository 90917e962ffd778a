"""Build an invented export for each importer, in pieces, to tell damaged from undamaged posts.

Scope: exports as their platforms write them. Each text by the author has its own mark, and each
text that must not be imported contains `SECRET`.
Out of scope: damage (`test_damaged_exports`), the details of one importer (its test).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from tests.unit.corpus.importers.platform_rows import (
    ACCOUNT,
    FEED_HEAD,
    FOLLOWERS,
    RSS_TAIL,
    SHARES_HEAD,
    WXR_HEAD,
    build_content,
    build_item,
    build_item_xml,
    build_note,
    build_post,
    build_share,
    build_tweet,
)
from tests.unit.corpus.sample_exports import ARTICLE, SENTENCE, build_medium_page

SECRET = "SECRET"
"""A word in each text that must not be imported: drafts, messages, comments, addresses."""

_WORDS = "The clock on the wall of the workshop has told the wrong time since the flood, and"


@dataclass(frozen=True)
class Piece:
    """Consecutive bytes of a member.

    Attributes:
        mark: a word in the author's post that these bytes contain, or "" if they contain none.
        identifier: the location that a `SkippedItem` names, or the end of that location.
    """

    body: bytes
    mark: str = ""
    identifier: str = ""


Export = dict[str, list[Piece]]
Row = tuple[object, str, str]
"""A row of an export, its mark, and its identifier."""


def phrase(mark: str) -> str:
    return f'{_WORDS} {mark} says so. It is 5 < 7 & "true", don\'t you see? Ünïcode: 時計, 🕰️.'


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _build_list(rows: list[Row], *, head: str = "[", tail: str = "]") -> list[Piece]:
    """Return a JSON list in pieces."""
    pieces = [Piece(head.encode())]
    for number, (row, mark, identifier) in enumerate(rows):
        if number:
            pieces.append(Piece(b", "))
        body = json.dumps(row, indent=1, ensure_ascii=number % 2 == 0).encode()
        pieces.append(Piece(body, mark, identifier))
    return [*pieces, Piece(tail.encode())]


def build_x_archive() -> Export:
    first = 1_623_000_000_000_000_000

    def build_marked_rows(numbers: range) -> list[Row]:
        return [
            (build_tweet(first + n, escape(phrase(f"xpost{n}x"))), f"xpost{n}x", str(first + n))
            for n in numbers
        ]

    reply = {"in_reply_to_status_id_str": str(first), "in_reply_to_user_id_str": "42"}
    reply_to_bob = {"in_reply_to_status_id_str": "77", "in_reply_to_user_id_str": "7"}
    edited = {"edit_info": {"initial": {"editTweetIds": [str(first + 11)]}}}
    thread = build_tweet(first + 11, escape(phrase("xthreadx")), **reply, **edited)
    rows = [
        *build_marked_rows(range(6)),
        (build_tweet(first + 10, f"RT @bob: {SECRET} of bob"), "", ""),
        (thread, "xthreadx", str(first + 11)),
        (build_tweet(first + 12, f"@bob {SECRET} answer", **reply_to_bob), "", ""),
    ]
    account = {"email": f"{SECRET}@example.org", "username": "ada", "accountId": "42"}
    message = {"dmConversation": {"messages": [{"messageCreate": {"text": SECRET}}]}}
    return {
        "data/tweets.js": _build_list(rows, head="window.YTD.tweets.part0 = [ "),
        "data/tweets-part1.js": _build_list(
            build_marked_rows(range(20, 23)), head="window.YTD.tweets.part1 = [ "
        ),
        "data/account.js": _build_list(
            [({"account": account}, "", "")], head="window.YTD.account = ["
        ),
        "data/direct-messages.js": _build_list([(message, "", "")], head="window.YTD.dm.part0 = ["),
    }


def build_mastodon_archive() -> Export:
    rows: list[Row] = [
        (build_note(n, f"<p>{escape(phrase(f'toot{n}x'))}</p>"), f"toot{n}x", f"/statuses/{n}")
        for n in range(100, 106)
    ]
    rows.insert(2, (build_note(200, f"{SECRET} message", to="https://x.example/users/bob"), "", ""))
    rows.insert(4, (build_note(201, f"{SECRET} followers", to=FOLLOWERS), "", ""))
    boost = {"id": f"{ACCOUNT}/statuses/300/activity", "type": "Announce", "object": "https://x/1"}
    thread = build_note(
        110, f"<p>{escape(phrase('tootthreadx'))}</p>", inReplyTo=f"{ACCOUNT}/statuses/100"
    )
    rows += [(boost, "", ""), (thread, "tootthreadx", "/110")]
    head = (
        '{"@context":"https://www.w3.org/ns/activitystreams","id":"outbox.json",'
        '"type":"OrderedCollection","totalItems":10,"orderedItems":['
    )
    actor = {"id": ACCOUNT, "type": "Person", "preferredUsername": "ada", "name": "Ada"}
    return {
        "outbox.json": _build_list(rows, head=head, tail="]}"),
        "actor.json": [Piece(json.dumps(actor).encode())],
        "likes.json": [Piece(f'{{"orderedItems":["{SECRET}"]}}'.encode())],
    }


def build_wordpress_export() -> Export:
    def build_piece(number: int, text: str, mark: str = "", **fields: str) -> Piece:
        block = f"<!-- wp:paragraph -->\n<p>{text}</p>\n<!-- /wp:paragraph -->"
        return Piece(build_item_xml(number, block, **fields).encode(), mark, f"/{number}")

    comment = (
        "<wp:comment><wp:comment_id>9</wp:comment_id><wp:comment_content>"
        f"<![CDATA[{SECRET} comment]]></wp:comment_content></wp:comment>"
    )
    items = [
        build_piece(n, phrase(f"wpost{n}x"), f"wpost{n}x", extra_xml=comment, status="publish")
        for n in range(1, 9)
    ]
    items.insert(2, build_piece(90, f"{SECRET} draft", status="draft"))
    items.insert(4, build_piece(91, f"{SECRET} private", status="private"))
    head = WXR_HEAD.replace("ada@", f"{SECRET}@")
    return {
        "ada.WordPress.2024.xml": [Piece(head.encode()), *items, Piece(RSS_TAIL.encode() + b"\n")]
    }


def build_ghost_export() -> Export:
    def build_row(number: int, text: str, mark: str = "", **fields: str) -> Row:
        uuid = f"00000000-0000-4000-8000-{number:012}"
        post = build_post(number, uuid=uuid, html=f"<p>{escape(text)}</p>", **fields)
        return post, mark, f"{number:012}"

    rows = [build_row(n, phrase(f"gpost{n}x"), f"gpost{n}x") for n in range(1, 8)]
    rows.insert(2, build_row(90, f"{SECRET} draft", status="draft"))
    rows.insert(5, build_row(91, f"{SECRET} paid", visibility="paid"))
    other_tables = {
        "posts_authors": [{"id": "1", "post_id": "p1", "author_id": "u1"}],
        "users": [{"id": "u1", "name": "Ada", "email": f"{SECRET}@example.org"}],
        "tags": [{"id": "t1", "name": "Clocks"}],
        "posts_tags": [{"id": "1", "post_id": "p1", "tag_id": "t1"}],
    }
    head = '{"db":[{"meta":{"exported_on":1753891082041,"version":"6.0.0"},"data":{"posts":['
    tail = "]," + json.dumps(other_tables)[1:-1] + "}}]}"
    return {"ada.ghost.2024-05-01.json": _build_list(rows, head=head, tail=tail)}


def build_feed() -> Export:
    entries = [
        Piece(
            build_item(n, build_content(f"<p>{phrase(f'fpost{n}x')}</p>")).encode(),
            f"fpost{n}x",
            f"?p={n}",
        )
        for n in range(1, 9)
    ]
    return {"feed.xml": [Piece(FEED_HEAD.encode()), *entries, Piece(RSS_TAIL.encode() + b"\n")]}


def build_linkedin_export() -> Export:
    numbers = count((1_682_944_496_789) << 22, 86_400_000 << 22)

    def build_row(text: str, mark: str = "", visibility: str = "MEMBER_NETWORK") -> Piece:
        number = next(numbers)
        return Piece(build_share(number, text, visibility).encode(), mark, str(number))

    def build_article(number: int) -> Piece:
        mark = f"larticle{number}x"
        page = ARTICLE.replace("on-clocks-ada-lovelace", f"clocks-{number}")
        return Piece(page.replace(SENTENCE, phrase(mark)).encode(), mark, f"clocks-{number}")

    rows = [build_row(phrase(f"lpost{n}x"), f"lpost{n}x") for n in range(7)]
    rows.insert(3, build_row(f"{SECRET} for friends", visibility="CONNECTIONS"))
    return {
        "Shares.csv": [Piece(SHARES_HEAD.encode()), *rows],
        "messages.csv": [Piece(f"FROM,TO,CONTENT\nGrace,Ada,{SECRET}\n".encode())],
    } | {f"Articles/Articles/a{n}.html": [build_article(n)] for n in range(2)}


def build_medium_export() -> Export:
    def build_story(number: int) -> Piece:
        mark = f"mstory{number}x"
        text = f'<p class="graf graf--p">{phrase(mark)}</p>'
        page = build_medium_page(text, published="2020-01-02T03:04:05Z")
        return Piece(page.encode(), mark, f"{number:012x}")

    stories = {f"posts/2020-01-02_On-clocks-{n:012x}.html": [build_story(n)] for n in range(1, 6)}
    draft = build_medium_page(f"<p>{SECRET} draft</p>")
    return stories | {
        "posts/draft_Not-yet-bbbbbbbbbbbb.html": [Piece(draft.encode())],
        "ips/ips-1.html": [Piece(f"<p>{SECRET}</p>".encode())],
    }


def build_substack_export() -> Export:
    head = "post_id,post_date,is_published,email_sent_at,type,audience,title,subtitle\n"
    rows, pages = [Piece(head.encode())], Export()
    for n in range(1, 6):
        row = f'{n}.clocks-{n},2024-03-01T10:00:00.000Z,true,,newsletter,everyone,"On, {n}",x\n'
        rows.append(Piece(row.encode()))
        mark = f"sstack{n}x"
        page = f"<h2>On clocks</h2><p>{phrase(mark)}</p>"
        pages[f"posts/{n}.clocks-{n}.html"] = [Piece(page.encode(), mark, str(n))]
    rows.append(Piece(b"90.d,,false,,newsletter,everyone,Draft,\n"))
    rows.append(Piece(b"91.p,2024-03-02T10:00:00.000Z,true,,newsletter,only_paid,Paid,\n"))
    pages["posts/90.d.html"] = [Piece(f"<p>{SECRET} draft</p>".encode())]
    pages["posts/91.p.html"] = [Piece(f"<p>{SECRET} paid</p>".encode())]
    pages["email_list.ada.csv"] = [Piece(f"email\n{SECRET}@example.org\n".encode())]
    return pages | {"posts.csv": rows}


def build_table() -> Export:
    rows = [Piece(b"title,date,author,text,url\n")]
    for n in range(1, 7):
        text = phrase(f"trow{n}x").replace('"', '""')
        row = f'"On, {n}",2024-05-0{n},Ada,"{text}\n\nMore.",https://blog.example/{n}\n'
        rows.append(Piece(row.encode(), f"trow{n}x", f"blog.example/{n}"))
    rows.insert(3, Piece(f"Not yet,2999-01-01,Ada,{SECRET} words,\n".encode()))
    return {"posts.csv": rows}


EXPORTS = {
    "linkedin": build_linkedin_export,
    "medium": build_medium_export,
    "substack": build_substack_export,
    "x": build_x_archive,
    "mastodon": build_mastodon_archive,
    "wordpress": build_wordpress_export,
    "ghost": build_ghost_export,
    "feed": build_feed,
    "table": build_table,
}


def join_pieces(export: Export) -> dict[str, bytes]:
    """Return the bytes of each member."""
    return {name: b"".join(piece.body for piece in pieces) for name, pieces in export.items()}


def iter_marked_pieces(export: Export) -> Iterator[Piece]:
    """Yield the pieces with a post by the author."""
    for pieces in export.values():
        yield from (piece for piece in pieces if piece.mark)
