"""`raw_posts` → `cleaned_documents` in real tables: what a change costs, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tests.graph.corpus.conftest import paragraph
from tests.stored_rows import store_rows
from twin_assets.corpus import (
    claims_tables,
    cleaning,
    cleaning_tables,
    cleaning_verdicts,
    document_claims,
    near_duplicates,
)
from twin_assets.corpus.cleaning_tables import CleaningRun, update_cleaned_documents
from twin_assets.corpus.corpus_tables import CleanedDocuments, RawPosts, column_types
from twin_resources.authors import Author
from twin_resources.privacy.redaction import RedactedText
from twin_resources.storage.tables.tables import Tables

ANN = Author("ann", "Ann Lee", aliases=("anniebuilds",))

Posts = dict[str, dict[str, Any]]
Clean = Callable[..., CleaningRun]


def post(text: str, **fields: Any) -> dict[str, Any]:
    return {"text": text, "content_hash": text} | fields


def posts_about(*subjects: str, foot: str = "") -> Posts:
    return {
        f"{subject}.md": post(
            f"{paragraph(subject, sentences=3)}\n\n{paragraph('old ' + subject, sentences=3)}{foot}"
        )
        for subject in subjects
    }


@pytest.fixture
def clean(tables: Tables) -> Clean:
    """Store posts as `raw_posts` and clean them."""

    def run(posts: Posts, *, author: Author = ANN) -> CleaningRun:
        plain: dict[str, Any] = dict.fromkeys(column_types(RawPosts), "") | {
            "source": "posts",
            "kind": "post",
            "title": "A title",
            "markup": "markdown",
            "created_at": None,
            "updated_at": None,
            "tags": [],
            "deleted": False,
        }
        rows = [plain | {"source_id": name} | fields for name, fields in posts.items()]
        store_rows(
            tables, "raw_posts", author.slug, rows, key="source_id", schema=column_types(RawPosts)
        )
        return update_cleaned_documents(tables, author)

    return run


def documents(tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["source_id"]: row for row in tables.read("cleaned_documents", "ann").to_dicts()}


def reasons(tables: Tables) -> dict[str, str]:
    return {name: row["dropped_because"] for name, row in documents(tables).items()}


def test_ten_new_posts_among_many_touch_ten(clean: Clean, tables: Tables) -> None:
    posts = posts_about(*(f"clock{n}" for n in range(150)))
    clean(posts)
    run = clean(posts | posts_about(*(f"boat{n}" for n in range(10))))
    steps = (run.prepared, run.similar, run.cleaned)
    assert [step.computed for step in steps] == [10, 10, 10]
    assert [step.rows for step in steps] == [160, 160, 160]
    second_run = clean(posts | posts_about(*(f"boat{n}" for n in range(10))))
    assert second_run.bytes_written == 0
    assert second_run.cleaned.data_version == run.cleaned.data_version


def test_a_cross_post_collapses_to_the_richest_copy_with_links(
    clean: Clean, tables: Tables
) -> None:
    short = posts_about("clock", "boat", "lamp")
    clean(short)
    long = short["clock.md"]["text"] + "\n\n" + "And a last remark on it, with a few more words."
    run = clean(short | {"medium/1": post(long, url="https://medium.example/1")})
    assert (run.prepared.computed, run.similar.computed) == (1, 1)
    assert run.cleaned.computed == 2  # the new one and the one that it takes the place of
    rows = documents(tables)
    assert rows["clock.md"]["dropped_because"] == "near_duplicate"
    assert rows["clock.md"]["duplicate_of"] == rows["medium/1"]["document_id"]
    assert rows["clock.md"]["text"] == ""
    assert rows["medium/1"]["kept"]
    [copy] = rows["medium/1"]["copies"]
    assert copy["document_id"] == rows["clock.md"]["document_id"]
    # The longer copy goes: the other comes back.
    clean(short)
    assert reasons(tables) == dict.fromkeys(short, "")
    assert documents(tables)["clock.md"]["copies"] == []


def test_an_edit_makes_and_unmakes_a_copy(clean: Clean, tables: Tables) -> None:
    posts = posts_about("clock", "boat")
    twin = post(posts["clock.md"]["text"] + " And so on and on.", url="https://b.example")
    clean(posts | {"copy.md": twin})
    assert reasons(tables)["clock.md"] == "near_duplicate"
    clean(posts | {"copy.md": posts_about("tram")["tram.md"]})
    assert reasons(tables) == {"clock.md": "", "boat.md": "", "copy.md": ""}
    clean(posts | {"copy.md": twin})
    assert reasons(tables)["clock.md"] == "near_duplicate"


def test_copies_of_copies_and_equal_posts_name_a_kept_one(clean: Clean, tables: Tables) -> None:
    text = posts_about("clock")["clock.md"]["text"]
    clean(
        {
            "a.md": post(text),
            "b.md": post(text),
            "c.md": post(text + " One more remark at the end of it."),
            "d.md": posts_about("boat")["boat.md"],
        }
    )
    rows = documents(tables)
    assert reasons(tables) == {
        "a.md": "near_duplicate",
        "b.md": "near_duplicate",
        "c.md": "",
        "d.md": "",
    }
    kept_id = rows["c.md"]["document_id"]
    assert {rows["a.md"]["duplicate_of"], rows["b.md"]["duplicate_of"]} == {kept_id}
    assert len(rows["c.md"]["copies"]) == 2


FOOT = "\n\nAnn builds clocks in Bern, and she answers every letter."


def test_a_line_becomes_boilerplate_with_the_fifth_post_and_goes_from_all(
    clean: Clean, tables: Tables
) -> None:
    four = posts_about("clock", "boat", "lamp", "kite", foot=FOOT) | posts_about("tram")
    clean(four)
    assert FOOT.strip() in documents(tables)["clock.md"]["text"]
    run = clean(four | posts_about("bell", foot=FOOT))
    assert run.prepared.computed == 1
    assert run.cleaned.computed == 5  # the four that end so, and the new one; not the fifth
    for row in documents(tables).values():
        assert "Bern" not in row["text"]
        assert row["text"].count("\n\n") == 1
    clean(four)
    assert FOOT.strip() in documents(tables)["clock.md"]["text"]


def test_a_foreign_byline_is_dropped_until_it_is_an_alias(clean: Clean, tables: Tables) -> None:
    posts = posts_about("clock", "boat", "lamp", "kite")
    for name in ("clock.md", "boat.md"):
        posts[name]["author"] = "Ann Lee"
    posts["lamp.md"]["author"] = "Bo Ek"
    posts["kite.md"]["text"] += "\n\nGuest post by Eva Zach"
    clean(posts)
    assert reasons(tables) == {
        "clock.md": "",
        "boat.md": "",
        "lamp.md": "foreign_byline",
        "kite.md": "foreign_byline",
    }
    renamed = Author("ann", "Ann Lee", aliases=("Bo Ek",))
    run = clean(posts, author=renamed)
    assert reasons(tables)["lamp.md"] == ""
    assert (run.prepared.computed, run.cleaned.computed) == (0, 1)


def test_personal_data_and_buttons_are_replaced_and_counted(clean: Clean, tables: Tables) -> None:
    posts = posts_about("clock")
    posts["clock.md"]["text"] += (
        "\n\nWrite to ann.lee@clockmail.ch or to bo@clockmail.ch about it.\n\nSubscribe now"
    )
    clean(posts)
    row = documents(tables)["clock.md"]
    assert row["text"].endswith("Write to [e-mail] or to [e-mail] about it.")
    assert row["personal"] == [{"kind": "e-mail", "count": 2}]
    for table in ("prepared_posts", "cleaned_documents"):
        assert "clockmail" not in str(tables.read(table, "ann").to_dicts())


def test_a_bad_row_is_put_aside_with_its_rule_and_comes_back(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_rows = cleaning.document_rows

    def spoiled(verdicts: pl.DataFrame, prepared: pl.DataFrame) -> pl.DataFrame:
        boat = pl.col("source_id") == "boat.md"
        return document_rows(verdicts, prepared).with_columns(
            pl.when(boat).then(pl.lit("")).otherwise("language").alias("language")
        )

    posts = posts_about("clock", "boat")
    monkeypatch.setattr(cleaning, "document_rows", spoiled)
    run = clean(posts)
    assert reasons(tables) == {"clock.md": ""}
    aside = tables.read("cleaned_documents_quarantine", "ann").to_dicts()
    assert [(row["source_id"], row["failed_rules"]) for row in aside] == [
        ("boat.md", ["kept_rows_have_words_and_a_language"])
    ]
    assert run.quarantined.rows == 1
    monkeypatch.undo()
    posts["boat.md"] = post(posts["boat.md"]["text"] + "\n\nEdited since, and now it is good.")
    run = clean(posts)
    assert reasons(tables) == {"clock.md": "", "boat.md": ""}
    assert run.quarantined.rows == 0


def test_step_by_step_gives_the_same_as_at_once(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies, feet and edits in five steps, one of them cut off in the middle."""
    posts = posts_about(*(f"clock{n}" for n in range(12)), foot=FOOT)
    posts |= {
        f"copy{n}": post(posts[f"clock{n}.md"]["text"].replace("Once", "Never") + f" So {n}.")
        for n in range(6)
    }
    names = list(posts)
    clean({name: posts[name] for name in names[:7]})
    edited = posts | {names[3]: posts_about("boat")["boat.md"]}
    clean({name: edited[name] for name in names[:14]})
    compare_bodies = near_duplicates.compare_bodies
    monkeypatch.setattr(cleaning_tables, "_COMPARISON_BATCH_ROWS", 2)
    calls = 0

    def cut_off(*args: Any, **named: Any) -> pl.DataFrame:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return compare_bodies(*args, **named)

    monkeypatch.setattr(near_duplicates, "compare_bodies", cut_off)
    with pytest.raises(KeyboardInterrupt):
        clean(posts)
    monkeypatch.undo()
    stepwise = clean(posts)
    at_once = clean(posts, author=Author("bea", "Ann Lee"))
    assert stepwise.cleaned.data_version == at_once.cleaned.data_version
    assert (tables.read("cleaned_documents", "ann")["dropped_because"] == "near_duplicate").sum()
    in_memory = cleaning.clean_and_quarantine(tables.read("raw_posts", "ann"), names=("Ann Lee",))[
        0
    ]
    assert in_memory.sort("document_id").rows() == tables.read("cleaned_documents", "ann").rows()
    assert in_memory.schema == column_types(CleanedDocuments)


def examined(tables: Tables, *, most: float = 0.2) -> dict[str, claims_tables.ExaminedClaim]:
    return claims_tables.examine(tables, ANN, most_quarantined=most)


MENU = "Send this on Copy the link Facebook E-mail Mastodon Print"
"""A share menu in our own words, in flat text, as in 74 of the Handbook's 76 articles."""


def test_a_document_that_breaks_a_claim_is_put_aside_with_it(clean: Clean, tables: Tables) -> None:
    posts = posts_about("clock", "boat", "lamp", "kite", "tram", "bell")
    sound = posts["boat.md"]["text"]
    posts["boat.md"] = post(f"{sound} {MENU} {paragraph('pier')}")
    run = clean(posts)
    assert "boat.md" not in reasons(tables)
    [aside] = tables.read("cleaned_documents_quarantine", "ann").to_dicts()
    assert aside["source_id"] == "boat.md"
    assert aside["failed_rules"] == ["no_platform_boilerplate_left"]
    claims = examined(tables)
    assert all(claim.holds for claim in claims.values())
    counts = claims["no_platform_boilerplate_left"].counts
    assert (counts["quarantined"], counts["quarantined_share"]) == (1, 0.1667)
    second_run = clean(posts)
    assert (run.quarantined.rows, second_run.bytes_written) == (1, 0)
    clean(posts | {"boat.md": post(sound)})
    assert reasons(tables)["boat.md"] == ""
    assert tables.read("cleaned_documents_quarantine", "ann").is_empty()


def test_above_the_share_that_a_person_set_the_claim_fails_and_names_the_setting(
    clean: Clean, tables: Tables
) -> None:
    posts = posts_about("clock", "boat", "lamp", "kite")
    posts["boat.md"] = post(f"{posts['boat.md']['text']} {MENU} {paragraph('pier')}")
    clean(posts)
    claims = examined(tables)
    assert [name for name, claim in claims.items() if not claim.holds] == [
        "no_platform_boilerplate_left"
    ]
    message = claims["no_platform_boilerplate_left"].message
    assert "25% of the usable documents" in message
    assert "TWIN_MOST_QUARANTINED allows 20%" in message
    assert all(claim.holds for claim in examined(tables, most=0.25).values())


def test_a_cleaning_that_keeps_another_persons_posts_is_seen(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim compares names itself: of 75 kept articles 49 were another's, and it held."""
    posts = posts_about("clock", "boat", "lamp", "kite", "tram")
    for name in ("boat.md", "lamp.md", "kite.md"):
        posts[name]["author"] = "Bo Ek"
    monkeypatch.setattr(cleaning_verdicts, "is_possible_handle", lambda *_: True)
    clean(posts)
    claims = examined(tables)
    assert [name for name, claim in claims.items() if not claim.holds] == ["no_foreign_byline"]
    assert claims["no_foreign_byline"].counts["quarantined"] == 3
    assert set(reasons(tables)) == {"clock.md", "tram.md"}


def test_a_redaction_that_finds_nothing_is_seen(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = posts_about("clock", "boat", "lamp", "kite", "tram")
    posts["boat.md"]["text"] += "\n\nWrite to ann.lee@clockmail.ch about it."
    monkeypatch.setattr(cleaning.privacy, "redact", lambda text, **_: RedactedText(text, {}))
    clean(posts)
    [aside] = tables.read("cleaned_documents_quarantine", "ann").to_dicts()
    assert (aside["source_id"], aside["failed_rules"]) == ("boat.md", ["no_pii_left"])


def test_the_claims_are_measured_once_a_document(
    clean: Clean, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = posts_about("clock", "boat", "lamp")
    row_counts: list[int] = []
    measure = document_claims.measure

    def counted(found: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
        row_counts.append(found.height)
        return measure(found, sources)

    monkeypatch.setattr(document_claims, "measure", counted)
    clean(posts)
    assert all(claim.holds for claim in examined(tables).values())
    clean(posts | posts_about("tram"))
    examined(tables)
    assert row_counts == [3, 1]
