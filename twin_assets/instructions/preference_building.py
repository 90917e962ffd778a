"""Bring the tables `model_answers` and `preference_dataset` up to date, one after the other.

Scope: reading samples, traces and chunks, requesting missing answers, rendering and writing. Out of
scope: the decisions (`preference_pairs.py`, `model_answers.py`), Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import columns_of, validated
from twin_assets.instructions import contexts
from twin_assets.instructions.model_answers import (
    SAMPLES,
    AnswerSampling,
    update_answers,
)
from twin_assets.instructions.preference_pairs import (
    AuthorPassage,
    HeldOut,
    PreferencePair,
    Trace,
    leaking,
    pairs_of_traces,
    same_answer,
    within_share,
)
from twin_assets.instructions.preference_schema import PreferenceDataset
from twin_assets.instructions.stop_words import stop_words_of
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, ShownPassage
from twin_resources.prompt.templates import render, template_by_hash
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.storage.tables.rows_by_id import is_one_of

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables

DATASET = "preference_dataset"
TRACES = "interactions"
PREFERENCE_VERSION = "1"


@dataclass(frozen=True)
class Preferences:
    """The result of one update.

    Attributes:
        done: the sync of `preference_dataset`.
        sources: the number of pairs by source.
        left_out: the number of pairs that were not made, by reason.
        asked: the number of answers that were requested in this run; the others were stored.
    """

    done: SyncResult
    sources: Mapping[str, int]
    left_out: Mapping[str, int]
    asked: int


def update_preferences(
    tables: Tables,
    author: Author,
    *,
    answering: AnswerSampling,
    log: Callable[[str], object] = lambda _line: None,
) -> Preferences:
    """Bring both tables up to date.

    Raises:
        TableMissing: instruction_dataset or document_chunks was never materialized.
        TwinError: the model does not answer.
    """
    columns = ["sample_id", "document_id", "start", "end", "template"]
    train = tables.read(SAMPLES, author.slug, columns=columns, where="split = 'train'")
    template = str(train["template"][0]) if train.height else ""
    chunks = _chunks(tables, author.slug)
    own = contexts.own_chunks(train, chunks) if train.height else pl.DataFrame()
    answers, usage = update_answers(tables, author, train, answering=answering, log=log)
    pairs = _against_model(tables, author.slug, answers, own)
    traces = _traces(tables, author.slug)
    passages = _passages(tables, author.slug, train, own, traces)
    of_traces, left_out = pairs_of_traces(
        traces, passages, template=template, stop_words=stop_words_of(author.language or "en")
    )
    held_out = held_out_of(tables, author.slug)
    rows = [*_rendered(tables, author, of_traces, held_out.chunks, left_out), *pairs]
    rows = _without_leaks(_differing(rows, left_out), held_out, left_out)
    stays = within_share([row["voters"] for row in rows])
    left_out["too_many_of_a_reader"] += len(rows) - len(stays)
    frame = pl.DataFrame([rows[place] for place in stays], schema=columns_of(PreferenceDataset))
    done = tables.sync(
        frame,
        DATASET,
        author=author.slug,
        key="pair_id",
        function=lambda changed: validated(changed, PreferenceDataset),
        version=PREFERENCE_VERSION,
        schema=columns_of(PreferenceDataset),
        row_key="pair_id",
    )
    return Preferences(
        done=done,
        sources=dict(sorted(Counter(frame["source"].to_list()).items())),
        left_out={reason: count for reason, count in sorted(left_out.items()) if count},
        asked=usage,
    )


def _chunks(tables: Tables, author: str) -> pl.DataFrame:
    return tables.read(
        "document_chunks", author, columns=["chunk_id", "document_id", "start", "end"]
    )


def _against_model(
    tables: Tables, author: str, answers: pl.DataFrame, own: pl.DataFrame
) -> list[dict[str, Any]]:
    """Return rows that pair the author's own answers with the model's."""
    answered = answers.filter(pl.col("answer") != "")
    ids = answered["sample_id"].to_list()
    samples = {
        row["sample_id"]: row
        for row in tables.read(SAMPLES, author, where=is_one_of("sample_id", ids)).to_dicts()
    }
    passages = _passage_rows(own, samples)
    rows: list[dict[str, Any]] = []
    for row in answered.to_dicts():
        sample = samples[row["sample_id"]]
        pair = PreferencePair(
            source="model_answer",
            trace_id=None,
            passage=passages[row["sample_id"]],
            question=sample["question"],
            context_chunk_ids=tuple(sample["context_chunk_ids"]),
            template=sample["template"],
            chosen=sample["answer"].strip(),
            rejected=row["answer"],
            rejected_ended=row["ended"],
            rejected_from=row["checkpoint"],
        )
        if pair.chosen != pair.rejected:
            rows.append(_row(pair, sample["messages"][:-1]))
    return rows


def _traces(tables: Tables, author: str) -> list[Trace]:
    """Return the traces that somebody scored, rejected or edited, newest first.

    A preference for another answer counts as a vote of 0, along with the other votes.
    """
    if not tables.exists(TRACES, author):
        return []
    said = "votes > 0 OR rejections > 0 OR edit IS NOT NULL"
    frame = tables.read(TRACES, author, where=f"route <> '{FRONT_DESK}' AND ({said})")
    newest = frame.sort(["started_at", "trace_id"], descending=[True, False])
    return [
        Trace(
            trace_id=row["trace_id"],
            rejected_from=row["checkpoint"] or row["version"] or "unknown",
            question=row["question"],
            answer=row["answer"],
            chunk_ids=tuple(row["chunk_ids"]),
            template=row["template"],
            vote=_mean_vote(row),
            voters=(*row["voters"], *row["rejection_voters"]),
            edit=row["edit"] or "",
            edit_role=row["edit_role"] or "",
        )
        for row in newest.to_dicts()
    ]


def _mean_vote(row: Mapping[str, Any]) -> float | None:
    count = row["votes"] + row["rejections"]
    return (row["vote"] or 0.0) * row["votes"] / count if count else None


def _passages(
    tables: Tables,
    author: str,
    train: pl.DataFrame,
    own: pl.DataFrame,
    traces: Iterable[Trace],
) -> list[AuthorPassage]:
    """Return the training samples whose answers are in a chunk that some trace showed."""
    shown = {chunk for trace in traces if trace.vote is not None for chunk in trace.chunk_ids}
    if not shown or train.is_empty():
        return []
    near = own.filter(pl.col("own_chunks").list.eval(pl.element().is_in(list(shown))).list.any())[
        "sample_id"
    ].to_list()
    columns = ["sample_id", "document_id", "start", "end", "question", "answer"]
    passages = tables.read(SAMPLES, author, columns=columns, where=is_one_of("sample_id", near))
    return list(_passage_rows(own, {row["sample_id"]: row for row in passages.to_dicts()}).values())


def _passage_rows(
    own: pl.DataFrame, samples: Mapping[str, Mapping[str, Any]]
) -> dict[str, AuthorPassage]:
    if not samples:
        return {}
    return {
        sample_id: AuthorPassage(
            sample_id=sample_id,
            document_id=samples[sample_id]["document_id"],
            chunk_id=chunk_id,
            own_chunks=frozenset(own_chunks),
            start=samples[sample_id]["start"],
            end=samples[sample_id]["end"],
            question=samples[sample_id]["question"],
            answer=samples[sample_id]["answer"],
        )
        for sample_id, chunk_id, own_chunks in own.iter_rows()
        if sample_id in samples
    }


def _rendered(
    tables: Tables,
    author: Author,
    pairs: Sequence[PreferencePair],
    held_out: Collection[str],
    left_out: Counter[str],
) -> list[dict[str, Any]]:
    """Render the pairs of traces: the recorded question and context in the recorded template.

    As in `instruction_dataset`, the prompts contain neither persona nor refused topics. Chunks of
    posts that are `held_out` are removed too: a reader's answer may use them, but a training sample
    never shows them.
    """
    wanted = {chunk for pair in pairs for chunk in pair.context_chunk_ids}
    columns = ["chunk_id", *SHOWN_COLUMNS]
    shown = {
        chunk_id: ShownPassage(*row)
        for chunk_id, *row in tables.read(
            "document_chunks", author.slug, columns=columns, where=is_one_of("chunk_id", wanted)
        ).iter_rows()
    }
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        if not shown.keys() >= set(pair.context_chunk_ids):
            left_out["context_is_gone"] += 1
            continue
        context = tuple(chunk for chunk in pair.context_chunk_ids if chunk not in held_out)
        messages = render(
            template_by_hash(pair.template),
            author_name=author.name,
            question=pair.question,
            passages=[shown[chunk] for chunk in context],
        )
        rows.append(_row(replace(pair, context_chunk_ids=context), messages))
    return rows


def _row(pair: PreferencePair, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    passage = pair.passage
    return {
        "pair_id": pair.pair_id,
        "source": pair.source,
        "trace_id": pair.trace_id,
        "sample_id": passage.sample_id if passage else None,
        "document_id": passage.document_id if passage else None,
        "chunk_id": passage.chunk_id if passage else None,
        "start": passage.start if passage else None,
        "end": passage.end if passage else None,
        "question": pair.question,
        "context_chunk_ids": list(pair.context_chunk_ids),
        "messages": list(messages),
        "template": pair.template,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "rejected_ended": pair.rejected_ended,
        "rejected_from": pair.rejected_from,
        "voters": list(pair.voters),
    }


def held_out_of(tables: Tables, author: str) -> HeldOut:
    """Return the parts of the author's held-out samples that no pair may show."""
    columns = ["sample_id", "document_id", "question", "answer", "messages"]
    rows = tables.read(SAMPLES, author, columns=columns, where="split = 'held_out'").to_dicts()
    documents = {row["document_id"] for row in rows}
    chunks = tables.read(
        "document_chunks",
        author,
        columns=["chunk_id"],
        where=is_one_of("document_id", documents),
    )
    return HeldOut(
        questions={row["sample_id"]: row["question"] for row in rows},
        prompts={row["sample_id"]: row["messages"][-2]["content"] for row in rows},
        answers=[row["answer"] for row in rows],
        chunks=frozenset(chunks["chunk_id"].to_list()),
    )


def _differing(rows: Sequence[dict[str, Any]], left_out: Counter[str]) -> list[dict[str, Any]]:
    """Return the pairs whose two answers differ in content; equal answers teach nothing."""
    differ = [row for row in rows if not same_answer(row["chosen"], row["rejected"])]
    left_out["equal_answers"] += len(rows) - len(differ)
    return differ


def _without_leaks(
    rows: Sequence[dict[str, Any]], held_out: HeldOut, left_out: Counter[str]
) -> list[dict[str, Any]]:
    leaks = leaking(
        {
            row["pair_id"]: (row["question"], row["messages"][-1]["content"], row["chosen"])
            for row in rows
        },
        held_out,
    )
    left_out.update(leaks.values())
    return [row for row in rows if row["pair_id"] not in leaks]
