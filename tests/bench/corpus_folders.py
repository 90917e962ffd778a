"""Import a real folder and measure the results: the rows of `bench_corpus.py --folder`.

Scope: reading a folder as an import does, in memory, and comparing the result with the source. Out
of scope: the claims themselves (`document_claims`), the cost of a change (`bench_corpus.py`).

No text of a post is printed.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.bench.rows import Row, bounded_row
from twin_assets.corpus import cleaning, document_claims, source_quotations
from twin_assets.corpus.corpus_tables import QUARANTINED
from twin_assets.corpus.importers.generators import is_text_reason
from twin_assets.corpus.inventory import Inventory, take_inventory
from twin_assets.corpus.raw_posts_import import build_inventory_frame, read_rows
from twin_assets.instructions.answer_passages import find_passages

MAX_QUARANTINED = 0.2  # share of documents above which an import stops (`TWIN_MOST_QUARANTINED`)
_REDACTED = re.compile(r"\[(phone|ssn|national id|id number|secret|card|iban)\]")


@dataclass(frozen=True)
class ImportedFolder:
    """The result of importing a folder.

    Attributes:
        raw: rows of `raw_posts`.
        documents: cleaned documents, including those that are not kept.
    """

    inventory: Inventory
    raw: pl.DataFrame
    documents: pl.DataFrame

    @property
    def quarantined(self) -> pl.DataFrame:
        return self.documents.filter(pl.col("dropped_because").str.starts_with(QUARANTINED))

    @property
    def kept_documents(self) -> pl.DataFrame:
        return self.documents.filter("kept")


def read_commit(folder: Path) -> str:
    """Return the first ten digits of a clone's commit, or "" if the folder is not a clone."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return completed.stdout.strip() if completed.returncode == 0 else ""


def import_folder(folder: Path, names: Sequence[str]) -> ImportedFolder:
    """Read and clean a folder in memory.

    Raises:
        TwinError: the folder contains no post, or cannot be read.
    """
    inventory = take_inventory([folder])
    raw = read_rows(build_inventory_frame(inventory), inventory)
    documents = cleaning.clean_all_posts(raw.select(cleaning.RAW_COLUMNS), names=names)
    return ImportedFolder(inventory, raw, documents)


def folder_rows(folder: Path, names: Sequence[str] = ()) -> list[Row]:
    """Return the rows for a folder.

    Args:
        names: the author's names; without them the row for other people's signatures is left out.
    """
    imported = import_folder(folder, names)
    raw, kept = imported.raw, imported.kept_documents
    posts = raw.filter(pl.col("problem") == "")
    skips = imported.inventory.skipped_counts
    unread_count = sum(count for reason, count in skips.items() if is_text_reason(reason))
    return [
        Row("posts read", posts.height, "posts", peers=_count_values(kept["language"])),
        Row("files that hold text and were not read", unread_count, "files"),
        Row("held back or not read", raw.height - posts.height, "posts", peers=_count_reasons(raw)),
        *_claim_rows(imported, names),
        *_quotation_rows(imported),
    ]


def _claim_rows(imported: ImportedFolder, names: Sequence[str]) -> Iterator[Row]:
    """Yield rows for quarantined documents, broken claims, signatures and redactions."""
    total = imported.kept_documents.height + imported.quarantined.height
    share = imported.quarantined.height / max(1, total)
    by_rule = Counter(imported.quarantined["dropped_because"].to_list())
    yield bounded_row(
        "put aside for a broken claim", share, "share", at_most=MAX_QUARANTINED, peers=by_rule
    )
    claims = document_claims.check_claims(imported.documents, names)
    by_claim = {
        name: len(claim.violating_ids) for name, claim in claims.items() if claim.violating_ids
    }
    yield _zero_goal_row("documents that break a claim", sum(by_claim.values()), "docs", by_claim)
    if names:
        foreign = claims["no_foreign_byline"].counts["kept"]
        yield _zero_goal_row("kept, signed by somebody else", foreign, "docs", {})
    redactions = sum(len(_REDACTED.findall(text)) for text in imported.kept_documents["text"])
    yield Row("phones, ids, cards and secrets replaced", redactions, "pieces")


def _quotation_rows(imported: ImportedFolder) -> Iterator[Row]:
    posts = {row["source_id"]: row for row in imported.raw.iter_rows(named=True)}
    quotation_count = unmarked_count = answer_count = quoting_answers = 0
    for row in imported.kept_documents.iter_rows(named=True):
        quotations = source_quotations.find_quotations(posts[row["source_id"]])
        if not quotations:
            continue
        quotation_count += len(quotations)
        unmarked_count += source_quotations.count_unmarked_quotations(quotations, row["text"])
        for passage in find_passages(row["text"]):
            answer_count += 1
            answer = row["text"][passage.start : passage.end]
            quoting_answers += source_quotations.count_contained_quotations(quotations, answer) > 0
    peers = {"quoted paragraphs": quotation_count}
    yield _zero_goal_row("quoted paragraphs that became prose", unmarked_count, "paras", peers)
    peers = {"answers of posts that quote": answer_count}
    yield _zero_goal_row("answers that hold quoted text", quoting_answers, "answers", peers)


def _count_reasons(raw: pl.DataFrame) -> dict[str, float]:
    return _count_values(raw.filter(pl.col("problem") != "")["problem"])


def _count_values(values: pl.Series) -> dict[str, float]:
    """Return the counts of the six most frequent values."""
    return {str(value): float(count) for value, count in Counter(values.to_list()).most_common(6)}


def _zero_goal_row(name: str, value: float, unit: str, peers: Mapping[str, float]) -> Row:
    return bounded_row(name, value, unit, at_most=0, peers=peers)
