"""Collect a model version's answers to the training prompts, to compare with the author's text.

Scope: choosing prompts and version, and the table of the answers. Out of scope: pairs
(`preference_pairs.py`), the request (`served_model.py`), finding the version (`answering.py`).

Answers of the model that is being improved make better rejected answers: Tajwar et al. 2024,
https://arxiv.org/abs/2404.14367. They are greedy, with the author's frequency penalty, because a
small model without one repeats a sentence to the end, and no reader ever sees that.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import columns_of, validated
from twin_assets.instructions.preference_schema import ModelAnswers
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.errors import TwinError
from twin_resources.models.serving import served_model
from twin_resources.storage.tables.rows_by_id import is_one_of

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.serving.running_server import RunningServer
    from twin_resources.storage.tables.tables import Tables

SAMPLES = "instruction_dataset"
ANSWERS = "model_answers"
ANSWERS_VERSION = "1"
_ASKED_AT_ONCE = 8  # batch size for storing answers: a killed run continues after the last batch

Serve = Callable[[], AbstractContextManager["RunningServer"]]


@dataclass(frozen=True)
class TrainedCheckpoint:
    """The training data of a checkpoint.

    It consists of the data version of the samples, the hash of the recipe, and the checkpoint whose
    answers are in its pairs (empty if there is none).
    """

    dataset: str
    recipe: str
    answers_of: str = ""


def whose_answers(stable: str, *, trained: TrainedCheckpoint, now: TrainedCheckpoint) -> str:
    """Return the checkpoint whose answers make the pairs of the next training.

    It is the stable checkpoint, unless that was itself trained on the same samples by this recipe.
    Then there is nothing new to learn, and the pairs of its own training are used again. Otherwise
    each release would change the pairs, and a re-run without new data would train.

    Args:
        stable: the checkpoint of the stable version.
        trained: the training data of that checkpoint.
        now: the training data of a training now; its `answers_of` is ignored.
    """
    same = (trained.dataset, trained.recipe) == (now.dataset, now.recipe)
    return trained.answers_of if same else stable


def chosen_samples(samples: Sequence[tuple[str, str]], *, count: int) -> list[str]:
    """Choose the samples to ask the model about: by lot, each document once before any twice.

    New samples replace only a few of the chosen ones, so that most stored answers remain useful.

    Args:
        samples: (sample id, document id).
    """
    lots = sorted((_lot(sample_id), sample_id, document) for sample_id, document in samples)
    turns: dict[str, int] = {}
    order: list[tuple[int, bytes, str]] = []
    for lot, sample_id, document in lots:
        turn = turns.get(document, 0)
        turns[document] = turn + 1
        order.append((turn, lot, sample_id))
    return [sample_id for _, _, sample_id in sorted(order)[:count]]


def _lot(sample_id: str) -> bytes:
    return hashlib.sha256(f"model answer/{sample_id}".encode()).digest()


@dataclass(frozen=True)
class AnswerSampling:
    """The model to ask, and how many answers to request.

    Attributes:
        checkpoint: the version's checkpoint, or empty if no model is asked.
        serve: starts its server (a context manager); called only if an answer is missing.
        answers: the number of prompts.
        answer_tokens: the maximum length of an answer.
    """

    checkpoint: str = ""
    serve: Serve | None = None
    answers: int = 0
    answer_tokens: int = 1


def update_answers(
    tables: Tables,
    author: Author,
    train: pl.DataFrame,
    *,
    answering: AnswerSampling,
    log: Callable[[str], object],
) -> tuple[pl.DataFrame, int]:
    """Request the missing answers, and delete the answers that are no longer useful.

    Args:
        train: `sample_id`, `document_id` of the training split.
        log: receives progress, one line each; never text of a post.

    Returns:
        The table `model_answers`, and the number of answers requested in this run.

    Raises:
        TwinError: the model does not answer.
    """
    chosen: list[str] = []
    if answering.checkpoint:
        documents = list(train.select("sample_id", "document_id").iter_rows())
        chosen = chosen_samples(documents, count=answering.answers)
    where = is_one_of("sample_id", chosen)
    rows = tables.read(SAMPLES, author.slug, columns=["sample_id", "messages"], where=where)
    prompts = [json.dumps(messages[:-1]) for messages in rows["messages"].to_list()]
    how = f"greedy, {FREQUENCY_PENALTY}, {answering.answer_tokens}"
    wanted = rows.select("sample_id").with_columns(
        pl.Series("prompt", prompts, dtype=pl.String),
        pl.lit(answering.checkpoint).alias("checkpoint"),
        pl.lit(how).alias("sampling"),
    )
    identities = [_digest(row) for row in wanted.iter_rows()]
    wanted = wanted.with_columns(pl.Series("answer_id", identities, dtype=pl.String))
    with ExitStack() as stack:
        running: list[RunningServer] = []

        def answer(missing: pl.DataFrame) -> pl.DataFrame:
            if not running:
                running.append(stack.enter_context(_serving(answering)))
            replies = served_model.ask(
                running[0],
                [json.loads(prompt) for prompt in missing["prompt"].to_list()],
                max_tokens=answering.answer_tokens,
                frequency_penalty=FREQUENCY_PENALTY,
            )
            ended = [len(reply.tokens) < answering.answer_tokens for reply in replies]
            log(f"{missing.height} answers of checkpoint {answering.checkpoint[:12]}")
            made = missing.with_columns(
                pl.Series("answer", [reply.text.strip() for reply in replies], dtype=pl.String),
                pl.Series("ended", ended, dtype=pl.Boolean),
            )
            return validated(made, ModelAnswers)

        done = tables.sync(
            wanted,
            ANSWERS,
            author=author.slug,
            key="answer_id",
            function=answer,
            version=ANSWERS_VERSION,
            schema=columns_of(ModelAnswers),
            row_key="answer_id",
            batch_rows=_ASKED_AT_ONCE,
        )
    return tables.read(ANSWERS, author.slug), done.computed


def _serving(answering: AnswerSampling) -> AbstractContextManager[RunningServer]:
    if answering.serve is None:
        raise TwinError(
            f"ask checkpoint {answering.checkpoint[:12]} for answers",
            found="nothing that serves it",
            next_step="materialize the checkpoint again, or let another version be stable",
        )
    return answering.serve()


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
