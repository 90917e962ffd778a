"""Choose the passages in a sample's prompt from retrieval results, excluding the answer.

Scope: which samples get a context, keeping a context that is still valid, and forbidden passages.
Out of scope: the search (`twin_resources.models.retrieval`, the gateway's own), rendering.

A context is retrieved once and kept until one of its passages is deleted, so ten new posts require
searches only for those posts. A context never contains the answer's own chunk or a passage newer
than the answer. Some samples get no context.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.shingles import shingles
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.retrieval import MAX_PASSAGES, Passage, RetrievalQuery

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.retrieval.retrieval import Retriever

CONTEXT_VERSION = "3"
NO_CONTEXT_SHARE = 0.2
MIN_REPEATED_SHARE = 0.2  # share of the answer's 5-word sequences in another post that quotes it
MAX_SHARED_TOKENS = 0.6  # share of tokens above which two prompts show mostly the same passages


@dataclass(frozen=True)
class ContextSample:
    """The fields of a sample that the search for its context needs."""

    sample_id: str
    question: str
    answer: str
    published_at: datetime | None
    split: str
    own_chunks: tuple[str, ...]


def retrieval_name(revision: str, *, token_budget: int) -> str:
    """Return a name that changes with every setting that affects the search results.

    Args:
        revision: the revision of the models that find and rank passages (`Retriever.revision`).
        token_budget: the author's `context_tokens`.
    """
    return f"{CONTEXT_VERSION}:{revision}:{MAX_PASSAGES}:{token_budget}"


def has_context(sample_id: str) -> bool:
    """Return whether a sample gets a context; a fifth, chosen by hash, get none."""
    digest = hashlib.sha256(f"context/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 >= NO_CONTEXT_SHARE


def find_own_chunks(drafts: pl.DataFrame, chunks: pl.DataFrame) -> pl.DataFrame:
    """Return the chunks that contain a part of each answer.

    Args:
        drafts: `sample_id`, `document_id`, `start`, `end`.
        chunks: `chunk_id`, `document_id`, `start`, `end` of `embeddings`.

    Returns:
        `sample_id`, `chunk_id` (the chunk with the largest part of the answer), `own_chunks` (all
        of them).

    Raises:
        TwinError: an answer is in no chunk.
    """
    overlap_length = pl.min_horizontal("end", "end_right") - pl.max_horizontal(
        "start", "start_right"
    )
    chunk_ids = (
        drafts.select("sample_id", "document_id", "start", "end")
        .join(chunks.select("chunk_id", "document_id", "start", "end"), on="document_id")
        .with_columns(overlap_length.alias("shared"))
        .filter(pl.col("shared") > 0)
        .sort(["sample_id", "shared", "start_right"], descending=[False, True, False])
        .group_by("sample_id", maintain_order=True)
        .agg(pl.col("chunk_id").first(), pl.col("chunk_id").alias("own_chunks"))
    )
    if chunk_ids.height < drafts.height:
        raise TwinError(
            "find the chunk of each sample",
            found=f"{drafts.height - chunk_ids.height} answers outside every chunk",
            next_step="materialize embeddings first",
        )
    return chunk_ids


def is_context_valid(
    sample: ContextSample,
    stored_chunks: Sequence[str],
    published_at_by_chunk: Mapping[str, datetime | None],
    *,
    held_out_chunks: Collection[str] = (),
) -> bool:
    """Return whether to keep a stored context.

    Every passage must still exist, must not be part of the answer and must not be newer.

    Args:
        published_at_by_chunk: the date by chunk id, for every existing chunk.
        held_out_chunks: chunk ids of held-out documents. The context of a sample that was left out
            may show them, and becomes invalid if the sample joins the training split.
    """
    return all(
        chunk in published_at_by_chunk
        and chunk not in sample.own_chunks
        and not (sample.split == "train" and chunk in held_out_chunks)
        and _is_not_newer(published_at_by_chunk[chunk], sample.published_at)
        for chunk in stored_chunks
    )


def _is_not_newer(chunk_date: datetime | None, answer_date: datetime | None) -> bool:
    """Return whether a chunk is not newer; an undated chunk counts as newer than a dated answer."""
    return answer_date is None or (chunk_date is not None and chunk_date <= answer_date)


def find_contexts(
    samples: Sequence[ContextSample],
    *,
    retriever: Retriever,
    author: str,
    token_budget: int,
    held_out_documents: Collection[str],
    vectors: Mapping[str, np.ndarray],
) -> dict[str, tuple[str, ...]]:
    """Return chunk ids for the prompt of each sample, best first, or none if it gets no context.

    Args:
        token_budget: the maximum number of tokens in a prompt's passages (`Author.context_tokens`).
        held_out_documents: document ids; no prompt of a training sample shows their passages.
        vectors: known vectors by question.

    Raises:
        TwinError: the author's passages cannot be searched.
    """
    contexts: dict[str, tuple[str, ...]] = {sample.sample_id: () for sample in samples}
    samples_with_context = [sample for sample in samples if has_context(sample.sample_id)]
    queries = [
        RetrievalQuery(
            sample.question,
            published_before=sample.published_at,
            exclude=sample.own_chunks,
            exclude_documents=held_out_documents if sample.split == "train" else (),
            vector=vectors.get(sample.question),
        )
        for sample in samples_with_context
    ]
    results = retriever.retrieve_many(author, queries, token_budget=token_budget)
    for sample, result in zip(samples_with_context, results, strict=True):
        if result.reason:
            raise TwinError(
                f"find the context of {len(samples_with_context)} samples of {author}",
                found=result.reason,
                next_step="materialize embeddings first",
            )
        answer = shingles(sample.answer, width=5)
        contexts[sample.sample_id] = tuple(
            passage.chunk_id for passage in result.passages if not _repeats_answer(passage, answer)
        )
    return contexts


def _repeats_answer(passage: Passage, answer: Collection[int]) -> bool:
    shared_count = len(shingles(passage.text, width=5).intersection(answer))
    return shared_count >= MIN_REPEATED_SHARE * len(answer)


def separate_contexts(
    contexts: Mapping[str, Sequence[str]],
    *,
    held_out_samples: Collection[str],
    token_counts: Mapping[str, int],
) -> dict[str, tuple[str, ...]]:
    """Return contexts in which no training prompt shows mostly the passages of a held-out prompt.

    The largest shared passage is removed from the training prompt, repeatedly if needed.

    Args:
        contexts: chunk ids by sample id.
        held_out_samples: sample ids; only the contexts of other samples are reduced.
        token_counts: the number of tokens by chunk id.
    """
    contexts_by_chunk: dict[str, list[frozenset[str]]] = defaultdict(list)
    for sample_id in sorted(held_out_samples):
        held_out_context = frozenset(contexts[sample_id])
        for chunk in held_out_context:
            contexts_by_chunk[chunk].append(held_out_context)

    def count_tokens(chunks: Collection[str]) -> int:
        return sum(token_counts[chunk] for chunk in chunks)

    def find_overlap(training_context: frozenset[str]) -> frozenset[str] | None:
        held_out_contexts = {
            context for chunk in training_context for context in contexts_by_chunk.get(chunk, ())
        }
        overlapping_contexts = [
            context
            for context in held_out_contexts
            if count_tokens(training_context & context)
            >= MAX_SHARED_TOKENS * count_tokens(training_context | context)
        ]
        return min(overlapping_contexts, key=sorted, default=None)

    result: dict[str, tuple[str, ...]] = {}
    for sample_id, chunks in contexts.items():
        remaining_chunks = tuple(chunks)
        if sample_id not in held_out_samples:
            while (held_out_context := find_overlap(frozenset(remaining_chunks))) is not None:
                shared_chunks = sorted(
                    held_out_context.intersection(remaining_chunks),
                    key=lambda chunk: (-token_counts[chunk], chunk),
                )
                remaining_chunks = tuple(
                    chunk for chunk in remaining_chunks if chunk != shared_chunks[0]
                )
        result[sample_id] = remaining_chunks
    return result
