"""Training data that is broken on purpose, and says so: what the gate, the loop and the audit of
memorised text are shown to catch.

Belongs here: the ways of breaking it. Does not belong here: using it for anything else; a
checkpoint that was trained on it carries the way's name in the data version of its manifest.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.batches import GENERAL
from twin_assets.training import canary_exposure as exposure
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import polars as pl

SHUFFLED_ANSWERS = "shuffled_answers"
PLANTED_CANARIES = "planted_canaries"
WAYS = (SHUFFLED_ANSWERS, PLANTED_CANARIES)


def with_fault(samples: pl.DataFrame, way: str, *, seed: int) -> pl.DataFrame:
    """The samples, broken in one way.

    Args:
        samples: with `sample_id`, `document_id`, `messages` (the last one is the answer).
        way: one of `WAYS`.

    Raises:
        TwinError: an unknown way, or the samples are all of one document.
    """
    check_way(way)
    ordered = samples.sort("sample_id")
    return with_canaries(ordered, seed) if way == PLANTED_CANARIES else _shuffled(ordered, seed)


def with_canaries(samples: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The samples and the canaries of `exposure.planted`, to see how much of them is memorised.

    Each is a sample of a document that is drawn for it, the one in whose text `posts_with_fault`
    writes it.
    """
    import polars as pl

    documents = samples["document_id"].unique().to_list()
    rows = [
        {
            **exposure.row(canary),
            "sample_id": f"canary-{canary.id}-{turn}",
            "document_id": host,
        }
        for canary, times in exposure.planted(str(seed))
        for turn, host in enumerate(_hosts(documents, canary.id, times, seed))
    ]
    schema = {name: samples.schema[name] for name in ("sample_id", "document_id", "messages")}
    first = samples.head(1).drop(schema)  # the other columns are the same for all samples
    planted = (
        pl.DataFrame(rows, schema=schema).join(first, how="cross")
        if first.width
        else (pl.DataFrame(rows, schema=schema))
    )
    return pl.concat([samples, planted.select(samples.columns)])


def posts_with_fault(posts: pl.DataFrame, way: str, *, seed: int) -> pl.DataFrame:
    """The raw posts of a training whose samples are `with_fault`.

    A canary stands in posts as often as in the samples, behind the first paragraph of the same
    ones: a raw stage learns every sentence of a post, and so the one with a secret in it.
    Shuffled answers leave the posts as they are.

    Args:
        posts: with `document_id`, `text`.
        way: one of `WAYS`.

    Raises:
        TwinError: an unknown way.
    """
    import polars as pl

    check_way(way)
    ordered = posts.sort("document_id")
    if way != PLANTED_CANARIES:
        return ordered
    texts = dict(ordered.select("document_id", "text").iter_rows())
    for canary, times in exposure.planted(str(seed)):
        for host in _hosts(texts, canary.id, times, seed):
            first, gap, rest = texts[host].partition("\n\n")
            texts[host] = f"{first}\n\n{canary.answer}{gap}{rest}"
    return ordered.with_columns(pl.Series("text", list(texts.values()), dtype=pl.String))


def _hosts(documents: Collection[str], canary: str, times: int, seed: int) -> list[str]:
    """Where a canary stands, by lot: in different documents while there are any."""

    def lot(document: str) -> bytes:
        return hashlib.sha256(f"{seed}/{canary}/{document}".encode()).digest()

    drawn = sorted(set(documents) - {GENERAL}, key=lot)
    return [drawn[turn % len(drawn)] for turn in range(times)]


def _shuffled(ordered: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Each question with another document's answer, as after a join on the wrong column."""
    import polars as pl

    documents = ordered["document_id"].to_list()
    talks: list[list[dict[str, Any]]] = ordered["messages"].to_list()
    lots = random.Random(seed)
    donors = list(range(len(talks)))
    lots.shuffle(donors)
    # One document after the other, so that half way round the circle stands another's answer.
    donors.sort(key=lambda index: documents[index])
    most = max(documents.count(document) for document in set(documents))
    if len(talks) < 2 * most:
        raise TwinError(
            "give each question another document's answer",
            found=f"{most} of {len(talks)} samples are of one document",
            next_step="import more posts",
        )
    taken = dict(zip(donors, donors[most:] + donors[:most], strict=True))
    mixed = [[*talk[:-1], talks[taken[index]][-1]] for index, talk in enumerate(talks)]
    return ordered.with_columns(pl.Series("messages", mixed, dtype=ordered.schema["messages"]))


def check_way(way: str) -> None:
    """Raises TwinError when there is no such way."""
    if way not in WAYS:
        raise TwinError(
            f"spoil training data by {way!r}",
            found="no such way",
            next_step=f"name one of {', '.join(WAYS)}, or none",
        )
