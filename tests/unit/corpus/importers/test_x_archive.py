"""Test X archives: text as typed, complete long posts, joined threads, no text by others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.unit.corpus.export_files import write_folder, write_zip
from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import build_script, build_tweet
from twin_assets.corpus.importers import x_archive
from twin_assets.corpus.importers.threads import find_thread_roots
from twin_assets.corpus.importers.x_text import VisiblePost, join_long_posts

ACCOUNT = {
    "email": "ada@example.org",
    "username": "ada",
    "accountId": "42",
    "accountDisplayName": "Ada L",
}


def build_note(number: int, text: str, minute: int, second: int = 9) -> dict[str, Any]:
    return {
        "noteTweet": {
            "noteTweetId": str(number),
            "createdAt": f"2023-02-09T18:{minute:02}:{second:02}.000Z",
            "core": {
                "text": text,
                "urls": [{"shortUrl": "https://t.co/n", "expandedUrl": "https://e.org/n"}],
            },
        }
    }


def build_archive_files(
    tweets: list[Any], notes: list[Any] | None = None, **scripts: str
) -> dict[str, str]:
    files = {
        "data/account.js": build_script("account.part0", [{"account": ACCOUNT}]),
        "data/tweets.js": build_script("tweets.part0", tweets),
    }
    if notes is not None:
        files["data/note-tweet.js"] = build_script("note_tweet.part0", notes)
    return files | {f"data/{name.replace('_', '-')}.js": text for name, text in scripts.items()}


def read(files: dict[str, str], folder: Path, *include: str) -> ImporterOutcomes:
    return read_export(write_folder(files, folder), x_archive.IMPORTER, *include)


def test_links_are_expanded_and_escapes_and_media_links_removed(tmp_path: Path) -> None:
    entities = {
        "urls": [
            {"url": "https://t.co/a", "expanded_url": "https://example.org/a?b=1&c=2"},
            {"url": "https://t.co/q", "expanded_url": "https://twitter.com/bob/status/77"},
        ],
        "media": [{"url": "https://t.co/m"}],
        "hashtags": [{"text": "clocks"}, {"text": "clocks"}],
    }
    text = "a &lt; b &amp;&amp; &amp;lt; see https://t.co/a https://t.co/m https://t.co/q"
    record = read(build_archive_files([build_tweet(1, text, entities=entities)]), tmp_path).record
    assert record.text == "a < b && &lt; see https://example.org/a?b=1&c=2"
    assert record.tags == ("clocks",)
    assert record.url == "https://x.com/ada/status/1"
    assert (record.author, record.byline) == ("Ada L", "data/account.js")
    assert record.created_at == datetime(2023, 2, 9, 18, 1, 9, tzinfo=UTC)
    assert (record.kind, record.language, record.visibility) == ("post", "en", "public")


def test_text_by_others_is_not_imported(tmp_path: Path) -> None:
    files = build_archive_files(
        [
            build_tweet(1, "mine"),
            build_tweet(2, "RT @bob: HIS WORDS"),
            build_tweet(3, "also mine", retweeted_status={"full_text": "HIS WORDS"}),
            build_tweet(4, "@bob yes", in_reply_to_user_id_str="7", in_reply_to_status_id_str="8"),
        ],
        like=build_script("like.part0", [{"like": {"fullText": "HIS WORDS"}}]),
        direct_messages=build_script("direct_messages.part0", [{"dm": {"text": "HIS WORDS"}}]),
        deleted_tweets=build_script("deleted_tweets.part0", [{"tweet": {"full_text": "GONE"}}]),
        community_tweet=build_script("community_tweet.part0", [{"tweet": {"full_text": "CLOSED"}}]),
    )
    result = read(files, tmp_path)
    assert list(result.records) == ["1"]
    assert result.reason_counts == {"retweet": 2, "reply": 1, "deleted": 1, "community": 1}
    rows_text = "".join(record.as_json() for record in result.records.values())
    assert "HIS" not in rows_text
    assert "example.org" not in rows_text


def test_replies_to_others_need_an_opt_in(tmp_path: Path) -> None:
    tweets = [
        build_tweet(4, "@bob @eve I disagree", in_reply_to_user_id_str="7"),
        # The author continues their own reply in the same conversation.
        build_tweet(5, "and so", in_reply_to_user_id_str="42", in_reply_to_status_id_str="4"),
    ]
    assert not read(build_archive_files(tweets), tmp_path).records
    record = read(build_archive_files(tweets), tmp_path, "replies").record
    assert (record.kind, record.text) == ("reply", "I disagree\n\nand so")


def test_long_posts_are_complete(tmp_path: Path) -> None:
    long_text = "A long text that begins like this, goes on https://t.co/n and ends &lt; here."
    tweets = [
        build_tweet(1, "Something short of the same second as nothing."),
        build_tweet(2, "A long text that begins like this… https://t.co/x"),
        build_tweet(3, "Another text of its own… https://t.co/y"),
    ]
    notes = [
        build_note(900, long_text, minute=2),
        # One second later, matched by its beginning.
        build_note(901, "Another text of its own mind, longer than what is shown.", 3, second=10),
        build_note(902, "A long text whose post was deleted.", minute=40),
    ]
    result = read(build_archive_files(tweets, notes), tmp_path)
    expected = "A long text that begins like this, goes on https://e.org/n and ends < here."
    assert result.records["2"].text == expected
    assert result.records["3"].text == "Another text of its own mind, longer than what is shown."
    assert result.records["1"].text.endswith("nothing.")
    assert result.skip_reasons["note-902"] == "no_such_post"
    assert result.reason_counts["joined_to_post"] == 2


def test_posts_of_the_same_second_are_matched_by_their_text() -> None:
    time = datetime(2023, 2, 9, tzinfo=UTC)
    posts = {
        "1": VisiblePost(time, "First begins so… https://t.co/1"),
        "2": VisiblePost(time, "Second has…"),
    }
    notes = {
        "a": VisiblePost(time, "Second has more words."),
        "b": VisiblePost(time, "First begins so and ends."),
    }
    assert join_long_posts(notes, posts) == {"a": "2", "b": "1"}
    assert join_long_posts({"c": VisiblePost(None, "First begins so")}, posts) == {}


def test_a_thread_becomes_one_text(tmp_path: Path) -> None:
    tweets = [
        build_tweet(3, "three", in_reply_to_status_id_str="2", in_reply_to_user_id_str="42"),
        build_tweet(1, "one"),
        build_tweet(2, "two", in_reply_to_status_id_str="1", in_reply_to_user_id_str="42"),
        # The preceding post was deleted.
        build_tweet(9, "alone", in_reply_to_status_id_str="8", in_reply_to_user_id_str="42"),
    ]
    result = read(build_archive_files(tweets), tmp_path)
    assert result.records["1"].text == "one\n\ntwo\n\nthree"
    assert result.records["1"].updated_at == datetime(2023, 2, 9, 18, 3, 9, tzinfo=UTC)
    assert result.records["9"].text == "alone"
    assert result.reason_counts == {"joined_to_thread": 2}


def test_a_cycle_of_replies_ends() -> None:
    parents = {"1": "2", "2": "1", "3": "2", "4": "", "5": "4"}
    assert find_thread_roots(parents) == {"1": "1", "2": "2", "3": "2", "4": "4", "5": "4"}


def test_an_edit_keeps_its_identifier(tmp_path: Path) -> None:
    initial_fields = {"initial": {"editTweetIds": ["1", "5"]}}
    edit_fields = {"edit": {"editControlInitial": {"editTweetIds": ["1", "5"]}}}
    tweets = [
        build_tweet(1, "with a tpyo", edit_info=initial_fields),
        build_tweet(5, "without a typo", edit_info=edit_fields),
        build_tweet(6, "more", in_reply_to_status_id_str="5", in_reply_to_user_id_str="42"),
    ]
    result = read(build_archive_files(tweets), tmp_path)
    assert result.records["1"].text == "without a typo\n\nmore"
    assert result.records["1"].url.endswith("/status/5")
    assert result.reason_counts == {"superseded": 1, "joined_to_thread": 1}


def test_a_protected_account_needs_an_opt_in(tmp_path: Path) -> None:
    history = [
        {"protectedHistory": {"protectedAt": "2011-01-01T00:00:00.000Z", "action": "Unprotect"}},
        {"protectedHistory": {"protectedAt": "2020-01-01T00:00:00.000Z", "action": "Protect"}},
    ]
    files = build_archive_files(
        [build_tweet(1, "for friends")],
        protected_history=build_script("protected_history.part0", history),
    )
    assert read(files, tmp_path).reason_counts == {"followers": 1}
    assert read(files, tmp_path, "followers").record.visibility == "followers"


def test_parts_zips_and_single_files_are_read(tmp_path: Path) -> None:
    files = build_archive_files([build_tweet(1, "one")]) | {
        "data/tweets-part1.js": "\ufeff"
        + build_script("tweets.part1", [build_tweet(2, "two"), build_tweet(1, "one")])
    }
    result = read_export(
        write_zip({f"x-2023/{name}": text for name, text in files.items()}, tmp_path / "a"),
        x_archive.IMPORTER,
    )
    assert set(result.records) == {"1", "2"}
    assert result.reason_counts == {"duplicate": 1}
    single_file = tmp_path / "download.txt"
    single_file.write_text(files["data/tweets.js"], encoding="utf-8")
    assert read_export(single_file, x_archive.IMPORTER).record.url == "https://x.com/i/status/1"


def test_a_row_without_an_identifier_is_malformed_and_a_damaged_script_is_torn(
    tmp_path: Path,
) -> None:
    text = build_script("tweets.part0", [build_tweet(n, f"text {n}") for n in range(1, 4)])
    text = text.replace('"id_str": "2"', '"id_str": {}')
    result = read({"data/tweets.js": text}, tmp_path)
    assert set(result.records) == {"1", "3"}
    assert result.reason_counts == {"malformed_row": 1}
    for damaged in (
        text.replace('"text 3"', '"text 3'),
        text[: text.index("text 3")],
        'window.YTD.tweets.part0 = [].concat(alert(1)) || [ {"tweet": {"id_str": "1"}} ]',
        "window.YTD.tweets.part0 = {}",
    ):
        assert read({"data/tweets.js": damaged}, tmp_path).reason_counts == {"torn": 1}
