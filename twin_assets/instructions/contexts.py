"""Which passages stand in a sample's prompt: what retrieval finds, never the answer itself.

Scope: who gets a context, keeping one that is still good, and what a context must not hold.
Out of scope: the search (`twin_resources.models.retrieval`, the gateway's own), rendering.

A context is looked up once and kept until a passage in it vanishes, so that ten new posts cost ten
posts' worth of searches. The rules: never the answer's own chunk, nothing newer than the answer,
some samples without any.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.instructions.similar_keys import shingles
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.retrieval import PASSAGES, Passage, RetrievalQuery

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.retrieval.retrieval import Retriever

CONTEXT_VERSION = "2"
WITHOUT_CONTEXT = 0.2
REPEATS_ANSWER = 0.2  # share of the answer's 5-word sequences: another post quotes it
SAME_CONTEXT = 0.6  # share of tokens: two prompts that show mostly the same passages


@dataclass(frozen=True)
class ContextSample:
    """What looking up a context needs to know of a sample."""

    sample_id: str
    question: str
    answer: str
    published_at: datetime | None
    split: str
    own_chunks: tuple[str, ...]


def retrieval_name(revision: str, *, token_budget: int) -> str:
    """Names everything that decides what is found for a question.

    Args:
        revision: of the models that find and rank (`Retriever.revision`).
        token_budget: `Author.context_tokens`.
    """
    return f"{CONTEXT_VERSION}:{revision}:{PASSAGES}:{token_budget}"


def gets_context(sample_id: str) -> bool:
    """False for a fifth of the samples, by hash: a reader's question may find nothing either."""
    digest = hashlib.sha256(f"context/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 >= WITHOUT_CONTEXT


def own_chunks(drafts: pl.DataFrame, chunks: pl.DataFrame) -> pl.DataFrame:
    """Which chunks hold a part of each answer.

    Args:
        drafts: `sample_id`, `document_id`, `start`, `end`.
        chunks: `chunk_id`, `document_id`, `start`, `end` of `document_chunks`.

    Returns:
        `sample_id`, `chunk_id` (the one with most of the answer), `own_chunks` (all of them).

    Raises:
        TwinError: an answer lies in no chunk.
    """
    shared = pl.min_horizontal("end", "end_right") - pl.max_horizontal("start", "start_right")
    chunk_ids = (
        drafts.select("sample_id", "document_id", "start", "end")
        .join(chunks.select("chunk_id", "document_id", "start", "end"), on="document_id")
        .with_columns(shared.alias("shared"))
        .filter(pl.col("shared") > 0)
        .sort(["sample_id", "shared", "start_right"], descending=[False, True, False])
        .group_by("sample_id", maintain_order=True)
        .agg(pl.col("chunk_id").first(), pl.col("chunk_id").alias("own_chunks"))
    )
    if chunk_ids.height < drafts.height:
        raise TwinError(
            "name the chunk of each sample",
            found=f"{drafts.height - chunk_ids.height} answers that lie in no chunk",
            next_step="materialize document_chunks and embeddings first",
        )
    return chunk_ids


def still_good(
    sample: ContextSample,
    stored: Sequence[str],
    published: Mapping[str, datetime | None],
    *,
    of_held_out: Collection[str] = (),
) -> bool:
    """Whether a stored context may be kept: every passage stands, elsewhere, and is not newer.

    Args:
        published: date by chunk id, for every chunk there is.
        of_held_out: chunk ids; the context of a sample that was left out may show them, and is no
            good when the sample is trained on after all.
    """
    return all(
        chunk in published
        and chunk not in sample.own_chunks
        and not (sample.split == "train" and chunk in of_held_out)
        and _not_newer(published[chunk], sample.published_at)
        for chunk in stored
    )


def _not_newer(chunk: datetime | None, answer: datetime | None) -> bool:
    """A chunk without a date may be newer than a dated answer."""
    return answer is None or (chunk is not None and chunk <= answer)


def find_contexts(
    samples: Sequence[ContextSample],
    *,
    retriever: Retriever,
    author: str,
    token_budget: int,
    held_out: Collection[str],
    vectors: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, tuple[str, ...]]:
    """Chunk ids for the prompt of each sample, best first; empty for those that get none.

    Args:
        token_budget: most tokens of the passages of a prompt (`Author.context_tokens`).
        held_out: document ids; no prompt of a training sample shows one of theirs.
        vectors: by question, those that are known already.

    Raises:
        TwinError: the author's passages can't be searched.
    """
    contexts: dict[str, tuple[str, ...]] = {sample.sample_id: () for sample in samples}
    asking = [sample for sample in samples if gets_context(sample.sample_id)]
    queries = [
        RetrievalQuery(
            sample.question,
            before=sample.published_at,
            exclude=sample.own_chunks,
            exclude_documents=held_out if sample.split == "train" else (),
            vector=vectors.get(sample.question),
        )
        for sample in asking
    ]
    results = retriever.retrieve_many(author, queries, token_budget=token_budget)
    for sample, result in zip(asking, results, strict=True):
        if result.reason:
            raise TwinError(
                f"find the context of {len(asking)} samples of {author}",
                found=result.reason,
                next_step="materialize embeddings first",
            )
        answer = shingles(sample.answer, width=5)
        contexts[sample.sample_id] = tuple(
            passage.chunk_id for passage in result.passages if not _repeats(passage, answer)
        )
    return contexts


def _repeats(passage: Passage, answer: Collection[int]) -> bool:
    shared = len(shingles(passage.text, width=5).intersection(answer))
    return shared >= REPEATS_ANSWER * len(answer)


def apart(
    contexts: Mapping[str, Sequence[str]],
    *,
    held_out: Collection[str],
    tokens: Mapping[str, int],
) -> dict[str, tuple[str, ...]]:
    """Contexts in which no training prompt shows mostly the same passages as a held-out one.

    The largest passage that both show is taken out of the training prompt, as often as needed.

    Args:
        contexts: chunk ids by sample id.
        held_out: sample ids; every other sample gives way to these.
        tokens: by chunk id.
    """
    shown_by: dict[str, list[frozenset[str]]] = defaultdict(list)
    for sample_id in sorted(held_out):
        held = frozenset(contexts[sample_id])
        for chunk in held:
            shown_by[chunk].append(held)

    def size(chunks: Collection[str]) -> int:
        return sum(tokens[chunk] for chunk in chunks)

    def clash(mine: frozenset[str]) -> frozenset[str] | None:
        rivals = {held for chunk in mine for held in shown_by.get(chunk, ())}
        near = [held for held in rivals if size(mine & held) >= SAME_CONTEXT * size(mine | held)]
        return min(near, key=sorted, default=None)

    result: dict[str, tuple[str, ...]] = {}
    for sample_id, chunks in contexts.items():
        mine = tuple(chunks)
        if sample_id not in held_out:
            while (held := clash(frozenset(mine))) is not None:
                shared = sorted(held.intersection(mine), key=lambda one: (-tokens[one], one))
                mine = tuple(chunk for chunk in mine if chunk != shared[0])
        result[sample_id] = mine
    return result
