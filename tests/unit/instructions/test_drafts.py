"""Test that documents become drafts, with stable ids and answers from the text."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

PARAGRAPH = (
    "The quarry gave the town its granite, and the granite gave the town its name. When the quarry "
    "closed, the {number} masons went to the harbour and built boats from oak, which they said was "
    "softer but never complained. The granite stayed where it was, in every doorstep, and the town "
    "kept the name although nobody could remember what the hammer had sounded like in winter."
)


def build_documents(*texts: str) -> pl.DataFrame:
    rows = [
        {
            "document_id": f"d{number}",
            "title": "Granite",
            "published_at": None,
            "text": text,
            "language": "en",
            "kept": text != "",
        }
        for number, text in enumerate(texts)
    ]
    return pl.DataFrame(rows, schema_overrides={"published_at": pl.Datetime("us", "UTC")}).select(
        DOCUMENT_COLUMNS
    )


def build_text(*numbers: int) -> str:
    return "\n\n".join(PARAGRAPH.format(number=number) for number in numbers)


def test_answers_are_parts_of_the_text() -> None:
    text = "# Granite\n\n" + build_text(3, 4)
    assert draft_documents(build_documents("")).is_empty()
    rows = draft_documents(build_documents(text, "")).to_dicts()
    assert [row["answer"] for row in rows] == [PARAGRAPH.format(number=n) for n in (3, 4)]
    for row in rows:
        assert text[row["start"] : row["end"]] == row["answer"]
        assert row["instruction_source"].startswith("template:")


def test_an_edit_keeps_the_ids_of_other_paragraphs() -> None:
    before = draft_documents(build_documents(build_text(1, 2, 3)))["sample_id"].to_list()
    after = draft_documents(build_documents("# A heading of its own\n\n" + build_text(1, 9, 3)))
    assert [sample_id in before for sample_id in after["sample_id"]].count(True) == 2


def test_repeated_paragraphs_have_different_ids() -> None:
    rows = draft_documents(build_documents(build_text(1, 1, 1)))
    assert rows["sample_id"].n_unique() == rows.height == 3
