"""Test that the checks pass for pairs from edits and votes, and fail on violating pairs."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.erasure_targets import post_target
from tests.graph.instructions.conftest import FinishedRun, read_checks
from tests.graph.instructions.recorded_traces import build_edit, write_traces
from tests.materialization import create_instance, materialize_assets
from tests.stored_rows import store_rows
from twin_assets.instructions import preference_dataset
from twin_assets.partitions import authors
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.state_store import StateStore
from twin_resources.models.retrieval.question_rules import (
    QuestionRule,
    delete_rules,
    read_rules,
    save_rules,
)
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import Tables

CHECKS = {
    "every_chosen_answer_is_the_authors",
    "no_reader_owns_the_pairs",
    "every_pair_names_its_source",
    "no_pair_shows_what_is_held_out",
}


def materialize_with_checks(*assets: Any) -> dg.ExecuteInProcessResult:
    with create_instance("ada") as instance:
        return materialize_assets(
            [*assets, *dg.load_asset_checks_from_modules([preference_dataset])],
            "ada",
            instance,
            raise_on_error=False,
        )


def materialize() -> dict[str, Any]:
    """Materialize the asset, whose checks must hold, and return its metadata."""
    result = materialize_with_checks(preference_dataset.preference_dataset)
    assert result.success
    assert read_checks(result) == dict.fromkeys(CHECKS, True)
    (event,) = result.asset_materializations_for_node("preference_dataset")
    metadata = {name: value.value for name, value in event.metadata.items()}
    return metadata | {"version": (event.tags or {})["dagster/data_version"]}


@pytest.mark.long
def test_without_feedback_there_are_no_pairs(twelve_posts: FinishedRun) -> None:
    assert materialize()["dagster/row_count"] == 0


def test_the_authors_edits_become_pairs_in_the_recorded_prompt(
    twelve_posts: FinishedRun, tables: Tables
) -> None:
    contexts = tables.read("instruction_dataset", "ada", where="split = 'train'")
    columns = ["chunk_id", "document_id"]
    document_by_chunk = dict(tables.read("embeddings", "ada", columns=columns).iter_rows())
    # Chunks of two posts, because adjacent chunks of one post form one passage.
    shown_chunks = next(
        list(by_post.values())[:2]
        for names in contexts["context_chunk_ids"].to_list()
        if len(by_post := {document_by_chunk[name]: name for name in names}) > 1
    )
    missing_chunk = "no-such-chunk"
    write_traces(
        tables,
        [
            build_edit("The lantern says that the tide is in.", chunk_ids=shown_chunks),
            build_edit("Another voice.", role="reader"),
            build_edit("A third one.", role="admin"),
            build_edit("Its context is gone.", chunk_ids=[missing_chunk]),
            build_edit("In an older template.", template="0" * 16),
        ],
    )
    metadata = materialize()
    assert metadata["sources"] == {"edit": 1}
    assert metadata["left_out"] == {"context_is_gone": 1, "other_template": 1}
    (row,) = tables.read("preference_dataset", "ada").to_dicts()
    assert row["chosen"] == "The lantern says that the tide is in."
    assert row["rejected"] == "Nothing, 0 times."
    assert (row["trace_id"], row["rejected_from"]) == ("trace-0000", "c" * 64)
    system, user = row["messages"]
    assert "Ada Wright" in system["content"]
    assert user["content"].startswith("From my posts:\n\n[1] ")
    assert "\n\n[2] " in user["content"]
    assert user["content"].endswith("Question: What does the lantern number 0 say?")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"vote": 0.0, "votes": 1, "voters": ["a reader"]}, {"vote": 1.0}),
        # Another answer was preferred, which two good votes outweigh.
        (
            {"rejections": 1, "rejection_voters": ["a reader"]},
            {"vote": 1.0, "votes": 2, "voters": ["one", "two"]},
        ),
    ],
    ids=["vote", "comparison"],
)
def test_a_low_vote_pairs_the_answer_with_the_authors_passage(
    low: dict[str, Any], high: dict[str, Any], twelve_posts: FinishedRun, tables: Tables
) -> None:
    samples = tables.read("instruction_dataset", "ada", where="split = 'train'")
    sample = samples.to_dicts()[0]
    other_chunk = samples.filter(pl.col("document_id") != sample["document_id"])["chunk_id"][0]
    vote_row = {
        "question": sample["question"],
        "chunk_ids": [other_chunk, sample["chunk_id"]],
    } | low
    edits = [build_edit(f"The tide is in, {number} feet.") for number in range(19)]
    write_traces(tables, [vote_row, *edits, vote_row | high])
    assert materialize()["sources"] == {"edit": 19, "vote": 1}
    (row,) = tables.read("preference_dataset", "ada", where="source = 'vote'").to_dicts()
    assert row["chosen"] == sample["answer"].strip()
    assert row["rejected"] == "Nothing, 0 times."
    assert (row["document_id"], row["chunk_id"]) == (sample["document_id"], sample["chunk_id"])
    assert row["voters"] == ["a reader"]
    # The prompt shows the recorded context without the chosen text.
    assert row["context_chunk_ids"] == [other_chunk]
    assert row["chosen"] not in row["messages"][-1]["content"]

    write_traces(tables, [vote_row, *edits[:18]])  # One of 19 exceeds 5 %.
    metadata = materialize()
    assert metadata["sources"] == {"edit": 18}
    assert metadata["left_out"] == {"too_many_of_a_reader": 1}


def test_a_passage_that_the_author_names_is_chosen_until_that_is_undone(
    twelve_posts: FinishedRun, tables: Tables
) -> None:
    columns = ["chunk_id", "document_id", "start", "end", "text"]
    chunks = {
        row["chunk_id"]: row for row in tables.read("embeddings", "ada", columns=columns).to_dicts()
    }
    samples = tables.read("instruction_dataset", "ada")
    held_out, first, second = (
        samples.filter(pl.col("split") == split)["chunk_id"].unique(maintain_order=True)[index]
        for split, index in (("held_out", 0), ("train", 0), ("train", 1))
    )
    shown = {"chunk_ids": [second, first], "voters": ["a reader"], "vote": 0.0, "votes": 1}
    write_traces(tables, [shown, {}, {}, {}, build_edit("My own words.")])
    rules = [
        QuestionRule(f"trace-{number:04}", "ada", "c", "Which?", "2026-01-01", *place)
        for number, place in enumerate(
            [
                (chunks[first]["document_id"], first),
                (chunks[held_out]["document_id"], held_out),
                ("deleted", "deleted"),
                ("", ""),  # declined
                (chunks[first]["document_id"], first),
            ]
        )
    ]
    save_rules(tables.state, rules)
    metadata = materialize()
    assert metadata["sources"] == {"edit": 1, "quote": 1}
    assert metadata["left_out"] == {"held_out_text": 1, "passage_is_gone": 1}
    (row,) = tables.read("preference_dataset", "ada", where="source = 'quote'").to_dicts()
    named = {name: row[name] for name in columns[:-1]} | {"text": row["chosen"]}
    assert named == chunks[first] | {"text": chunks[first]["text"].strip()}
    assert (row["rejected"], row["trace_id"], row["voters"]) == (
        "Nothing, 0 times.",
        "trace-0000",
        [],
    )
    # The prompt shows what the reader was shown, without the chosen text.
    assert row["context_chunk_ids"] == [second]

    installation = Installation.for_settings(load_settings())
    StateStore(installation).erase(post_target("ada", "post", ids=[chunks[first]["document_id"]]))
    assert {rule.trace_id for rule in read_rules(installation.state, "ada")} == {
        "trace-0001", "trace-0002", "trace-0003",
    }  # fmt: skip
    assert materialize()["sources"] == {"edit": 1}
    save_rules(tables.state, rules)
    assert materialize()["sources"] == {"edit": 1, "quote": 1}
    delete_rules(tables.state, "ada", "c")
    assert materialize()["sources"] == {"edit": 1}


def test_pairs_with_held_out_text_are_left_out(twelve_posts: FinishedRun, tables: Tables) -> None:
    held_out = tables.read("instruction_dataset", "ada", where="split = 'held_out'").to_dicts()[0]
    write_traces(
        tables,
        [build_edit("As I said.", question=held_out["question"]), build_edit(held_out["answer"])],
    )
    metadata = materialize()
    assert metadata["dagster/row_count"] == 0
    assert metadata["left_out"] == {"held_out_question": 1, "held_out_text": 1}


def test_passages_of_held_out_posts_are_not_in_the_prompt(
    twelve_posts: FinishedRun, tables: Tables
) -> None:
    samples = tables.read("instruction_dataset", "ada")
    held_out, training = (
        samples.filter(pl.col("split") == split)["chunk_id"][0] for split in ("held_out", "train")
    )
    write_traces(tables, [build_edit("The tide is in.", chunk_ids=[held_out, training])])
    assert materialize()["sources"] == {"edit": 1}
    (row,) = tables.read("preference_dataset", "ada").to_dicts()
    assert row["context_chunk_ids"] == [training]
    (text,) = tables.read("embeddings", "ada", where=f"chunk_id = '{held_out}'")["text"].to_list()
    assert text.strip() not in row["messages"][-1]["content"]
    assert "\n\n[2] " not in row["messages"][-1]["content"]


def check_rows(tables: Tables, rows: pl.DataFrame) -> dict[str, bool]:
    """Run the checks on these rows in place of the asset's own."""

    @dg.asset(name="preference_dataset", partitions_def=authors)
    def replacement() -> None:
        store_rows(tables, "preference_dataset", "ada", rows, key="pair_id")

    return read_checks(materialize_with_checks(replacement))


@pytest.mark.long
def test_every_check_fails_on_violating_pairs(twelve_posts: FinishedRun, tables: Tables) -> None:
    samples = tables.read("instruction_dataset", "ada", where="split = 'train'").to_dicts()
    low = {
        "question": samples[0]["question"],
        "chunk_ids": [samples[0]["chunk_id"]],
        "vote": 0.0,
        "votes": 1,
        "voters": ["a reader"],
    }
    reader_edit = build_edit("A stranger's words.", role="reader")
    edits = [build_edit(f"The tide is in, {number} feet.") for number in range(19)]
    write_traces(tables, [low, *edits, reader_edit])
    assert materialize()["sources"] == {"edit": 19, "vote": 1}
    valid_pairs = tables.read("preference_dataset", "ada")
    is_vote = pl.col("source") == "vote"
    is_edit = pl.col("pair_id") == valid_pairs.filter(~is_vote)["pair_id"][0]

    def change_rows(where: pl.Expr, **values: Any) -> pl.DataFrame:
        return valid_pairs.with_columns(
            **{
                name: pl.when(where).then(pl.lit(value)).otherwise(name)
                for name, value in values.items()
            }
        )

    other_chunk = next(row for row in samples if row["document_id"] != samples[0]["document_id"])[
        "chunk_id"
    ]
    held_out = tables.read("instruction_dataset", "ada", where="split = 'held_out'").to_dicts()[0]
    violations = {
        "every_chosen_answer_is_the_authors": [
            change_rows(is_vote, chosen="Not the author's words."),
            change_rows(is_edit, chosen="Not what was edited."),
            change_rows(is_edit, trace_id="trace-0020", chosen="A stranger's words."),
        ],
        "no_reader_owns_the_pairs": [
            valid_pairs.filter(is_vote),
            valid_pairs.with_columns(voters=pl.lit(["a reader"])),
        ],
        "every_pair_names_its_source": [
            change_rows(is_edit, trace_id=None),
            change_rows(is_edit, trace_id="no-such-trace"),
            change_rows(is_vote, chunk_id=other_chunk),
            change_rows(is_vote, chunk_id=None),
        ],
        "no_pair_shows_what_is_held_out": [
            change_rows(is_edit, context_chunk_ids=[held_out["chunk_id"]]),
            change_rows(is_edit, question=held_out["question"]),
            change_rows(is_edit, chosen=held_out["answer"]),
        ],
    }
    assert violations.keys() == CHECKS
    for claim, violating_tables in violations.items():
        for rows in violating_tables:
            assert not check_rows(tables, rows)[claim], claim
    assert check_rows(tables, valid_pairs) == dict.fromkeys(CHECKS, True)


def test_no_text_reaches_the_event_log(twelve_posts: FinishedRun, tables: Tables) -> None:
    write_traces(tables, [build_edit("The lantern says that the tide is in.")])
    result = materialize_with_checks(preference_dataset.preference_dataset)
    assert result.success
    assert "tide" not in "".join(str(event) for event in result.all_events)
