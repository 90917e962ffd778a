"""Update the table `teacher_questions`: the teacher's question for each draft, bought once.

Scope: choosing the drafts to ask about, storing the replies and their cost. Out of scope: the
request (`teacher.py`), its budget (`access/purpose_budget.py`).

A reply is stored by the sample's id, which is derived from the passage's content, and by the post's
title and the model. A killed run repeats only its current batch, and an edit of one paragraph
causes requests only for that paragraph. The next run asks again about samples that failed or
exceeded the budget.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions.instruction_tables import TeacherQuestions
from twin_assets.instructions.teacher import (
    FAILED,
    OVER_BUDGET,
    TEACHER_VERSION,
    WRITTEN,
    Teacher,
    TeacherPrompt,
)
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

QUESTIONS_TABLE = "teacher_questions"
DRAFTS_TABLE, DATASET_TABLE = "instruction_drafts", "instruction_dataset"
_BATCH_SIZE = 20


@dataclass(frozen=True)
class TeacherResult:
    """The teacher's questions for one author, and their cost.

    Attributes:
        outcomes: number of current samples, by outcome.
        requests, usd: number of requests in this update, and their cost.
        usd_in_all: cost of all current questions.
        budget_left: US dollars until the nearest limit, or None without a budget.
    """

    model: str
    outcomes: dict[str, int]
    requests: int
    usd: float
    usd_in_all: float
    prompt_tokens: int
    answer_tokens: int
    budget_left: float | None


def update_questions(
    tables: Tables, author: str, *, teacher: Teacher, log: Callable[[str], object]
) -> TeacherResult:
    """Ask about every draft without a reply from this teacher.

    Args:
        log: function that receives one line of progress per batch, without text of a post.

    Raises:
        TwinError: the teacher cannot be reached or refuses, or its budget cannot be enforced. The
            questions written before are stored.
    """
    drafts = _select_drafts(tables, author, teacher)
    reply_costs_usd: list[float] = []
    request_count = 0

    def ask(rows: pl.DataFrame) -> pl.DataFrame:
        nonlocal request_count
        if teacher.fatal_error is not None:
            raise teacher.fatal_error
        replies = teacher.ask(_build_prompts(tables, author, rows))
        reply_costs_usd.extend(reply.usd for reply in replies)
        request_count += sum(reply.tries for reply in replies)
        written_count = sum(reply.outcome == WRITTEN for reply in replies)
        log(
            f"{teacher.model} wrote {written_count} of {rows.height} questions, "
            f"${sum(reply_costs_usd):.4f} so far"
        )
        reply_rows = pl.DataFrame(
            [
                {**row, **asdict(reply), "model": teacher.model}
                for row, reply in zip(rows.to_dicts(), replies, strict=True)
            ],
            schema=column_types(TeacherQuestions),
        )
        return validate_rows(reply_rows, TeacherQuestions)

    tables.sync(
        drafts,
        QUESTIONS_TABLE,
        author=author,
        key="sample_id",
        function=ask,
        version=f"{TEACHER_VERSION}:{teacher.model}",
        schema=column_types(TeacherQuestions),
        row_key="sample_id",
        batch_rows=_BATCH_SIZE,
    )
    if teacher.fatal_error is not None:
        raise teacher.fatal_error
    columns = ["outcome", "usd", "prompt_tokens", "answer_tokens"]
    questions = tables.read(QUESTIONS_TABLE, author, columns=columns)
    remaining_usd = teacher.budget.remaining_usd() if teacher.budget is not None else None
    return TeacherResult(
        model=teacher.model,
        outcomes=dict(sorted(Counter(questions["outcome"].to_list()).items())),
        requests=request_count,
        usd=round(sum(reply_costs_usd), 6),
        usd_in_all=round(float(questions["usd"].sum()), 6),
        prompt_tokens=int(questions["prompt_tokens"].sum()),
        answer_tokens=int(questions["answer_tokens"].sum()),
        budget_left=None if remaining_usd is None else round(remaining_usd, 6),
    )


def _build_prompts(tables: Tables, author: str, rows: pl.DataFrame) -> list[TeacherPrompt]:
    """Return one prompt per row: its title and the draft's answer."""
    ids = rows["sample_id"].to_list()
    where, columns = sql_in_filter("sample_id", ids), ["sample_id", "answer"]
    answers = dict(tables.read(DRAFTS_TABLE, author, columns=columns, where=where).iter_rows())
    return [TeacherPrompt(row["title"], answers[row["sample_id"]]) for row in rows.to_dicts()]


def _select_drafts(tables: Tables, author: str, teacher: Teacher) -> pl.DataFrame:
    """Return `sample_id`, `document_id`, `title` and `turn` of the drafts to ask about.

    The turn increases by one when a draft is asked about again.
    """
    drafts = tables.read(DRAFTS_TABLE, author, columns=["sample_id", "document_id", "title"])
    if not tables.exists(QUESTIONS_TABLE, author):
        return drafts.with_columns(pl.lit(0, dtype=pl.Int64).alias("turn"))
    retried_outcomes = [FAILED]
    remaining_usd = None if teacher.budget is None else teacher.budget.remaining_usd()
    if remaining_usd is None or remaining_usd > 0:
        retried_outcomes.append(OVER_BUDGET)
    columns = ["sample_id", "model", "outcome", "turn"]
    turns = (
        tables.read(QUESTIONS_TABLE, author, columns=columns)
        .filter(pl.col("model") == teacher.model)
        .select(
            "sample_id",
            turn=pl.col("turn") + pl.col("outcome").is_in(retried_outcomes).cast(pl.Int64),
        )
    )
    return drafts.join(turns, on="sample_id", how="left", maintain_order="left").with_columns(
        pl.col("turn").fill_null(0)
    )


def read_written_questions(tables: Tables, author: str, model: str) -> pl.DataFrame:
    """Return this teacher's questions in the columns `sample_id` and `teacher_question`."""
    columns = ["sample_id", "question", "model", "outcome"]
    return (
        tables.read(QUESTIONS_TABLE, author, columns=columns)
        .filter((pl.col("model") == model) & (pl.col("outcome") == WRITTEN))
        .select("sample_id", teacher_question="question")
    )


def count_pending_questions(tables: Tables, author: str, model: str) -> int:
    """Count the questions that the next update will request, or replace with those of templates.

    Drafts without a usable reply do not count.

    Args:
        model: the teacher's model, or empty for templates.
    """
    if not tables.exists(DRAFTS_TABLE, author):
        return 0
    if not tables.exists(QUESTIONS_TABLE, author):
        return tables.read(DRAFTS_TABLE, author, columns=["sample_id"]).height if model else 0
    if not model and not tables.exists(DATASET_TABLE, author):
        return 0
    if not model:
        where = "instruction_source LIKE 'teacher:%'"
        return tables.read(DATASET_TABLE, author, columns=["sample_id"], where=where).height
    drafts = tables.read(DRAFTS_TABLE, author, columns=["sample_id"])
    rows = tables.read(QUESTIONS_TABLE, author, columns=["sample_id", "model"])
    return drafts.join(rows.filter(pl.col("model") == model), on="sample_id", how="anti").height
