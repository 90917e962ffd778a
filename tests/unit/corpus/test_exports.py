"""Test that exports without readable posts and unsupported formats are rejected by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder, write_zip
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import (
    IMPORTERS,
    UNSUPPORTED_EXPORTS,
    reject_unsupported_exports,
)
from twin_assets.corpus.sources import find_sources
from twin_resources.errors import TwinError

MEDIUM_PAGE = (
    "<!DOCTYPE html><html><body><article class='h-entry'><p>Text</p><footer><p>By Ada</p>"
    '<p>Exported from <a href="https://medium.com">Medium</a> on May 1, 2024.</p></footer>'
    "</article></body></html>"
)
WXR = (
    '<?xml version="1.0" encoding="UTF-8" ?>\n<!-- generator="WordPress/6.4" -->\n'
    '<rss version="2.0" xmlns:wp="http://wordpress.org/export/1.2/"><channel></channel></rss>'
)
GHOST = json.dumps({"db": [{"meta": {"exported_on": 1}, "data": {"posts": []}}]})
OUTBOX = json.dumps(
    {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "outbox.json",
        "type": "OrderedCollection",
    }
)
BLOGGER = (
    "<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'>"
    "<generator>Blogger</generator></feed>"
)
MONTH_OF_TWEETS = 'Grailbird.data.tweets_2013_02 =\n [ {\n  "text" : "hello"} ]'
TWEETS = 'window.YTD.tweets.part0 = [ {"tweet": {"full_text": "hello"}} ]'

EXPORTS = {
    "LinkedIn data export": {"Shares.csv": "Date,ShareLink,ShareCommentary\n"},
    "Substack export": {"posts.csv": "post_id,post_date\n", "posts/1.a-post.html": "<p>Text</p>"},
    "Medium export": {"posts/2020-01-01_A-title-0123456789ab.html": MEDIUM_PAGE},
    "X (Twitter) archive from 2018 or earlier": {
        "data/js/tweets/2013_02.js": MONTH_OF_TWEETS,
        "data/js/tweet_index.js": "var tweet_index =  [ ]",
        "tweets.csv": '"tweet_id","in_reply_to_status_id"',
        "index.html": "<html></html>",
    },
    "X (Twitter) archive": {"data/tweets.js": TWEETS, "Your archive.html": "<html></html>"},
    "WordPress export (WXR)": {"ada.WordPress.2024-05-01.xml": WXR},
    "Mastodon archive": {"outbox.json": OUTBOX, "actor.json": "{}"},
    "Ghost export": {"ada.ghost.2024-05-01.json": GHOST},
    "Blogger export": {"Takeout/Blogger/Blogs/Ada/feed.atom": BLOGGER},
    "Tumblr export": {"posts/posts.xml": "<tumblr></tumblr>"},
    "Telegram chat": {
        "result.json": '{"name": "Bob",\n "type": "personal_chat",\n "messages": []}'
    },
    "WhatsApp chat": {"_chat.txt": "[12/03/20, 10:11:12] Bob: hello", "IMG-1.jpg": "x"},
    "Slack export": {"users.json": "[]", "channels.json": "[]", "general/2020-01-01.json": "[]"},
    "Discord chat": {"messages/index.json": "{}", "messages/c7/messages.json": "[]"},
    "Google Chat export": {"Takeout/Google Chat/Groups/DM a/messages.json": "{}"},
    "talk with an assistant (ChatGPT, Claude)": {
        "conversations.json": '[{"title": "Clocks", "create_time": 1.5, "mapping": {}}]'
    },
    "mailbox": {
        "Takeout/Mail/Sent.mbox": "From bob@x.example Thu Feb  9 2023\nTo: ada@x.example\n"
    },
    "Facebook or Instagram export": {
        "your_facebook_activity/posts/your_posts_1.html": "<p>Text</p>",
        "your_facebook_activity/messages/inbox/bob_1/message_1.html": "<p>hello</p>",
    },
    "Reddit export": {
        "posts.csv": "id,permalink,date,ip,subreddit,title,body\n",
        "subscribed_subreddits.csv": "subreddit\n",
    },
    "Bluesky export": {"repo.car": b":\xa2eroots\x81", "README.txt": "x"},
    "RSS or Atom feed": {"index.xml": "<?xml version='1.0'?>\n<rss version='2.0'></rss>"},
}


IMPORTABLE_TITLES = {importer.title for importer in IMPORTERS}


def find_rejection(source: Path) -> str:
    """Return why a source is rejected, or "" if it may contain posts."""
    with open_archive(source) as archive:
        try:
            reject_unsupported_exports(archive)
        except TwinError as error:
            return error.found
    return ""


def build_expected_rejection(title: str) -> str:
    if title in IMPORTABLE_TITLES:
        return f"no readable post in the {title}"
    return f"{title}, a format that cannot be imported yet"


def test_every_format_has_an_example_here() -> None:
    titles = {
        export.title or importer.title
        for importer in IMPORTERS
        for export in importer.rejected_exports
    }
    assert set(EXPORTS) == titles | {export.title for export in UNSUPPORTED_EXPORTS}


@pytest.mark.parametrize("title", EXPORTS)
def test_an_export_without_posts_is_rejected_in_every_container(title: str, tmp_path: Path) -> None:
    files = EXPORTS[title]
    for source in (
        write_folder(files, tmp_path / "an export"),
        write_zip(files, tmp_path / "renamed.bin"),
        write_zip(files, tmp_path / "nested.zip", parent_folder="ada-2024/"),
    ):
        assert find_rejection(source) == build_expected_rejection(title), source


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("WordPress export (WXR)", WXR),
        ("Ghost export", GHOST),
        ("Mastodon archive", OUTBOX),
        ("X (Twitter) archive", TWEETS),
        ("X (Twitter) archive from 2018 or earlier", MONTH_OF_TWEETS),
        ("X (Twitter) archive from 2018 or earlier", '"tweet_id","in_reply_to_status_id"\n'),
        ("Medium export", MEDIUM_PAGE),
        ("Blogger export", BLOGGER),
        ("RSS or Atom feed", "\ufeff<rss version='2.0'></rss>"),
        ("Substack export", "post_id,post_date,is_published\n"),
    ],
)
def test_a_single_file_is_recognized_by_its_beginning(
    title: str, text: str, tmp_path: Path
) -> None:
    write_folder({"download": text}, tmp_path)
    assert find_rejection(tmp_path / "download") == build_expected_rejection(title)


def test_an_incomplete_zip_beside_pages_is_ignored(tmp_path: Path) -> None:
    source = write_zip({"Shares.csv": "x" * 10_000}, tmp_path / "posts.zip")
    source.write_bytes(source.read_bytes()[:60])
    (tmp_path / "a.html").write_text("<p>Text</p>")
    assert find_rejection(tmp_path) == ""


def test_a_site_with_a_feed_and_a_zip_is_not_an_export(tmp_path: Path) -> None:
    files = {
        "_posts/2020-01-01-a.md": f"My export began with\n\n```xml\n{WXR}\n```\n",
        "feed.xml": EXPORTS["RSS or Atom feed"]["index.xml"],
        "index.html": "<html><body><p>Home</p></body></html>",
    }
    write_zip(EXPORTS["Substack export"], write_folder(files, tmp_path) / "files.zip")
    assert find_sources([tmp_path], include=frozenset()).exports == {}
    assert find_rejection(tmp_path / "_posts/2020-01-01-a.md") == ""
