"""What a real folder becomes: rows of `bench_corpus.py --folder`, the same for every folder.

Scope: reading a folder as an import does, in memory, and measuring the result against the
source. Out of scope: the claims themselves (`document_claims`), costs of a change
(`bench_corpus.py`).

Mathematics and vault links are looked for by patterns of this file, not by cleaning's: a formula is
damaged when its characters, spaces apart, are not in the cleaned text; a link when its brackets are
still there. Nothing of a post is printed.
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
from typing import Any

import polars as pl

from tests.bench.rows import Row
from twin_assets.corpus import cleaning, document_claims, source_quotations
from twin_assets.corpus.code_blocks import remove_code
from twin_assets.corpus.contracts import FAILED_RULES
from twin_assets.corpus.importers.site_layout import is_text_reason
from twin_assets.corpus.importing import build_inventory_frame, read_rows
from twin_assets.corpus.inventory import Inventory, take_inventory
from twin_assets.instructions.answer_passages import find_passages

MAX_ASIDE = 0.2  # of the documents: beyond it an import stops (`TWIN_MOST_QUARANTINED`)
# No blank line stands in a formula; escaped brackets are one only around a command or an equation.
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
    """A folder as an import has it: `raw_posts`, documents, those put aside, CPU seconds."""

    inventory: Inventory
    raw: pl.DataFrame
    documents: pl.DataFrame
    aside: pl.DataFrame
    read_s: float
    clean_s: float

    @property
    def accepted(self) -> pl.DataFrame:
        return self.documents.filter("kept")


def commit_of(folder: Path) -> str:
    """Ten digits of the commit of a clone; empty elsewhere."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return completed.stdout.strip() if completed.returncode == 0 else ""


def import_folder(folder: Path, names: Sequence[str]) -> ImportedFolder:
    """Read and clean in memory.

    Raises:
        TwinError: it holds no post, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        began = time.process_time()
        inventory = take_inventory([folder], scratch=Path(scratch))
        raw = read_rows(build_inventory_frame(inventory), inventory)
        was_read = time.process_time()
        documents, aside = cleaning.clean_and_quarantine(
            raw.select(cleaning.RAW_COLUMNS), names=names
        )
        return ImportedFolder(
            inventory, raw, documents, aside, was_read - began, time.process_time() - was_read
        )


def folder_rows(folder: Path, names: Sequence[str] = ()) -> list[Row]:
    """The rows of one folder.

    Args:
        names: the author's; with none nobody's signature is foreign, and that row is left out.
    """
    imported = import_folder(folder, names)
    raw, accepted = imported.raw, imported.accepted
    posts = raw.filter(pl.col("problem") == "")
    unread = sum(n for why, n in imported.inventory.skipped.items() if is_text_reason(why))
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
    """What was put aside, what still breaks a claim, and signatures."""
    kept_or_aside = imported.accepted.height + imported.aside.height
    aside = imported.aside.height / max(1, kept_or_aside)
    by_rule = Counter(imported.aside[FAILED_RULES].explode().drop_nulls().to_list())
    yield _at_most("put aside for a broken claim", aside, MAX_ASIDE, "share", by_rule)
    measured = document_claims.measure(imported.documents, imported.raw)
    claims = document_claims.check_claims(measured, names)
    broken = {
        name: len(claim.violating_ids) for name, claim in claims.items() if claim.violating_ids
    }
    yield _at_most("documents that break a claim", sum(broken.values()), 0, "docs", broken)
    if names:
        foreign = claims["no_foreign_byline"].counts["kept"]
        yield _at_most("kept, signed by somebody else", foreign, 0, "docs")
    redacted = sum(len(_REDACTED.findall(text)) for text in imported.accepted["text"])
    yield Row("phones, ids, cards and secrets replaced", redacted, "pieces")


def _quotation_rows(imported: ImportedFolder) -> Iterator[Row]:
    posts = {row["source_id"]: row for row in imported.raw.iter_rows(named=True)}
    quoted = unmarked = answers = holding = 0
    for row in imported.accepted.iter_rows(named=True):
        quotations = source_quotations.find_quotations(posts[row["source_id"]])
        if not quotations:
            continue
        quoted += len(quotations)
        unmarked += source_quotations.count_unmarked_quotations(quotations, row["text"])
        for passage in find_passages(row["text"]):
            answers += 1
            answer = row["text"][passage.start : passage.end]
            holding += source_quotations.count_contained_quotations(quotations, answer) > 0
    of = {"quoted paragraphs": float(quoted)}
    yield _at_most("quoted paragraphs that became prose", unmarked, 0, "paras", of)
    of = {"answers of posts that quote": float(answers)}
    yield _at_most("answers that hold quoted text", holding, 0, "answers", of)


def _form_rows(imported: ImportedFolder) -> Iterator[Row]:
    """Mathematics and vault links, against the source."""
    posts = {row["source_id"]: row for row in imported.raw.iter_rows(named=True)}
    with_formulas = damaged = with_links = with_brackets = formulas = lost = 0
    for row in imported.accepted.iter_rows(named=True):
        source, text = str(posts[row["source_id"]]["text"]), str(row["text"])
        if missing := _missing_formulas(source, text):
            of, gone = missing
            with_formulas, formulas, lost = with_formulas + 1, formulas + of, lost + gone
            damaged += gone > 0
        if _VAULT_LINK.search(remove_code(source)):
            with_links += 1
            with_brackets += bool(_VAULT_LINK.search(remove_code(text)))
    of = {"with mathematics": float(with_formulas), "formulas": formulas, "lost": lost}
    yield _at_most("documents with mathematics damaged", damaged, 0, "docs", of)
    of = {"with vault links": float(with_links)}
    yield _at_most("documents with vault links left raw", with_brackets, 0, "docs", of)


def _missing_formulas(source: str, text: str) -> tuple[int, int] | None:
    """Formulas of a source, and how many of them its document has not; None: no formula."""
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


def _at_most(
    name: str, value: float, goal: float, unit: str, peers: Mapping[str, Any] | None = None
) -> Row:
    return Row(
        name, value, unit, goal, value <= goal, {k: float(v) for k, v in (peers or {}).items()}
    )
