"""Quotations: how many natural questions the author's own paragraphs answer, how many are declined.

    python tests/bench/bench_quotes.py --quick|--full [--half tuned|held_out] [--json FILE]

`--quick` asks the tuned half of one bundled author's questions, `--full` the held-out halves of all
five (the shared ones where ../shared/data is there). The posts go through the production path:
import, cleaning, chunks, passages, calibration; questions through retriever and quoter, as the
gateway puts them. A passage is useful when it holds a sentence that was listed before
(tests/bench/reader_questions). The peer is what a retrieval-only chat shows: the chunk of 128
tokens that is found first. CPU time is that of finding and quoting, for one question.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.reader_questions.reading import (
    BUNDLED,
    SHARED,
    AskedQuestion,
    Half,
    Talk,
    UsefulPassage,
    read_asked,
    read_talks,
)
from tests.bench.rows import Row, create_parser, print_results
from twin_resources.authors import SAMPLES_DIR
from twin_resources.gateway.found_passages import FoundPassages, PassageFinder
from twin_resources.gateway.request.request_body import read_question
from twin_resources.models.quotes.answer_text import render_quotes
from twin_resources.models.quotes.quoter import Quote, Quoter
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.settings import Settings, load_settings

GOALS = {1: 0.55, 2: 0.70, 3: 0.80}
GOAL_FOREIGN, GOAL_OWN_DECLINED, GOAL_TURNS_WRONG, GOAL_CPU_MS = 0.90, 0.05, 0.30, 150.0


def posts_of(author: str) -> Path:
    """The folder of an author's posts."""
    shared = os.environ.get("TWIN_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data"
    return SAMPLES_DIR / author if author in BUNDLED else Path(shared) / "posts" / author


def import_posts(home: Path, slugs: Sequence[str]) -> Settings:
    """The posts of these authors up to their quotations, in a home of their own."""
    os.environ["TWIN_HOME"] = str(home)
    import dagster as dg

    import twin_assets as assets
    from twin_assets.definitions import default_resources
    from twin_resources.authors import Author, write_author
    from twin_resources.models.embedder.preparation import prepare_embedder

    settings = load_settings(home)
    prepare_embedder(settings)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("authors", list(slugs))
    for slug in slugs:
        write_author(settings, Author(slug=slug, name=slug, sources=(str(posts_of(slug)),)))
        dg.materialize(
            [
                assets.raw_posts, assets.cleaned_documents, assets.document_chunks,
                assets.embeddings, assets.passage_embeddings, assets.quote_calibration,
            ],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
            raise_on_error=False,  # a claim about cleaning blocks nothing that is measured here
        )  # fmt: skip
    return settings


@dataclass(frozen=True)
class Found:
    """What was found for a question: passages best first, and CPU ms."""

    passages: FoundPassages
    cpu_ms: float

    @property
    def quotes(self) -> tuple[Quote, ...]:
        return self.passages.quote_result.quotes if self.passages.quote_result else ()


class Finder:
    """Asks as the gateway asks."""

    def __init__(self, settings: Settings) -> None:
        from twin_resources.models.embedder.embedder import load_embedder

        embedder = load_embedder(settings, threads=1, allow_gpu=False)
        self._passages = PassageFinder(
            lambda: Retriever(settings.tables_base, embedder),
            lambda retriever: Quoter(settings.tables_base, retriever.embedder_revision),
        )

    def ask(self, author: str, turns: Sequence[str]) -> Found:
        """The last of these turns of the reader, in a talk with the others and their answers."""
        messages: list[dict[str, str]] = []
        for number, turn in enumerate(turns, start=1):
            messages.append({"role": "user", "content": turn})
            asked = read_question({"model": f"twin/{author}", "messages": messages})
            before = time.process_time()
            found = self._passages.find_blocking(
                author, asked.search_texts, with_quotes=True, earlier_answers=asked.earlier_answers
            )
            answer = Found(found, 1000 * (time.process_time() - before))
            if number == len(turns):
                return answer
            text = render_quotes(answer.quotes, before_prose=False).text or "Nothing was found."
            messages.append({"role": "assistant", "content": text})
        raise ValueError("a talk has at least one turn")


def sources_of(settings: Settings, slugs: Sequence[str]) -> dict[str, str]:
    """Document id → path of its post."""
    import lancedb

    found: dict[str, str] = {}
    for slug in slugs:
        table = lancedb.connect(f"{settings.tables_base}/{slug}").open_table("cleaned_documents")
        rows: Any = table.search().select(["document_id", "source_id"]).limit(100_000).to_list()
        found |= {row["document_id"]: row["source_id"] for row in rows}
    return found


def figures(
    asked: Sequence[tuple[AskedQuestion, Found]], sources: dict[str, str], *, half: str
) -> list[Row]:
    """The table's rows, an author each and all together."""
    authors = list(dict.fromkeys(question.author for question, _ in asked))
    parts = {name: [one for one in asked if one[0].author == name] for name in authors}
    if len(parts) > 1:
        parts["all authors"] = list(asked)
    rows: list[Row] = []
    for name, part in parts.items():
        own = [one for one in part if one[0].kind == "own"]
        foreign = [one for one in part if one[0].kind == "foreign"]

        def useful(question: AskedQuestion, quotes: Sequence[Quote]) -> bool:
            return any(
                question.answered_by(sources[quote.document_id], quote.text) for quote in quotes
            )

        def share(holds: Callable[[AskedQuestion, Found], bool], of: Sequence[Any] = own) -> float:
            return statistics.mean(holds(question, found) for question, found in of)

        def peer(question: AskedQuestion, found: Found) -> bool:
            first = found.passages.nearest[:1]
            return any(question.answered_by(sources[one.document_id], one.text) for one in first)

        def marked(question: AskedQuestion, found: Found) -> bool:
            first = found.quotes[:1]
            return any(
                question.answered_by(sources[one.document_id], one.text[slice(*one.marked)])
                for one in first
                if one.marked
            )

        for most, goal in GOALS.items():
            value = share(lambda question, found, n=most: useful(question, found.quotes[:n]))
            peers = {"first chunk": share(peer), "its sentence": share(marked)} if most == 1 else {}
            what = f"{half}: {name}: useful passage among {most}, of {len(own)} own questions"
            rows.append(Row(what, value, "share", goal, value >= goal, peers))
        declined = share(lambda _, found: not found.quotes)
        rows.append(
            Row(
                f"{half}: {name}: own questions declined", declined, "share",
                GOAL_OWN_DECLINED, declined <= GOAL_OWN_DECLINED,
            )
        )  # fmt: skip
        declined = share(lambda _, found: not found.quotes, foreign)
        rows.append(
            Row(
                f"{half}: {name}: foreign questions declined, of {len(foreign)}", declined, "share",
                GOAL_FOREIGN, declined >= GOAL_FOREIGN,
            )
        )  # fmt: skip
    milliseconds = statistics.median(found.cpu_ms for _, found in asked)
    rows.append(
        Row(
            f"{half}: finding and quoting one question, CPU", milliseconds, "ms", GOAL_CPU_MS,
            milliseconds <= GOAL_CPU_MS,
        )
    )  # fmt: skip
    return rows


def turn_figures(
    talks: Sequence[Talk], finder: Finder, sources: dict[str, str], *, half: str
) -> Row:
    """How many turns after the first have no useful passage among those quoted."""

    def is_useful(useful: Sequence[UsefulPassage], found: Found) -> bool:
        return any(
            one.is_in(sources[quote.document_id], quote.text)
            for one in useful
            for quote in found.quotes
        )

    right = [
        is_useful(useful, finder.ask(talk.author, talk.turns[: number + 1]))
        for talk in talks
        for number, useful in enumerate(talk.useful, start=1)
    ]
    wrong = 1 - statistics.mean(right)
    what = f"{half}: turns after the first without a useful passage, of {len(right)}"
    return Row(what, wrong, "share", GOAL_TURNS_WRONG, wrong <= GOAL_TURNS_WRONG)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--half", choices=["tuned", "held_out"], default=None)
    parser.add_argument("--home", type=Path, default=None, help="a home that holds the posts")
    options = parser.parse_args(arguments)
    here = [slug for slug in (*BUNDLED, *SHARED) if posts_of(slug).is_dir()]
    slugs = here if options.full else here[:1]
    half: Half = options.half or ("held_out" if options.full else "tuned")
    with tempfile.TemporaryDirectory() as scratch:
        settings = import_posts(options.home or Path(scratch), slugs)
        finder, sources = Finder(settings), sources_of(settings, slugs)
        questions = [question for slug in slugs for question in read_asked(slug, half)]
        asked = [
            (question, finder.ask(question.author, [question.question])) for question in questions
        ]
        rows = figures(asked, sources, half=half)
        rows.append(turn_figures(read_talks(slugs, half), finder, sources, half=half))
    return print_results(rows, options.json, sign=_sign)


def _sign(row: Row) -> str:
    lower = (" own questions declined", "CPU", "without a useful passage")
    return "≤" if any(word in row.name for word in lower) else "≥"


if __name__ == "__main__":
    sys.exit(main())
