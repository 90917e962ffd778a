"""Define the data contract of the instruction stage: splits, drafts and samples.

Scope: columns, types and rules of the tables. Out of scope: making the rows.
"""
# pyright: strict

from __future__ import annotations

import dataframely as dy
import polars as pl

MIN_PASSAGE_WORDS = 40
MAX_PASSAGE_WORDS = 160
"""SQL condition for the rows of `instruction_dataset` that are the author's own."""
MIN_POST_WORDS = 10  # words of a post that is an answer as a whole; cleaning drops shorter posts


class DocumentSplits(dy.Schema):
    """Table `document_splits`: one row for every document seen so far; a row never changes.

    `because` is `newest` (for the newest documents of the first import), `hash`, or
    `like <document_id>` for a duplicate or near-duplicate of that document. `sketch` is compared
    with those of later documents (`set_similarity.sketch`).
    """

    document_id = dy.String(primary_key=True, min_length=1)
    split = dy.Enum(["train", "held_out"])
    because = dy.String(min_length=1)
    sketch = dy.List(dy.Int64())


class InstructionDrafts(dy.Schema):
    """Table `instruction_drafts`: every passage that can be an answer, with a template's question.

    `answer` is the document's `text[start:end]`; offsets count characters. `instruction_source` is
    `template:<name>`. `continuation` asks for a continuation of the answer's first words. It
    replaces a question that does not retrieve its post (`round_trip.py`).
    """

    sample_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    words = dy.Int64(min=MIN_POST_WORDS, max=MAX_PASSAGE_WORDS)
    answer = dy.String(min_length=1)
    answer_sketch = dy.List(dy.Int64())
    question = dy.String(min_length=1)
    instruction_source = dy.String(min_length=1)
    continuation = dy.String(min_length=1)


class TeacherQuestions(dy.Schema):
    """Table `teacher_questions`: one row for every draft that was sent to a teacher.

    `question`, `outcome` and the columns from `tries` on are fields of `teacher.TeacherReply`.
    `turn` counts the repeated attempts to get a question for the sample.
    """

    sample_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    model = dy.String(min_length=1)
    question = dy.String()
    outcome = dy.Enum(["written", "unusable", "failed", "over_budget"])
    turn = dy.Int64(min=0)
    tries = dy.Int64(min=0)
    prompt_tokens = dy.Int64(min=0)
    answer_tokens = dy.Int64(min=0)
    usd = dy.Float64(min=0)
    reason = dy.String()

    @dy.rule()
    def question_is_present_if_written(cls) -> pl.Expr:
        return (pl.col("outcome").cast(pl.String) == "written") == (pl.col("question") != "")


class InstructionDataset(dy.Schema):
    """Table `instruction_dataset`: supervised fine-tuning samples in chat form.

    `split` is the document's split, or `left_out` for a sample that would leak across splits.
    `messages` are the gateway's, with the answer as the last one.
    `context_chunk_ids` are the passages in the prompt, best first. `retrieval` names the search
    that found them, and `template` is the prompt template's hash. `instruction_source` is
    `template:<name>` or `teacher:<model>`.
    """

    sample_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    chunk_id = dy.String(min_length=1)
    split = dy.Enum(["train", "held_out", "left_out"])
    question = dy.String(min_length=1)
    answer = dy.String(min_length=1)
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    context_chunk_ids = dy.List(dy.String())
    messages = dy.List(dy.Struct({"role": dy.String(), "content": dy.String()}))
    template = dy.String(min_length=1)
    retrieval = dy.String(min_length=1)
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    title = dy.String()
    instruction_source = dy.String(min_length=1)
