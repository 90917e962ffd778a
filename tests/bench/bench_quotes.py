"""Quotes: how many readers' questions the author's own sentences answer, how many are declined.

    python tests/bench/bench_quotes.py --quick|--full [--half tuned|held_out] [--json FILE]

`--quick` asks the tuned half of one author's questions, `--full` the held-out halves of all three.
The posts go through the production path: import, cleaning, chunks, vectors, windows, calibration;
questions through retriever and quoter, as the gateway puts them. A question counts as answered when
a quoted range overlaps a sentence that was listed before (tests/bench/questions/README.md). The
peer is what a retrieval-only chat shows: the beginning of the best passage, three sentences of it.
CPU time is that of the quoting alone, for one question, without retrieval.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.questions.questions import SAMPLES, ReaderQuestion, authors, read_questions
from tests.bench.rows import Row, tell
from twin_resources.models.quotes.quoter import Quoted, Quoter
from twin_resources.models.quotes.windows import windows_of
from twin_resources.models.retrieval.retrieval import RetrievalResult, Retriever
from twin_resources.settings import Settings, load_settings

GOAL_ANSWERED, GOAL_FOREIGN, GOAL_OWN_DECLINED, GOAL_CPU_MS = 0.6, 0.8, 0.05, 30.0


def import_posts(home: Path, slugs: Sequence[str]) -> Settings:
    """The bundled posts of these authors up to their quotations, in a home of their own."""
    os.environ["TWIN_HOME"] = str(home)
    import dagster as dg

    import twin_assets as assets
    from twin_assets.definitions import default_resources
    from twin_resources.authors import Author, write_author
    from twin_resources.models.embedder.preparation import prepare

    settings = load_settings(home)
    prepare(settings)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("authors", list(slugs))
    for slug in slugs:
        write_author(settings, Author(slug=slug, name=slug, sources=(str(SAMPLES / slug),)))
        dg.materialize(
            [
                assets.raw_posts, assets.cleaned_documents, assets.document_chunks,
                assets.embeddings, assets.sentence_embeddings, assets.quote_calibration,
            ],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
        )  # fmt: skip
    return settings


def plain(text: str) -> str:
    """Text to compare by: without markup and quotation marks, white space and case folded."""
    kept = "".join(character for character in text if character not in "*_`“”\"’'‘[]")
    return " ".join(kept.split()).casefold()


def answers(question: ReaderQuestion, file: str, quoted: str) -> bool:
    """Whether a quoted range of this post overlaps a listed sentence."""
    sentences = [plain(sentence) for post, sentence in question.answers if post == file]
    said = plain(quoted)
    return any(sentence in said or said in sentence for sentence in sentences)


class Asked:
    """One question put to retriever and quoter."""

    def __init__(
        self, question: ReaderQuestion, found: RetrievalResult, quoted: Quoted, cpu_ms: float
    ) -> None:
        self.question = question
        self.quoted = quoted
        self.cpu_ms = cpu_ms
        self.first = found.passages[0] if found.passages else None


def ask(settings: Settings, questions: Sequence[ReaderQuestion]) -> list[Asked]:
    """Every question, as the gateway asks."""
    from twin_resources.models.embedder.embedder import load_embedder

    embedder = load_embedder(settings)
    retriever = Retriever(settings.tables_base, embedder)
    quoter = Quoter(settings.tables_base, embedder.revision)
    asked: list[Asked] = []
    for question in questions:
        found = retriever.retrieve(question.author, question.question)
        documents = [passage.document_id for passage in found.nearest]
        before = time.process_time()
        quoted = quoter.quote(question.author, found.vector, documents)
        asked.append(Asked(question, found, quoted, 1000 * (time.process_time() - before)))
    return asked


def files_of(settings: Settings, slugs: Sequence[str]) -> dict[str, str]:
    """Document id → file name of its post."""
    import lancedb

    found: dict[str, str] = {}
    for slug in slugs:
        table = lancedb.connect(f"{settings.tables_base}/{slug}").open_table("cleaned_documents")
        rows: Any = table.search().select(["document_id", "source_id"]).to_list()
        found |= {row["document_id"]: Path(row["source_id"]).name for row in rows}
    return found


def figures(asked: Sequence[Asked], files: dict[str, str], *, half: str) -> list[Row]:
    """The table's rows, an author each and all together."""
    groups: dict[str, list[Asked]] = defaultdict(list)
    for one in asked:
        groups[one.question.author].append(one)
    if len(groups) > 1:
        groups["all authors"] = list(asked)
    rows: list[Row] = []
    for name, part in groups.items():
        own = [one for one in part if one.question.kind == "own"]

        def hit(one: Asked, most: int) -> bool:
            return any(
                answers(one.question, files[quote.document_id], quote.text)
                for quote in one.quoted.quotes[:most]
            )

        def peer(one: Asked) -> bool:
            if one.first is None:
                return False
            windows = windows_of(one.first.text)
            text = one.first.text[windows[0].start : windows[0].end] if windows else ""
            return answers(one.question, files[one.first.document_id], text)

        answered = statistics.mean(hit(one, 2) for one in own)
        rows += [
            Row(
                f"{half}: {name}: answered by a quotation, of {len(own)} own questions",
                answered, "share", GOAL_ANSWERED, answered >= GOAL_ANSWERED,
                {
                    "first quotation alone": statistics.mean(hit(one, 1) for one in own),
                    "beginning of the best passage": statistics.mean(map(peer, own)),
                },
            ),
        ]  # fmt: skip
        for kind, goal in (("own", GOAL_OWN_DECLINED), ("near", None), ("foreign", GOAL_FOREIGN)):
            of_kind = [one for one in part if one.question.kind == kind]
            share = statistics.mean(not one.quoted.quotes for one in of_kind)
            holds = goal is None or (share <= goal if kind == "own" else share >= goal)
            what = f"{half}: {name}: declined, of {len(of_kind)} {kind} questions"
            rows.append(Row(what, share, "share", goal, holds))
    milliseconds = statistics.median(one.cpu_ms for one in asked)
    rows.append(
        Row(
            f"{half}: quoting one question, CPU", milliseconds, "ms", GOAL_CPU_MS,
            milliseconds <= GOAL_CPU_MS,
        )
    )  # fmt: skip
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true")
    form.add_argument("--full", action="store_true")
    parser.add_argument("--half", choices=["tuned", "held_out"], default=None)
    parser.add_argument("--home", type=Path, default=None, help="a home that holds the posts")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    slugs = authors() if options.full else authors()[:1]
    half = options.half or ("held_out" if options.full else "tuned")
    with tempfile.TemporaryDirectory() as scratch:
        settings = import_posts(options.home or Path(scratch), slugs)
        questions = [
            question for slug in slugs for question in read_questions(slug) if question.half == half
        ]
        rows = figures(ask(settings, questions), files_of(settings, slugs), half=half)
    return tell(rows, options.json, sign=_sign)


def _sign(row: Row) -> str:
    declined_own = " own questions" in row.name and "declined" in row.name
    return "≤" if row.unit == "ms" or declined_own else "≥"


if __name__ == "__main__":
    sys.exit(main())
