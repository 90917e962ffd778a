"""Planted copies: recall and precision of the bands, and of a choice of bands that finds too few.

Belongs here: copies of the shared posts by edits of words, paragraphs and ends, as cross-posting
leaves them. Does not belong here: finding them (`twin_assets/corpus/near_duplicates`).
"""

from __future__ import annotations

import random

import polars as pl

from tests.bench.cleaning.quality import shared_posts
from tests.bench.cleaning.rows import Form, Row, at_least
from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_posts
from twin_assets.corpus.importing import inventory_frame, read_rows
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.near_duplicates import (
    BANDS,
    ROWS,
    SIMILAR,
    chance_of_a_shared_band,
    shingles_of,
    similar_bodies,
)
from twin_assets.corpus.shingles import jaccard


def planted(form: Form) -> list[Row]:
    """Pairs of a post and its edited copy, among all posts of both shared authors."""
    texts = _texts(400 if form.quick else None)
    drawn = random.Random(3)
    originals = {name: text for name, text in texts.items() if len(text.split()) >= 30}
    copies = {
        f"{name} copy": _edited(text, texts, drawn) for name, text in sorted(originals.items())
    }
    everything = texts | copies
    sets = {name: shingles_of(text) for name, text in everything.items()}
    true = {
        (name, f"{name} copy")
        for name in originals
        if jaccard(sets[name], sets[f"{name} copy"]) >= SIMILAR
    }
    edge = {pair for pair in true if jaccard(sets[pair[0]], sets[pair[1]]) < SIMILAR + 0.1}
    similar = similar_bodies(
        pl.DataFrame(
            {
                "document_id": list(everything),
                "body_hash": list(everything),
                "repeated": [[] for _ in everything],
                "text": list(everything.values()),
            },
            schema_overrides={"repeated": pl.List(pl.Int64)},
        )
    )
    found = {
        (name, other["other_id"])
        for name, others in similar.select("document_id", "similar").iter_rows()
        for other in others
        if name < other["other_id"]
    }
    right = {pair for pair in found if jaccard(sets[pair[0]], sets[pair[1]]) >= SIMILAR}
    shape = f"{len(true)} planted copies from .65 on among {len(everything)} documents"
    return [
        at_least(
            f"{shape}: recall",
            len(found & true) / len(true),
            "",
            goal=0.95,
            # what 14 bands of 8 rows would find of these very pairs, by the formula
            peers={"14 x 8": _expected(true, sets, bands=14, rows=8)},
        ),
        at_least(
            f"the {len(edge)} of them under .75: recall",
            len(found & edge) / max(1, len(edge)),
            "",
            goal=0.95,
            peers={
                f"{BANDS} x {ROWS} by the formula": _expected(edge, sets, bands=BANDS, rows=ROWS),
                "14 x 8": _expected(edge, sets, bands=14, rows=8),
            },
        ),
        at_least("precision of what was found", len(right) / len(found), "", goal=0.99),
    ]


def _expected(
    pairs: set[tuple[str, str]], sets: dict[str, frozenset[int]], *, bands: int, rows: int
) -> float:
    chances = [
        chance_of_a_shared_band(jaccard(sets[left], sets[right]), bands=bands, rows=rows)
        for left, right in pairs
    ]
    return sum(chances) / max(1, len(chances))


def _texts(most: int | None) -> dict[str, str]:
    texts: dict[str, str] = {}
    for author in ("skeeto", "jbranchaud-til"):
        inventory = take_inventory([shared_posts() / author])
        raw = read_rows(inventory_frame(inventory), inventory).select(RAW_COLUMNS)
        kept = clean_posts(raw.head(most // 2) if most else raw).filter("kept")
        texts |= dict(kept.select(pl.lit(f"{author}/") + pl.col("source_id"), "text").iter_rows())
    return texts


def _edited(text: str, texts: dict[str, str], drawn: random.Random) -> str:
    """A copy: words changed and dropped, a paragraph of another post before or after it."""
    share = drawn.uniform(0.0, 0.12)
    words = [
        "otherwise" if lot < share / 2 else word
        for word in text.split(" ")
        if (lot := drawn.random()) <= 1 - share / 2
    ]
    other = drawn.choice(sorted(texts)[:50])
    ending = texts[other].split("\n\n")[0] if drawn.random() < 0.5 else ""
    return " ".join(words) + "\n\n" + ending
