"""Test that a hidden post is counted and never imported, for each way to hide a post."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from twin_assets.corpus.importers.visibility_rules import find_hidden_reason, parse_hiding_line
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.raw_posts_import import build_inventory_frame, read_rows
from twin_assets.corpus.remediation import find_advice

WORDS = "These are words of a walk along the river, and of what stood on its other bank.\n"
HIDDEN_POSTS = {
    "draft in words": ("a.md", "---\ndraft: 'Yes'\n---\n", "draft"),
    "Zola's extra table": ("a.md", "+++\n[extra]\ndraft = true\n+++\n", "draft"),
    "status of Pelican": ("a.md", "Title: A\nDate: 2020-01-02\nStatus: draft\n\n", "draft"),
    "status of Pelican alone": ("a.md", "Status:draft\n\n", "draft"),
    "status in HTML": ("a.html", '<meta name="status" content="draft">', "draft"),
    "visible to followers": ("a.md", "---\nvisibility: [followers]\n---\n", "followers"),
    "never listed": ("a.md", "---\nbuild:\n  list: never\n---\n", "unlisted"),
    "headless": ("a.md", "---\nheadless: true\n---\n", "not_published"),
    "future pubDate": ("a.mdx", "---\npubDate: 'Jan 08 2199'\n---\n", "not_yet_published"),
    "future publishDate": (
        "a.md", "---\ndate: 2019-01-01\npublishDate: 2199-01-01\n---\n", "not_yet_published",
    ),
    "future date in the file name": ("2199-01-01-a.md", "", "not_yet_published"),
    "expired": ("a.md", "---\nexpiryDate: 2020-01-01\n---\n", "expired"),
    "private folder": ("Private/a.md", "", "private"),
    "damaged fence": ("a.md", "--\ntitle: A\nisDraft: true\n---\n", "draft"),
    "words in one key": ("a.md", "---\nisPrivatePost: true\n---\n", "private"),
    "render of Zola": ("a.md", "+++\ntitle = 'A'\nrender = false\n+++\n", "not_published"),
    "a key set to no": ("a.md", "---\npost_published: false\n---\n", "draft"),
}  # fmt: skip
PUBLIC_FRONT_MATTER = {
    "published on a day": "---\npublished: 2019-01-01\n---\n",
    "published": "---\npublished: true\ndraft: false\nprivate: 'no'\nhidden: 0\n---\n",
    "status": "---\nstatus: published\n---\n",
    "status of a garden": "---\nstatus: evergreen\nstage: seedling\n---\n",
    "parts of a page": "---\nhide: [navigation, toc]\nhideMeta: true\nhide_title: true\n---\n",
    "comments": "---\nprivate_comments: true\nhidden_in_menu: true\n---\n",
    "no password": "---\npassword: ''\n---\n",
    "a picture": "---\ncover:\n  hidden: true\n---\n",
    "Pelican": "Title: A\nDate: 2020-01-02\nStatus: published\n\n",
    "words about it": "Set `draft: true` in it.\n\n",
    "a table of passwords": "password: a word that lets one in\n\n",
    "a future in the text": "It was to be 2199-01-01.\n\n",
}


def import_rows(folder: Path, *include: str) -> pl.DataFrame:
    inventory = take_inventory([folder], include=include)
    return read_rows(build_inventory_frame(inventory), inventory)


@pytest.mark.parametrize("case", HIDDEN_POSTS)
def test_a_hidden_post_is_counted_and_never_imported(case: str, tmp_path: Path) -> None:
    name, head, reason = HIDDEN_POSTS[case]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(head + WORDS)
    (tmp_path / "other.md").write_text(WORDS * 2)
    [row] = import_rows(tmp_path).filter(pl.col("source_id") == name).to_dicts()
    if reason == "draft":
        # Cleaning drops drafts.
        assert (row["kind"], row["visibility"]) == ("draft", "private")
    else:
        assert (row["problem"], row["text"]) == (reason, "")
    assert find_advice(reason)


@pytest.mark.parametrize("case", PUBLIC_FRONT_MATTER)
def test_public_posts_are_imported(case: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(PUBLIC_FRONT_MATTER[case] + WORDS)
    [row] = import_rows(tmp_path).to_dicts()
    assert (row["problem"], row["visibility"]) == ("", "public")
    assert WORDS.strip() in row["text"]
    assert row["kind"] in {"post", "note"}


def test_an_opt_in_includes_only_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "draft.md").write_text("---\ndraft: true\n---\n" + WORDS)
    (tmp_path / "private.md").write_text("---\nprivate: true\ndraft: true\n---\n" + WORDS)
    (tmp_path / "paid.md").write_text("---\nvisibility: paid\n---\n" + WORDS)
    rows = import_rows(tmp_path, "drafts")
    problems = dict(rows.select("source_id", "problem").rows())
    assert problems == {"draft.md": "", "paid.md": "paid", "private.md": "private"}
    assert rows.filter(source_id="draft.md")["kind"].to_list() == ["note"]
    private_rows = import_rows(tmp_path, "private")
    assert private_rows.filter(source_id="private.md")["visibility"].to_list() == ["private"]
    assert private_rows.filter(source_id="paid.md")["problem"].to_list() == ["paid"]


def test_a_new_opt_in_causes_the_folder_to_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nprivate: true\n---\n" + WORDS)
    without_opt_in, with_opt_in = (
        build_inventory_frame(take_inventory([tmp_path], include=include))
        for include in ((), ("private",))
    )
    assert not without_opt_in.equals(with_opt_in)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("draft: true", ("draft", "true")),
        ('"published": false,', ("published", "false")),
        ("isDraft = true", ("isdraft", "true")),
        ("- draft: true", ("draft", "true")),
        ("**Draft:** yes", ("draft", "yes")),
        ("Draft: of a letter", ("draft", "of a letter")),
        ("status:: in progress", ("status", "in progress")),
        ("  draft:: yes", ("draft", "yes")),
        ("| draft | true |", ("draft", "true")),
        ("| status | draft |", ("status", "draft")),
        ("  status:: in progress", None),  # the state of one task in an outline
        ("| draft | an unfinished text |", None),  # a row may explain the word
        ("password: hunter2", None),
        ("draft yes", None),
        ("a b c draft: true", None),
        ("a sentence: it goes on", None),
        ("status: open", None),
    ],
)
def test_hiding_lines_are_parsed(line: str, field: tuple[str, str] | None) -> None:
    assert parse_hiding_line(line) == field


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Draft": 1}, "draft"),
        ({"dg-publish": False}, "draft"),
        ({"status": "hidden"}, "unlisted"),
        ({"password": "hunter2"}, "private"),
        ({"eleventyExcludeFromCollections": True}, "unlisted"),
        ({"permalink": False}, "not_published"),
        ({"render": False}, "not_published"),
        ({"_build": {"render": False}}, "not_published"),
        ({"build": {"list": False}}, "unlisted"),
        ({"draft": 2}, ""),
        ({"draft": "  "}, ""),
        ({"draft": "until June"}, "draft"),
        ({"private": "for my family"}, "private"),
        ({"unlisted": "later"}, ""),
        ({"unlisted": "private"}, "private"),
        ({"hide": ["toc"]}, ""),
        ({"hide": "friends"}, "private"),
        ({"published": "later"}, ""),
        ({"published": "scheduled"}, "draft"),
        ({"public": "friends"}, "private"),
        ({"listed": True}, ""),
        ({"listed": "no"}, "unlisted"),
        ({"visible": 0}, "private"),
        ({"password": 1}, "private"),
        ({"password": 0}, ""),
        ({"password": "no"}, ""),
        ({"status": ["public", "private"]}, "private"),
        ({"status": {"draft": True}}, "draft"),
        ({"status": {"shade": "draft"}}, ""),
        ({"status": "📝 Draft (v2)"}, "draft"),
        ({"status": "drafty"}, ""),
        ({"status": "draft's"}, ""),
        ({"status": " " * 195 + "draft"}, "draft"),
        ({"status": " " * 196 + "draft"}, ""),  # only the first 200 characters are read
        ({"permalink": True}, ""),
        ({"render": True, "render_with_liquid": False}, ""),
        ({"build": "never"}, ""),
        ({"build": {"render": True, "list": True}}, ""),
        ({"build": {"render": "never", "list": "never"}}, "not_published"),
        ({"params": {"private": True}, "draft": True}, "private"),
        ({"cover": {"private": True}}, ""),
        ({"extra": "private"}, ""),
        ({"not-public": False}, ""),
        ({"is_not_published": True}, "draft"),
        ({"hide from public": True}, "unlisted"),
        ({"is-public-now": False}, "private"),
        ({"ispublicnow": False}, "private"),
        ({"isdraftspost": True}, "draft"),
        ({"private_comments": True}, ""),
        ({"myprivate": True}, ""),  # "my" is too short to be recognized within a word
        ({"is_this_the_entry_to_keep_private_for_now": True}, "private"),
        ({"embargo": True}, "not_published"),
        ({"embargo": "2019-01-01"}, ""),
        ({"save_as_draft": "until June"}, "draft"),
        ({"published": True, "keep_private": True}, "private"),
        ({"published": "x", "keep_private": True}, "private"),
        ({"draft": False, "keep_private": True}, "private"),
        ({"published": False, "keep_private": True}, "private"),
    ],
)
def test_each_field_value_has_its_reason(fields: dict[str, object], reason: str) -> None:
    assert find_hidden_reason(fields) == reason


def test_the_strictest_reason_wins() -> None:
    assert find_hidden_reason({"published": True, "private": True}) == "private"
    assert find_hidden_reason({}) == ""
    assert (
        find_hidden_reason({"keep_private": False, "not-public": "no", "post_published": 1}) == ""
    )
    assert find_hidden_reason({"keep_private": True}, {"draft": True}) == "private"
    fields: dict[str, object] = {"password": "x", "status": "followers", "visibility": "paid"}
    fields |= dict.fromkeys(("headless", "expired", "unlisted", "draft"), True)
    reasons: list[str] = []
    while fields:
        reasons.append(find_hidden_reason(fields))
        del fields[next(iter(fields))]
    assert reasons == [
        *("private", "followers", "paid", "not_published", "expired", "unlisted", "draft")
    ]
