"""Results of importing a real folder: the rows of `bench_corpus.py --folder`.

Scope: reading a folder as an import does, in memory, and comparing the result with the source. Out
of scope: the claims themselves (`document_claims`), costs of a change (`bench_corpus.py`).

Mathematics and vault links are found by patterns of this file, not by those of cleaning. A formula
is damaged when its characters, without spaces, are not in the cleaned text; a link when its
brackets remain. No text of a post is printed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.bench.rows import Row, bounded_row
from twin_assets.corpus import cleaning, document_claims, source_quotations
from twin_assets.corpus.code_blocks import remove_code
from twin_assets.corpus.contracts import FAILED_RULES
from twin_assets.corpus.importers.site_layout import is_text_reason
from twin_assets.corpus.importing import build_inventory_frame, read_rows
from twin_assets.corpus.inventory import Inventory, take_inventory
from twin_assets.instructions.answer_passages import find_passages

MAX_QUARANTINED = 0.2  # share of documents above which an import stops (`TWIN_MOST_QUARANTINED`)
# A formula has no blank line. Escaped brackets count only around a command or an equation.
_FORMULA = re.compile(
    r"\$\$(?P<a>(?:[^$\n]|\n(?!\s*\n)){3,2000})\$\$"
    r"|\\\[(?P<b>(?=[^\]]*(?:\\[a-z]|[=^_]))[^\[]{3,2000}?)\\\]"
    r"|\\\((?P<c>(?=[^)]*(?:\\[a-z]|[=^_]))[^\n]{3,400}?)\\\)"
    r"|(?<![\\$\w])\$(?P<d>(?! )[^$\n]{0,200}\\[a-z]+[^$\n]{0,200})\$(?![\d$])"
)
_VAULT_LINK = re.compile(r"!?\[\[[^\[\]\s][^\[\]\n]{0,200}\]\]")
_SPACE = re.compile(r"\s+")
_REDACTED = re.compile(r"\[(phone|ssn|national id|id number|secret|card|iban)\]")


@dataclass(frozen=True)
class ImportedFolder:
    """An imported folder: `raw_posts`, documents, quarantined documents, CPU seconds."""

    inventory: Inventory
    raw: pl.DataFrame
    documents: pl.DataFrame
    quarantined: pl.DataFrame
    read_s: float
    clean_s: float

    @property
    def accepted(self) -> pl.DataFrame:
        return self.documents.filter("kept")


def commit_of(folder: Path) -> str:
    """Return ten digits of the commit of a clone, or "" for another folder."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return completed.stdout.strip() if completed.returncode == 0 else ""


def import_folder(folder: Path, names: Sequence[str]) -> ImportedFolder:
    """Read and clean a folder in memory.

    Raises:
        TwinError: the folder contains no post, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        began = time.process_time()
        inventory = take_inventory([folder], scratch=Path(scratch))
        raw = read_rows(build_inventory_frame(inventory), inventory)
        read_end = time.process_time()
        documents, quarantined = cleaning.clean_and_quarantine(
            raw.select(cleaning.RAW_COLUMNS), names=names
        )
        return ImportedFolder(
            inventory,
            raw,
            documents,
            quarantined,
            read_end - began,
            time.process_time() - read_end,
        )


def folder_rows(folder: Path, names: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a folder.

    Args:
        names: of the author; without them the row of foreign signatures is left out.
    """
    imported = import_folder(folder, names)
    raw, accepted = imported.raw, imported.accepted
    posts = raw.filter(pl.col("problem") == "")
    unread = sum(n for reason, n in imported.inventory.skipped.items() if is_text_reason(reason))
    per_post = 1_000 / max(1, posts.height)
    return [
        Row("posts read", posts.height, "posts", peers=_counted(accepted["language"])),
        Row("files that hold text and were not read", unread, "files"),
        Row("held back or not read", raw.height - posts.height, "posts", peers=_problems(raw)),
        Row("dated, of those accepted", _share_of(accepted["published_at"].is_not_null()), "share"),
        *_claim_rows(imported, names),
        *_quotation_rows(imported),
        *_form_rows(imported),
        Row("CPU to read a post", imported.read_s * per_post, "ms"),
        Row("CPU to clean and measure a post", imported.clean_s * per_post, "ms"),
    ]


def _claim_rows(imported: ImportedFolder, names: Sequence[str]) -> Iterator[Row]:
    """Yield rows of quarantined documents, broken claims, and signatures."""
    total = imported.accepted.height + imported.quarantined.height
    share = imported.quarantined.height / max(1, total)
    by_rule = Counter(imported.quarantined[FAILED_RULES].explode().drop_nulls().to_list())
    yield bounded_row(
        "put aside for a broken claim", share, "share", at_most=MAX_QUARANTINED, peers=by_rule
    )
    measured = document_claims.measure(imported.documents, imported.raw)
    claims = document_claims.check_claims(measured, names)
    broken = {
        name: len(claim.violating_ids) for name, claim in claims.items() if claim.violating_ids
    }
    yield _at_most_zero("documents that break a claim", sum(broken.values()), "docs", broken)
    if names:
        foreign = claims["no_foreign_byline"].counts["kept"]
        yield _at_most_zero("kept, signed by somebody else", foreign, "docs", {})
    redacted = sum(len(_REDACTED.findall(text)) for text in imported.accepted["text"])
    yield Row("phones, ids, cards and secrets replaced", redacted, "pieces")


def _quotation_rows(imported: ImportedFolder) -> Iterator[Row]:
    posts = {row["source_id"]: row for row in imported.raw.iter_rows(named=True)}
    quoted = unmarked = answers = with_quotation = 0
    for row in imported.accepted.iter_rows(named=True):
        quotations = source_quotations.find_quotations(posts[row["source_id"]])
        if not quotations:
            continue
        quoted += len(quotations)
        unmarked += source_quotations.count_unmarked_quotations(quotations, row["text"])
        for passage in find_passages(row["text"]):
            answers += 1
            answer = row["text"][passage.start : passage.end]
            with_quotation += source_quotations.count_contained_quotations(quotations, answer) > 0
    peers = {"quoted paragraphs": quoted}
    yield _at_most_zero("quoted paragraphs that became prose", unmarked, "paras", peers)
    peers = {"answers of posts that quote": answers}
    yield _at_most_zero("answers that hold quoted text", with_quotation, "answers", peers)


def _form_rows(imported: ImportedFolder) -> Iterator[Row]:
    """Yield rows of mathematics and vault links, compared with the source."""
    posts = {row["source_id"]: row for row in imported.raw.iter_rows(named=True)}
    with_formulas = damaged = with_links = with_brackets = formulas = lost = 0
    for row in imported.accepted.iter_rows(named=True):
        source, text = str(posts[row["source_id"]]["text"]), str(row["text"])
        if missing := _missing_formulas(source, text):
            total, missing_count = missing
            with_formulas, formulas = with_formulas + 1, formulas + total
            lost += missing_count
            damaged += missing_count > 0
        if _VAULT_LINK.search(remove_code(source)):
            with_links += 1
            with_brackets += bool(_VAULT_LINK.search(remove_code(text)))
    peers = {"with mathematics": with_formulas, "formulas": formulas, "lost": lost}
    yield _at_most_zero("documents with mathematics damaged", damaged, "docs", peers)
    peers = {"with vault links": with_links}
    yield _at_most_zero("documents with vault links left raw", with_brackets, "docs", peers)


def _missing_formulas(source: str, text: str) -> tuple[int, int] | None:
    """Return the numbers of formulas and of those missing from the document; None if no formula."""
    formulas = [
        _SPACE.sub("", next(part for part in match.groups() if part))
        for match in _FORMULA.finditer(remove_code(source))
    ]
    if not formulas:
        return None
    whole = _SPACE.sub("", text)
    return len(formulas), sum(formula not in whole for formula in formulas)


def _problems(raw: pl.DataFrame) -> dict[str, float]:
    return _counted(raw.filter(pl.col("problem") != "")["problem"])


def _counted(values: pl.Series) -> dict[str, float]:
    return {str(name): float(n) for name, n in Counter(values.to_list()).most_common(6)}


def _share_of(holds: pl.Series) -> float:
    return int(holds.sum()) / max(1, holds.len())


def _at_most_zero(name: str, value: float, unit: str, peers: Mapping[str, float]) -> Row:
    return bounded_row(name, value, unit, at_most=0, peers=peers)
