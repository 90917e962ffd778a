"""Define the data contract of the preference stage: pairs of answers.

Scope: columns, types and rules of the table. Out of scope: making the rows.
"""
# pyright: strict

from __future__ import annotations

import dataframely as dy
import polars as pl


class PreferenceDataset(dy.Schema):
    """Table `preference_dataset`: two answers to one prompt; the author's is the chosen one.

    Attributes:
        source: `edit` (the author corrected an answer), `quote` (the author named the passage that
            answers), or `vote` (the author's passage, and an answer on the same subject that
            readers scored low or rejected).
        trace_id: the rejected answer's trace.
        sample_id, document_id, chunk_id, start, end: the source of the chosen text; null in
            `edit` rows, and `sample_id` in `quote` rows too.
        messages: the prompt.
        rejected_ended: false if the rejected answer was cut off.
        rejected_from: the checkpoint, or the model version, that wrote the rejected answer.
        voters: the readers who scored it.
    """

    pair_id = dy.String(primary_key=True, min_length=1)
    source = dy.Enum(["edit", "quote", "vote"])
    trace_id = dy.String(min_length=1)
    sample_id = dy.String(nullable=True, min_length=1)
    document_id = dy.String(nullable=True, min_length=1)
    chunk_id = dy.String(nullable=True, min_length=1)
    start = dy.Int64(nullable=True, min=0)
    end = dy.Int64(nullable=True, min=1)
    question = dy.String(min_length=1)
    context_chunk_ids = dy.List(dy.String())
    messages = dy.List(dy.Struct({"role": dy.String(), "content": dy.String()}))
    template = dy.String(min_length=1)
    chosen = dy.String(min_length=1)
    rejected = dy.String(min_length=1)
    rejected_ended = dy.Bool()
    rejected_from = dy.String(min_length=1)
    voters = dy.List(dy.String())

    @dy.rule()
    def the_two_answers_differ(cls) -> pl.Expr:
        return pl.col("chosen") != pl.col("rejected")
