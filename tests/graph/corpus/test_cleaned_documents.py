"""Test incremental updates from `raw_posts` to `cleaned_documents` in real tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from tests.graph.corpus.conftest import narrate
from tests.stored_rows import store_rows
from twin_assets.corpus import cleaning, cleaning_verdicts, document_claims
from twin_assets.corpus.corpus_tables import CleanedDocuments, RawPosts, column_types
from twin_assets.instructions.dataset_building import update_drafts
from twin_resources.authors import Author
from twin_resources.storage.tables import sync
from twin_resources.storage.tables.tables import SyncResult, Tables

ANN = Author("ann", "Ann Lee", aliases=("anniebuilds",))

Posts = dict[str, dict[str, Any]]
Clean = Callable[..., SyncResult]


def build_post(text: str, **fields: Any) -> dict[str, Any]:
    return {"text": text, "content_hash": text} | fields


def build_posts(*subjects: str, footer: str = "") -> Posts:
    posts: Posts = {}
    for subject in subjects:
        paragraphs = [narrate(name, sentences=3) for name in (subject, f"old {subject}")]
        posts[f"{subject}.md"] = build_post("\n\n".join(paragraphs) + footer)
    return posts


@pytest.fixture
def clean(tables: Tables) -> Clean:
    """Return a function that stores posts as `raw_posts` and cleans them."""

    def run(posts: Posts, *, author: Author = ANN) -> SyncResult:
        defaults: dict[str, Any] = dict.fromkeys(column_types(RawPosts), "") | {
            "source": "posts",
            "kind": "post",
            "title": "A title",
            "markup": "markdown",
            "created_at": None,
            "local_time": None,
            "updated_at": None,
            "tags": [],
            "deleted": False,
        }
        rows = [defaults | {"source_id": name} | fields for name, fields in posts.items()]
        store_rows(
            tables, "raw_posts", author.slug, rows, key="source_id", schema=column_types(RawPosts)
        )
        return cleaning.update_cleaned_documents(tables, author)

    return run


@pytest.fixture
def cleaned_posts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each post is added that is cleaned."""
    names: list[str] = []
    prepare_posts = cleaning.prepare_posts

    def record(posts: pl.DataFrame, **options: Any) -> pl.DataFrame:
        names.extend(posts["source_id"])
        return prepare_posts(posts, **options)

    monkeypatch.setattr(cleaning, "prepare_posts", record)
    return names


def read_documents(tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["source_id"]: row for row in tables.read("cleaned_documents", "ann").to_dicts()}


def read_reasons(tables: Tables) -> dict[str, str]:
    return {name: row["dropped_because"] for name, row in read_documents(tables).items()}


@pytest.mark.long
def test_a_cross_post_is_merged_into_the_longest_copy(
    clean: Clean, tables: Tables, cleaned_posts: list[str]
) -> None:
    posts = build_posts("clock", "boat", "lamp")
    clean(posts)
    cleaned_posts.clear()
    text = posts["clock.md"]["text"] + "\n\n" + "And a last remark on it, with a few more words."
    run = clean(posts | {"medium/1": build_post(text, url="https://medium.example/1")})
    assert cleaned_posts == ["medium/1"]
    assert run.computed_count == 2  # the new copy and the one that it replaces
    rows = read_documents(tables)
    assert rows["clock.md"]["dropped_because"] == "near_duplicate"
    assert rows["clock.md"]["duplicate_of"] == rows["medium/1"]["document_id"]
    assert rows["clock.md"]["text"] == ""
    assert rows["medium/1"]["kept"]
    [copy] = rows["medium/1"]["copies"]
    assert copy["document_id"] == rows["clock.md"]["document_id"]
    # Without the longer copy, the other one is kept again.
    clean(posts)
    assert read_reasons(tables) == dict.fromkeys(posts, "")
    assert read_documents(tables)["clock.md"]["copies"] == []


@pytest.mark.long
def test_an_edit_creates_and_removes_a_copy(clean: Clean, tables: Tables) -> None:
    posts = build_posts("clock", "boat")
    copy = build_post(posts["clock.md"]["text"] + " And so on and on.", url="https://b.example")
    clean(posts | {"copy.md": copy})
    assert read_reasons(tables)["clock.md"] == "near_duplicate"
    clean(posts | {"copy.md": build_posts("tram")["tram.md"]})
    assert read_reasons(tables) == {"clock.md": "", "boat.md": "", "copy.md": ""}
    clean(posts | {"copy.md": copy})
    assert read_reasons(tables)["clock.md"] == "near_duplicate"


def test_copies_of_copies_refer_to_the_kept_post(clean: Clean, tables: Tables) -> None:
    text = build_posts("clock")["clock.md"]["text"]
    clean(
        {
            "a.md": build_post(text),
            "b.md": build_post(text),
            "c.md": build_post(text + " One more remark at the end of it."),
            "d.md": build_posts("boat")["boat.md"],
        }
    )
    rows = read_documents(tables)
    assert read_reasons(tables) == {
        "a.md": "near_duplicate",
        "b.md": "near_duplicate",
        "c.md": "",
        "d.md": "",
    }
    kept_id = rows["c.md"]["document_id"]
    assert {rows["a.md"]["duplicate_of"], rows["b.md"]["duplicate_of"]} == {kept_id}
    assert len(rows["c.md"]["copies"]) == 2


SMALL_BATCHES = Tables.sync.__kwdefaults__ | {"batch_rows": 4}
FOOTER = "\n\nAnn builds clocks in Bern, and she answers every letter."


@pytest.mark.long
def test_a_line_in_five_posts_is_removed_from_all(
    clean: Clean, tables: Tables, cleaned_posts: list[str]
) -> None:
    four_posts = build_posts("clock", "boat", "lamp", "kite", footer=FOOTER) | build_posts("tram")
    clean(four_posts)
    assert FOOTER.strip() in read_documents(tables)["clock.md"]["text"]
    cleaned_posts.clear()
    run = clean(four_posts | build_posts("bell", footer=FOOTER))
    assert cleaned_posts == ["bell.md"]
    assert run.computed_count == 5  # the five posts with the footer
    for row in read_documents(tables).values():
        assert "Bern" not in row["text"]
        assert row["text"].count("\n\n") == 1
    clean(four_posts)
    assert FOOTER.strip() in read_documents(tables)["clock.md"]["text"]


def test_a_foreign_byline_is_dropped_until_it_is_an_alias(
    clean: Clean, tables: Tables, cleaned_posts: list[str]
) -> None:
    posts = build_posts("clock", "boat", "lamp", "kite")
    for name in ("clock.md", "boat.md"):
        posts[name]["author"] = "Ann Lee"
    posts["lamp.md"]["author"] = "Bo Ek"
    posts["kite.md"]["text"] += "\n\nGuest post by Eva Zach"
    clean(posts)
    assert read_reasons(tables) == {
        "clock.md": "",
        "boat.md": "",
        "lamp.md": "foreign_byline",
        "kite.md": "foreign_byline",
    }
    cleaned_posts.clear()
    author_with_alias = Author("ann", "Ann Lee", aliases=("Bo Ek",))
    clean(posts, author=author_with_alias)
    assert read_reasons(tables)["lamp.md"] == ""
    assert cleaned_posts == []


def test_personal_data_and_buttons_are_replaced_and_counted(clean: Clean, tables: Tables) -> None:
    posts = build_posts("clock")
    posts["clock.md"]["text"] += (
        "\n\nWrite to ann.lee@clockmail.ch or to bo@clockmail.ch about it.\n\nSubscribe now"
    )
    clean(posts)
    row = read_documents(tables)["clock.md"]
    assert row["text"].endswith("Write to [e-mail] or to [e-mail] about it.")
    assert row["personal"] == [{"kind": "e-mail", "count": 2}]
    assert "clockmail" not in str(tables.read("cleaned_documents", "ann").to_dicts())


def test_a_new_alias_cleans_dialogs_alone_again(
    clean: Clean, tables: Tables, cleaned_posts: list[str]
) -> None:
    turns = [
        f"**{name}:** {narrate(f'{name} {turn}', sentences=2)}"
        for turn in range(2)
        for name in ("Mrs Clock", "Bo")
    ]
    posts = build_posts("clock", "boat") | {"talk.md": build_post("\n\n".join(turns))}
    clean(posts)
    assert update_drafts(tables, "ann").computed_count == 3
    assert "> **Bo:**" not in read_documents(tables)["talk.md"]["text"]
    cleaned_posts.clear()
    clean(posts, author=replace(ANN, aliases=("anniebuilds", "Mrs Clock")))
    assert cleaned_posts == ["talk.md"]
    assert "> **Bo:**" in read_documents(tables)["talk.md"]["text"]
    assert update_drafts(tables, "ann").computed_count == 1


def test_an_invalid_row_is_quarantined_until_it_is_corrected(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_rows = cleaning.build_document_rows

    def remove_language(verdicts: pl.DataFrame, prepared_posts: pl.DataFrame) -> pl.DataFrame:
        boat = pl.col("source_id") == "boat.md"
        return build_rows(verdicts, prepared_posts).with_columns(
            pl.when(boat).then(pl.lit("")).otherwise("language").alias("language")
        )

    posts = build_posts("clock", "boat")
    monkeypatch.setattr(cleaning, "build_document_rows", remove_language)
    clean(posts)
    reason = "breaks_kept_rows_have_words_and_a_language"
    assert read_reasons(tables) == {"clock.md": "", "boat.md": reason}
    assert read_documents(tables)["boat.md"]["text"] == ""
    monkeypatch.undo()
    posts["boat.md"] = build_post(
        posts["boat.md"]["text"] + "\n\nEdited since, and now it is good."
    )
    clean(posts)
    assert read_reasons(tables) == {"clock.md": "", "boat.md": ""}


def test_incremental_cleaning_equals_cleaning_at_once(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clean copies, footers and edits in several steps, one of which is interrupted."""
    posts = build_posts(*(f"clock{n}" for n in range(12)), footer=FOOTER)
    posts |= {
        f"copy{n}": build_post(posts[f"clock{n}.md"]["text"].replace("Once", "Never") + f" So {n}.")
        for n in range(6)
    }
    names = list(posts)
    clean({name: posts[name] for name in names[:7]})
    edited = posts | {names[3]: build_posts("boat")["boat.md"]}
    clean({name: edited[name] for name in names[:14]})
    merge_rows = sync.merge_rows
    commits = 0

    def interrupt(*args: Any, **options: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 3:  # the first one is that of `raw_posts`
            raise KeyboardInterrupt
        return merge_rows(*args, **options)

    monkeypatch.setattr(sync, "merge_rows", interrupt)
    monkeypatch.setattr(Tables.sync, "__kwdefaults__", SMALL_BATCHES)
    with pytest.raises(KeyboardInterrupt):
        clean(posts)
    monkeypatch.undo()
    stepwise_run = clean(posts)
    single_run = clean(posts, author=replace(ANN, slug="bea"))
    assert stepwise_run.data_version == single_run.data_version
    assert (tables.read("cleaned_documents", "ann")["dropped_because"] == "near_duplicate").sum()
    documents = cleaning.clean_all_posts(tables.read("raw_posts", "ann"), names=("Ann Lee",))
    stored_documents = tables.read("cleaned_documents", "ann").drop("post_hash")
    assert documents.sort("document_id").drop("post_hash").rows() == stored_documents.rows()
    assert documents.schema == column_types(CleanedDocuments)


def check_claims(
    tables: Tables, *, most_quarantined: float = 0.2
) -> dict[str, document_claims.ClaimResult]:
    documents = tables.read("cleaned_documents", "ann")
    names = cleaning.list_author_names(ANN)
    return document_claims.check_stored_claims(documents, names, most_quarantined=most_quarantined)


MENU = "Send this on Copy the link Facebook E-mail Mastodon Print"


@pytest.mark.long
def test_a_document_that_breaks_a_claim_is_quarantined(clean: Clean, tables: Tables) -> None:
    posts = build_posts("clock", "boat", "lamp", "kite", "tram", "bell")
    valid_text = posts["boat.md"]["text"]
    posts["boat.md"] = build_post(f"{valid_text} {MENU} {narrate('pier')}")
    clean(posts)
    row = read_documents(tables)["boat.md"]
    assert (row["kept"], row["text"]) == (False, "")
    assert row["dropped_because"] == "breaks_no_platform_boilerplate_left"
    claims = check_claims(tables)
    assert all(claim.holds for claim in claims.values())
    counts = claims["no_platform_boilerplate_left"].counts
    assert (counts["quarantined"], counts["quarantined_share"]) == (1, 0.1667)
    assert clean(posts).bytes_written == 0
    clean(posts | {"boat.md": build_post(valid_text)})
    assert read_reasons(tables)["boat.md"] == ""


def test_a_claim_fails_above_the_configured_share(clean: Clean, tables: Tables) -> None:
    posts = build_posts("clock", "boat", "lamp", "kite")
    posts["boat.md"] = build_post(f"{posts['boat.md']['text']} {MENU} {narrate('pier')}")
    clean(posts)
    claims = check_claims(tables)
    assert [name for name, claim in claims.items() if not claim.holds] == [
        "no_platform_boilerplate_left"
    ]
    message = claims["no_platform_boilerplate_left"].message
    assert "25% of the usable documents" in message
    assert "TWIN_MOST_QUARANTINED allows only 20%" in message
    assert all(claim.holds for claim in check_claims(tables, most_quarantined=0.25).values())


def test_foreign_posts_that_cleaning_keeps_are_quarantined(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = build_posts("clock", "boat", "lamp", "kite", "tram")
    for name in ("boat.md", "lamp.md", "kite.md"):
        posts[name]["author"] = "Bo Ek"
    monkeypatch.setattr(cleaning_verdicts, "is_possible_handle", lambda *_: True)
    clean(posts)
    claims = check_claims(tables)
    assert [name for name, claim in claims.items() if not claim.holds] == ["no_foreign_byline"]
    assert claims["no_foreign_byline"].counts["quarantined"] == 3
    kept = [name for name, reason in read_reasons(tables).items() if not reason]
    assert set(kept) == {"clock.md", "tram.md"}


def test_claims_are_measured_once_per_document(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = build_posts("clock", "boat", "lamp")
    row_counts: list[int] = []
    measure = document_claims.measure

    def record_rows(documents: pl.DataFrame, sources: pl.DataFrame, **options: Any) -> pl.DataFrame:
        row_counts.append(documents.height)
        return measure(documents, sources, **options)

    monkeypatch.setattr(document_claims, "measure", record_rows)
    clean(posts)
    assert all(claim.holds for claim in check_claims(tables).values())
    clean(posts | build_posts("tram"))
    check_claims(tables)
    assert row_counts == [3, 1]
