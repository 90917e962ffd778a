"""Read the material for an author's judges from the author's tables.

Scope: training pairs, held-out answers with their passages, other people's texts, and answers of
the base model.
Out of scope: the judges (`twin_resources/quality/judges`) and their uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.evaluation.likelihood import held_out
from twin_resources.authors import FREQUENCY_PENALTY, SAMPLES_DIR, list_author_slugs
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server_process import max_concurrent_servers
from twin_resources.models.serving.served_model import StartServer
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges.judge_kind import JudgeMaterial, TopicPair
from twin_resources.quality.judges.negative_probes import AuthorAnswer
from twin_resources.quality.judges.texts import (
    OtherTexts,
    WriterSample,
    bundled_writers,
    exclude_copies_of_author,
    split_for_probes,
)
from twin_resources.settings import Settings
from twin_resources.storage.state.failure_isolation import isolate_failure

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

DATASET, CHUNKS_TABLE = "instruction_dataset", "embeddings"
BASE_ANSWERS_TABLE = "base_answers"
# 60 answers of 60 tokens take about 105 s on one core, once per author and base model
BASE_QUESTION_COUNT = 60
PLOTTED_BASE_QUESTION_COUNT = 24  # enough to plot its habits; the voice judge needs more
BASE_ANSWER_TOKENS = 60
MAX_PASSAGES_PER_AUTHOR = 300  # passages from each of the other authors
BASE_ANSWERS_VERSION = "base-answers-2"
_SCHEMA = {
    "question_id": pl.String(),
    "base": pl.String(),
    "with_passages": pl.Boolean(),
    "answer": pl.String(),
}


def other_author_slugs(author: str, settings: Settings) -> list[str]:
    """Return the slugs of the instance's other authors, without the bundled sample authors."""
    slugs = list_author_slugs(settings)
    return [slug for slug in slugs if slug != author and not (SAMPLES_DIR / slug).is_dir()]


def build_topic_material(author: str, pairs: Sequence[TopicPair]) -> JudgeMaterial:
    """Return only the material that calibrates a topic score."""
    return JudgeMaterial(
        author, pairs, prompts=(), other_texts=OtherTexts((), (), has_unseen_writers=False)
    )


def read_judge_material(
    author: str,
    tables: Tables,
    *,
    other_slugs: Sequence[str],
    base_revision: str,
    serve_base: StartServer | None,
    log: Callable[[str], object],
    base_answer_count: int = BASE_QUESTION_COUNT,
) -> JudgeMaterial:
    """Read an author's material, and ask the base model the first time that this is called.

    Args:
        other_slugs: slugs of the instance's other authors. Their texts are negative examples for
            this voice but never probes, because a probe may be sent to an external judge.
        base_revision: revision of the base model.
        serve_base: function that starts the base model's server; None for judges that do not need
            its answers.
        base_answer_count: number of questions that the base answers.

    Raises:
        TableNotFoundError: the dataset was never materialized.
        TwinError: the base model cannot be served.
    """
    dataset = tables.read(DATASET, author)
    chunks = read_chunk_texts(tables, author)
    prompts = [
        AuthorAnswer(
            sample_id=row["sample_id"],
            document_id=row["document_id"],
            question=row["question"],
            answer=row["answer"],
            passages=tuple(
                chunks[name]
                for name in (row["chunk_id"], *row["context_chunk_ids"])
                if name in chunks
            ),
        )
        for row in held_out.select_held_out_samples(dataset, trained_on=()).iter_rows(named=True)
    ]
    own_answers = dataset["answer"].to_list()
    texts = split_for_probes(
        exclude_copies_of_author(bundled_writers(exclude=[author]), own_answers)
    )
    training_texts = (
        *texts.training,
        *exclude_copies_of_author(_read_other_writers(tables, other_slugs, log=log), own_answers),
    )
    answers: list[str] = []
    if serve_base is not None:
        answers = _read_base_answers(
            author,
            tables,
            dataset,
            base_revision=base_revision,
            serve=serve_base,
            count=base_answer_count,
            log=log,
        )
    return JudgeMaterial(
        author=author,
        pairs=held_out.select_training_pairs(dataset),
        prompts=prompts,
        other_texts=replace(texts, training=training_texts),
        base_answers=answers,
        base_revision=base_revision,
    )


def read_chunk_texts(tables: Tables, author: str) -> dict[str, str]:
    """Return the texts of an author's chunks by id, or an empty dict if there are none yet."""
    if not tables.exists(CHUNKS_TABLE, author):
        return {}
    return dict(tables.read(CHUNKS_TABLE, author, columns=["chunk_id", "text"]).iter_rows())


def find_authors_with_dataset(
    tables: Tables, other_slugs: Sequence[str], *, log: Callable[[str], object]
) -> list[str]:
    """Return the slugs of the other authors who have a dataset.

    A table that cannot be opened is logged and left out, so that it does not stop this author's
    gate.
    """
    slugs_with_dataset: list[str] = []
    for slug in other_slugs:
        with isolate_failure(f"without the texts of {slug}", log):
            slugs_with_dataset += [slug] if tables.exists(DATASET, slug) else []
    return slugs_with_dataset


def _read_other_writers(
    tables: Tables, other_slugs: Sequence[str], *, log: Callable[[str], object]
) -> list[WriterSample]:
    writers: list[WriterSample] = []
    for slug in sorted(find_authors_with_dataset(tables, other_slugs, log=log)):
        with isolate_failure(f"without the texts of {slug}", log):
            columns = ["sample_id", "document_id", "answer"]
            rows = tables.read(DATASET, slug, columns=columns)
            sampled_rows = held_out.shuffle_by_hash(rows).head(MAX_PASSAGES_PER_AUTHOR)
            passages = tuple(sampled_rows.select("document_id", "answer").iter_rows())
            writers.append(WriterSample(slug, passages))
    return writers


def _read_base_answers(
    author: str,
    tables: Tables,
    dataset: pl.DataFrame,
    *,
    base_revision: str,
    serve: StartServer,
    count: int,
    log: Callable[[str], object],
) -> list[str]:
    """Return the untuned base model's answers to training questions, stored in a table.

    Half of the questions include the passages of their samples, as in the gate and for readers. The
    base model quotes from passages, and a judge that was not trained on such answers mistakes them
    for the author's.

    The base model answers only once, even if a later post changes which questions come first.
    """
    if tables.exists(BASE_ANSWERS_TABLE, author):
        stored_answers = tables.read(BASE_ANSWERS_TABLE, author).filter(
            pl.col("base") == base_revision
        )
        is_current = "with_passages" in stored_answers.columns
        if is_current and stored_answers.height >= min(count, BASE_QUESTION_COUNT // 2):
            return [text for text in stored_answers["answer"].to_list() if text.strip()]
    training_rows = held_out.shuffle_by_hash(dataset.filter(pl.col("split") == "train"))
    questions = training_rows.head(count).select(
        pl.col("sample_id").alias("question_id"),
        "question",
        "messages",
        (pl.int_range(pl.len()) % 2 == 0).alias("with_passages"),
    )
    tables.sync(
        questions,
        BASE_ANSWERS_TABLE,
        author=author,
        key="question_id",
        function=lambda rows: _ask_base_model(
            rows, base_revision=base_revision, serve=serve, log=log
        ),
        version=f"{BASE_ANSWERS_VERSION}:{base_revision}",
        schema=_SCHEMA,
        row_key="question_id",
    )
    answers = tables.read(BASE_ANSWERS_TABLE, author, columns=["answer"])["answer"].to_list()
    return [text for text in answers if text.strip()]


def _ask_base_model(
    rows: pl.DataFrame, *, base_revision: str, serve: StartServer, log: Callable[[str], object]
) -> pl.DataFrame:
    # The current template suffices: the base model's style does not depend on it, and this code may
    # not have the samples' template.
    without_passages = rows.filter(~pl.col("with_passages"))
    with_passages = rows.filter(pl.col("with_passages"))
    rows = pl.concat([with_passages, without_passages])
    prompts = [
        *held_out.build_prompts(with_passages),
        *held_out.render_bare_questions(without_passages, DEFAULT_TEMPLATE),
    ]
    log(f"the base model answers {len(prompts)} questions once, for its voice")
    replies = served_model.query_temporary_servers(
        serve,
        prompts,
        max_servers=max_concurrent_servers(),
        max_tokens=BASE_ANSWER_TOKENS,
        frequency_penalty=FREQUENCY_PENALTY,
    )
    base = pl.lit(base_revision).alias("base")
    return rows.select("question_id", base, "with_passages").with_columns(
        pl.Series("answer", [answer.text for answer in replies], dtype=pl.String)
    )
