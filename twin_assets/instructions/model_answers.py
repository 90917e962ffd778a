"""Collect a model version's answers to the training prompts, to compare with the author's text.

Scope: choosing prompts and version, and the table of the answers. Out of scope: pairs
(`preference_pairs.py`), the request (`served_model.py`), finding the version (`answering.py`).

Answers of the model that is being improved make better rejected answers: Tajwar et al. 2024,
https://arxiv.org/abs/2404.14367. They are decoded greedily, with the author's frequency penalty.
Without it, a small model repeats a sentence to the end, which readers never see.
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

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions.preference_schema import ModelAnswers
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.errors import TwinError
from twin_resources.models.serving import served_model
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.serving.running_server import RunningServer
    from twin_resources.storage.tables.tables import Tables

SAMPLES_TABLE = "instruction_dataset"
ANSWERS_TABLE = "model_answers"
ANSWERS_VERSION = "1"
_BATCH_SIZE = 8  # answers stored at a time; a killed run continues after the last batch

ServerFactory = Callable[[], AbstractContextManager["RunningServer"]]


@dataclass(frozen=True)
class TrainedCheckpoint:
    """The training data of a checkpoint.

    It consists of the data version of the samples, the hash of the recipe, and the checkpoint whose
    answers are in its pairs (empty if there is none).
    """

    dataset: str
    recipe: str
    answers_of: str = ""


def choose_answer_checkpoint(
    stable_checkpoint: str, *, previous: TrainedCheckpoint, current: TrainedCheckpoint
) -> str:
    """Return the checkpoint whose answers are used for the pairs of the next training run.

    It is the stable checkpoint, unless that was trained on the same samples with this recipe. In
    that case, the pairs of its own training run are reused. Otherwise, each release would change
    the pairs, and a re-run without new data would train again.

    Args:
        stable_checkpoint: the checkpoint of the stable version.
        previous: the training data of that checkpoint.
        current: the training data of a run now; its `answers_of` is ignored.
    """
    has_same_data = (previous.dataset, previous.recipe) == (current.dataset, current.recipe)
    return previous.answers_of if has_same_data else stable_checkpoint


def choose_samples(samples: Sequence[tuple[str, str]], *, count: int) -> list[str]:
    """Draw random samples for the model to answer, each document once before any document twice.

    New samples replace only a few chosen samples, so that most stored answers remain useful.

    Args:
        samples: (sample id, document id).
    """
    hashed_samples = sorted(
        (_selection_hash(sample_id), sample_id, document) for sample_id, document in samples
    )
    document_counts: dict[str, int] = {}
    ranked_samples: list[tuple[int, bytes, str]] = []
    for sample_hash, sample_id, document in hashed_samples:
        occurrence = document_counts.get(document, 0)
        document_counts[document] = occurrence + 1
        ranked_samples.append((occurrence, sample_hash, sample_id))
    return [sample_id for _, _, sample_id in sorted(ranked_samples)[:count]]


def _selection_hash(sample_id: str) -> bytes:
    return hashlib.sha256(f"model answer/{sample_id}".encode()).digest()


@dataclass(frozen=True)
class AnswerSampling:
    """The model to ask, and how many answers to request.

    Attributes:
        checkpoint: the version's checkpoint, or empty if no model is asked.
        serve: function that starts its server (a context manager); called only if an answer is
            missing.
        answer_count: the number of prompts.
        answer_tokens: the maximum length of an answer.
    """

    checkpoint: str = ""
    serve: ServerFactory | None = None
    answer_count: int = 0
    answer_tokens: int = 1


def update_answers(
    tables: Tables,
    author: Author,
    train: pl.DataFrame,
    *,
    answer_sampling: AnswerSampling,
    log: Callable[[str], object],
) -> tuple[pl.DataFrame, int]:
    """Request the missing answers, and delete the answers that are no longer useful.

    Args:
        train: `sample_id`, `document_id` of the training split.
        log: function that receives progress lines, which never contain text of a post.

    Returns:
        The table `model_answers`, and the number of answers requested in this run.

    Raises:
        TwinError: the model does not answer.
    """
    sample_ids: list[str] = []
    if answer_sampling.checkpoint:
        documents = list(train.select("sample_id", "document_id").iter_rows())
        sample_ids = choose_samples(documents, count=answer_sampling.answer_count)
    sample_filter = sql_in_filter("sample_id", sample_ids)
    rows = tables.read(
        SAMPLES_TABLE, author.slug, columns=["sample_id", "messages"], where=sample_filter
    )
    prompts = [json.dumps(messages[:-1]) for messages in rows["messages"].to_list()]
    sampling_settings = f"greedy, {FREQUENCY_PENALTY}, {answer_sampling.answer_tokens}"
    request_rows = rows.select("sample_id").with_columns(
        pl.Series("prompt", prompts, dtype=pl.String),
        pl.lit(answer_sampling.checkpoint).alias("checkpoint"),
        pl.lit(sampling_settings).alias("sampling"),
    )
    identities = [_digest(row) for row in request_rows.iter_rows()]
    request_rows = request_rows.with_columns(pl.Series("answer_id", identities, dtype=pl.String))
    with ExitStack() as stack:
        running_servers: list[RunningServer] = []

        def answer(missing: pl.DataFrame) -> pl.DataFrame:
            if not running_servers:
                running_servers.append(stack.enter_context(_open_server(answer_sampling)))
            replies = served_model.ask(
                running_servers[0],
                [json.loads(prompt) for prompt in missing["prompt"].to_list()],
                max_tokens=answer_sampling.answer_tokens,
                frequency_penalty=FREQUENCY_PENALTY,
            )
            has_ended = [len(reply.tokens) < answer_sampling.answer_tokens for reply in replies]
            log(f"{missing.height} answers from checkpoint {answer_sampling.checkpoint[:12]}")
            answer_rows = missing.with_columns(
                pl.Series("answer", [reply.text.strip() for reply in replies], dtype=pl.String),
                pl.Series("ended", has_ended, dtype=pl.Boolean),
            )
            return validate_rows(answer_rows, ModelAnswers)

        sync_result = tables.sync(
            request_rows,
            ANSWERS_TABLE,
            author=author.slug,
            key="answer_id",
            function=answer,
            version=ANSWERS_VERSION,
            schema=column_types(ModelAnswers),
            row_key="answer_id",
            batch_rows=_BATCH_SIZE,
        )
    return tables.read(ANSWERS_TABLE, author.slug), sync_result.computed


def _open_server(answer_sampling: AnswerSampling) -> AbstractContextManager[RunningServer]:
    if answer_sampling.serve is None:
        raise TwinError(
            f"ask checkpoint {answer_sampling.checkpoint[:12]} for answers",
            found="no server for it",
            next_step="materialize the checkpoint again, or make another version stable",
        )
    return answer_sampling.serve()


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
