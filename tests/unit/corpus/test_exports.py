"""Other platforms' exports are named and refused, whatever they are called and however packed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import (
    IMPORTERS,
    UNSUPPORTED_EXPORTS,
    reject_unsupported_exports,
)
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
    "WhatsApp chat": {"_chat.txt": "[12/03/20, 10:11:12] Ana: hello\n", "a.jpg": ""},
    "Telegram chat": {
        "result.json": '{"name": "Bob",\n "type": "personal_chat",\n "messages": []}'
    },
    "Slack export": {"channels.json": "[]", "users.json": "[]", "general/a.json": "[]"},
    "Discord data package": {"messages/index.json": "{}", "account/user.json": "{}"},
    "RSS or Atom feed": {"index.xml": "<?xml version='1.0'?>\n<rss version='2.0'></rss>"},
}


def as_folder(files: dict[str, str], at: Path) -> Path:
    for name, text in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return at


def as_zip(files: dict[str, str], at: Path, *, below: str = "") -> Path:
    with zipfile.ZipFile(at, "w") as archive:
        for name, text in files.items():
            archive.writestr(below + name, text)
    return at


IMPORTED = {importer.title for importer in IMPORTERS}


def refused(source: Path) -> TwinError:
    """What is said of an export in which no importer finds a post."""
    with open_archive(source) as archive, pytest.raises(TwinError) as caught:
        reject_unsupported_exports(archive)
    return caught.value


def test_every_format_has_an_example_here() -> None:
    named = {
        refused.title or importer.title
        for importer in IMPORTERS
        for refused in importer.refused_exports
    }
    assert set(EXPORTS) == named | {one.title for one in UNSUPPORTED_EXPORTS}


def named(name: str) -> str:
    if name in IMPORTED:
        return f"no readable post in the {name}"
    return f"{name}, a format that cannot be imported yet"


@pytest.mark.parametrize("name", EXPORTS)
def test_folders_and_archives_are_recognised(name: str, tmp_path: Path) -> None:
    files = EXPORTS[name]
    sources = [
        as_folder(files, tmp_path / "an export"),
        as_zip(files, tmp_path / "renamed.bin"),
        as_zip(files, tmp_path / "nested.zip", below="ada-2024/"),
    ]
    for source in sources:
        assert refused(source).found == named(name), source


@pytest.mark.parametrize(
    ("name", "text"),
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
def test_a_single_file_is_recognised_by_how_it_begins(name: str, text: str, tmp_path: Path) -> None:
    source = tmp_path / "download"
    source.write_text(text, encoding="utf-8")
    assert refused(source).found == named(name)


def test_a_long_page_is_known_by_its_last_lines(tmp_path: Path) -> None:
    page = f"<p>{'words ' * 40_000}</p>{MEDIUM_PAGE}"
    # A name as macOS writes it: its accent is a letter of its own.
    assert refused(as_folder({"Cafe\u0301.html": page}, tmp_path)).found == named("Medium export")


def objection_to(source: Path) -> str:
    """What is said against taking it for posts; "" nothing."""
    with open_archive(source) as archive:
        try:
            reject_unsupported_exports(archive)
        except TwinError as error:
            return error.found
    return ""


def test_a_torn_zip_is_no_traceback(tmp_path: Path) -> None:
    source = as_zip({"Shares.csv": "x" * 10_000}, tmp_path / "posts.zip")
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(TwinError, match="an incomplete zip"):
        open_archive(source)
    # Beside pages it is no reason to refuse them.
    (tmp_path / "a.html").write_text("<p>Text</p>")
    assert objection_to(tmp_path) == ""


def test_posts_are_never_taken_for_an_export(tmp_path: Path) -> None:
    """A site's own feed, a zip to download and a post that quotes an export are no export."""
    as_folder(
        {
            "_posts/2020-01-01-a.md": f"My export began with\n\n```xml\n{WXR}\n```\n",
            "feed.xml": EXPORTS["RSS or Atom feed"]["index.xml"],
            "index.html": "<html><body><p>Home</p></body></html>",
        },
        tmp_path,
    )
    as_zip(EXPORTS["Substack export"], tmp_path / "files.zip")
    assert objection_to(tmp_path) == ""
    assert objection_to(tmp_path / "_posts/2020-01-01-a.md") == ""


def test_the_shared_folders_are_no_exports(shared_posts: Path) -> None:
    for folder in ("skeeto", "jbranchaud-til", "skeeto/_posts"):
        assert objection_to(shared_posts / folder) == "", folder
