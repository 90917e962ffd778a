"""Measure how many natural questions are answered with useful passages or rightly declined.

    python tests/bench/bench_quotes.py --quick|--full [--half tuned|held_out] [--json FILE]

`--quick` asks the tuned half of one bundled author's questions, `--full` the held-out halves of all
five authors (those of the shared authors only if ../shared/data exists). The posts go through the
production path: import, cleaning, chunks, passages, calibration. Questions go through the gateway's
retriever and quoter. A passage is useful when it contains a sentence that was listed in advance
(tests/bench/reader_questions). The peer is a chat with retrieval alone, which shows the nearest
chunk of 128 tokens. CPU time is that of retrieval and quoting for one question.
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

from tests.bench.questions.questions import posts_folder
from tests.bench.reader_questions.question_files import (
    BUNDLED,
    SHARED,
    AskedQuestion,
    Conversation,
    Half,
    UsefulPassage,
    read_asked_questions,
    read_conversations,
)
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.gateway.passage_finder import PassageFinder, RetrievedPassages
from twin_resources.gateway.request.request_body import read_question
from twin_resources.models.quotes.answer_text import render_quotes
from twin_resources.models.quotes.quoter import Quote, Quoter
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.settings import Settings, load_settings

MIN_USEFUL = {1: 0.55, 2: 0.70, 3: 0.80}  # share of questions, by number of quotations
MIN_FOREIGN_DECLINED, MAX_OWN_DECLINED, MAX_WRONG_TURNS, MAX_CPU_MS = 0.90, 0.05, 0.30, 150.0


def import_posts(home: Path, slugs: Sequence[str]) -> Settings:
    """Import these authors' posts into a new home, up to the calibration of quotations."""
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
        write_author(settings, Author(slug=slug, name=slug, sources=(str(posts_folder(slug)),)))
        dg.materialize(
            [
                assets.raw_posts, assets.cleaned_documents, assets.document_chunks,
                assets.embeddings, assets.passage_embeddings, assets.quote_calibration,
            ],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
            raise_on_error=False,  # failed checks of the cleaning do not matter here
        )  # fmt: skip
    return settings


@dataclass(frozen=True)
class Answer:
    """The passages found for a question, best first, and the CPU time of finding them."""

    passages: RetrievedPassages
    cpu_ms: float

    @property
    def quotes(self) -> tuple[Quote, ...]:
        return self.passages.quote_result.quotes if self.passages.quote_result else ()


class QuoteFinder:
    """Finds quotations as the gateway does."""

    def __init__(self, settings: Settings) -> None:
        from twin_resources.models.embedder.embedder import load_embedder

        embedder = load_embedder(settings, threads=1, allow_gpu=False)
        self._passage_finder = PassageFinder(
            lambda: Retriever(settings.tables_base, embedder),
            lambda retriever: Quoter(settings.tables_base, retriever.embedder_revision),
        )

    def ask(self, author: str, turns: Sequence[str]) -> Answer:
        """Return the answer to the last of a reader's turns."""
        messages: list[dict[str, str]] = []
        for number, turn in enumerate(turns, start=1):
            messages.append({"role": "user", "content": turn})
            question = read_question({"model": f"twin/{author}", "messages": messages})
            started = time.process_time()
            passages = self._passage_finder._retrieve(
                author,
                question.search_texts,
                token_budget=CONTEXT_TOKENS,
                with_quotes=True,
                earlier_answers=question.earlier_answers,
            )
            answer = Answer(passages, 1000 * (time.process_time() - started))
            if number == len(turns):
                return answer
            text = render_quotes(answer.quotes, before_prose=False).text or "Nothing was found."
            messages.append({"role": "assistant", "content": text})
        raise ValueError("a conversation has at least one turn")


def read_source_paths(settings: Settings, slugs: Sequence[str]) -> dict[str, str]:
    """Map each document id to the path of its post."""
    import lancedb

    sources: dict[str, str] = {}
    for slug in slugs:
        table = lancedb.connect(f"{settings.tables_base}/{slug}").open_table("cleaned_documents")
        rows: Any = table.search().select(["document_id", "source_id"]).limit(100_000).to_list()
        sources |= {row["document_id"]: row["source_id"] for row in rows}
    return sources


def question_rows(
    answered: Sequence[tuple[AskedQuestion, Answer]], sources: dict[str, str], *, half: str
) -> list[Row]:
    """Return the rows for each author and for all authors together."""
    authors = list(dict.fromkeys(question.author for question, _ in answered))
    groups = {name: [pair for pair in answered if pair[0].author == name] for name in authors}
    if len(groups) > 1:
        groups["all authors"] = list(answered)
    rows: list[Row] = []
    for name, pairs in groups.items():
        own = [pair for pair in pairs if pair[0].kind == "own"]
        foreign = [pair for pair in pairs if pair[0].kind == "foreign"]

        def is_useful(question: AskedQuestion, quotes: Sequence[Quote]) -> bool:
            return any(
                question.answered_by(sources[quote.document_id], quote.text) for quote in quotes
            )

        def share(
            holds: Callable[[AskedQuestion, Answer], bool], pairs: Sequence[Any] = own
        ) -> float:
            return statistics.mean(holds(question, answer) for question, answer in pairs)

        def is_first_chunk_useful(question: AskedQuestion, answer: Answer) -> bool:
            return any(
                question.answered_by(sources[chunk.document_id], chunk.text)
                for chunk in answer.passages.nearest[:1]
            )

        peers = {"first chunk": share(is_first_chunk_useful)}
        for count, goal in MIN_USEFUL.items():
            value = share(lambda question, answer, n=count: is_useful(question, answer.quotes[:n]))
            row_name = f"{half}: {name}: useful passage among {count}, of {len(own)} own questions"
            rows.append(bounded_row(row_name, value, "share", at_least=goal, peers=peers))
            peers = {}
        declined = share(lambda _, answer: not answer.quotes)
        row_name = f"{half}: {name}: own questions declined"
        rows.append(bounded_row(row_name, declined, "share", at_most=MAX_OWN_DECLINED))
        declined = share(lambda _, answer: not answer.quotes, foreign)
        row_name = f"{half}: {name}: foreign questions declined, of {len(foreign)}"
        rows.append(bounded_row(row_name, declined, "share", at_least=MIN_FOREIGN_DECLINED))
    cpu_ms = statistics.median(answer.cpu_ms for _, answer in answered)
    row_name = f"{half}: finding and quoting one question, CPU"
    rows.append(bounded_row(row_name, cpu_ms, "ms", at_most=MAX_CPU_MS))
    return rows


def turn_row(
    conversations: Sequence[Conversation],
    finder: QuoteFinder,
    sources: dict[str, str],
    *,
    half: str,
) -> Row:
    """Return the row for the share of turns after the first without a useful quotation."""

    def is_useful(useful: Sequence[UsefulPassage], answer: Answer) -> bool:
        return any(
            passage.is_in(sources[quote.document_id], quote.text)
            for passage in useful
            for quote in answer.quotes
        )

    results = [
        is_useful(useful, finder.ask(conversation.author, conversation.turns[: number + 1]))
        for conversation in conversations
        for number, useful in enumerate(conversation.useful, start=1)
    ]
    name = f"{half}: turns after the first without a useful passage, of {len(results)}"
    return bounded_row(name, 1 - statistics.mean(results), "share", at_most=MAX_WRONG_TURNS)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--half", choices=["tuned", "held_out"], default=None)
    options = parser.parse_args(arguments)
    available = [slug for slug in (*BUNDLED, *SHARED) if posts_folder(slug).is_dir()]
    slugs = available if options.full else available[:1]
    half: Half = options.half or ("held_out" if options.full else "tuned")
    with tempfile.TemporaryDirectory() as scratch:
        settings = import_posts(Path(scratch), slugs)
        finder, sources = QuoteFinder(settings), read_source_paths(settings, slugs)
        questions = [question for slug in slugs for question in read_asked_questions(slug, half)]
        answered = [
            (question, finder.ask(question.author, [question.question])) for question in questions
        ]
        rows = question_rows(answered, sources, half=half)
        rows.append(turn_row(read_conversations(slugs, half), finder, sources, half=half))
    return print_results(rows, options.json, operator=_operator)


def _operator(row: Row) -> str:
    upper_bounds = (" own questions declined", "CPU", "without a useful passage")
    return "≤" if any(word in row.name for word in upper_bounds) else "≥"


if __name__ == "__main__":
    sys.exit(main())
