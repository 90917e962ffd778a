"""Measure how many natural questions are answered with useful passages or rightly declined.

    python tests/bench/bench_quotes.py --quick|--full [--half tuned|held_out] [--json FILE]

`--quick` asks the tuned half of one bundled author's questions, `--full` the held-out halves of all
five authors (those of the shared authors only if ../shared/data exists), and the questions that
stand beside the shared posts. The posts go through the production path; questions go through the
gateway's finder. A passage is useful when it contains a sentence that was listed in advance
(tests/bench/reader_questions). Peers, in the same run: the cosine of the same passages alone, BM25
of the same passages alone, and the tutorial: MiniLM at its 256 tokens over 1,000 characters with an
overlap of 200, without titles. CPU time is that of finding the passages for one question.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.questions.questions import posts_folder
from tests.bench.reader_questions.question_files import (
    BUNDLED,
    HANDED_OVER,
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
from twin_resources.models.quotes.quoter import Quote
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.models.retrieval.search import InMemoryTable, RetrievalQuery
from twin_resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder

MIN_USEFUL = {1: 0.64, 2: 0.76, 3: 0.82}  # share of questions, by number of quotations
MIN_FOREIGN_DECLINED, MAX_OWN_DECLINED, MAX_WRONG_TURNS, MAX_CPU_MS = 0.95, 0.05, 0.30, 150.0
SHORT_WORDS = 10
COSINE, TUTORIAL, WORDS = "cosine alone", "tutorial", "BM25 alone"
TUTORIAL_CHARACTERS, TUTORIAL_OVERLAP, TUTORIAL_TOKENS = 1_000, 200, 256


def import_posts(home: Path, sources: Mapping[str, Path]) -> Settings:
    """Import authors' posts into a new home, up to the passages; `sources` is slug → folder."""
    os.environ["TWIN_HOME"] = str(home)
    import dagster as dg

    import twin_assets as assets
    from twin_assets.definitions import default_resources
    from twin_resources.authors import Author, write_author
    from twin_resources.models.embedder.preparation import prepare_embedder

    settings = load_settings(home)
    prepare_embedder(settings)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("authors", list(sources))
    for slug, folder in sources.items():
        write_author(settings, Author(slug=slug, name=slug, sources=(str(folder),)))
        dg.materialize(
            [
                assets.raw_posts, assets.cleaned_documents, assets.embeddings,
            ],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
            raise_on_error=False,  # failed checks of the cleaning do not matter here
        )  # fmt: skip
    return settings


Shown = tuple[str, str]  # document id and text of a passage


@dataclass(frozen=True)
class Answer:
    """The passages found for a question, best first, and the CPU time of finding them.

    Attributes:
        peers: the first three passages of each peer.
    """

    passages: RetrievedPassages
    cpu_ms: float
    peers: dict[str, list[Shown]] = field(default_factory=dict[str, list[Shown]])

    @property
    def quotes(self) -> tuple[Quote, ...]:
        return self.passages.quote_result.quotes if self.passages.quote_result else ()

    @property
    def shown(self) -> list[Shown]:
        return [(quote.document_id, quote.text) for quote in self.quotes]


class Peers:
    """The peers' rankings for one author."""

    def __init__(self, settings: Settings, author: str, embedder: Embedder) -> None:
        database = lancedb.connect(f"{settings.tables_base}/{author}")
        self._embedder = embedder
        self._table = InMemoryTable(database.open_table("embeddings"))
        rows: Any = database.open_table("cleaned_documents").search().where("kept")
        self._chunks: list[Shown] = [
            (row["document_id"], chunk)
            for row in rows.select(["document_id", "text"]).limit(100_000).to_list()
            for chunk in split_like_the_tutorial(row["text"])
        ]
        self._vectors = self._embed_truncated([text for _, text in self._chunks])

    def _embed_truncated(self, texts: list[str]) -> np.ndarray:
        """Embed the first 256 tokens of each text, as sentence-transformers does."""
        encodings = self._embedder.tokenizer.encode_batch(texts, add_special_tokens=False)
        limit = TUTORIAL_TOKENS - self._embedder.tokenizer.num_special_tokens_to_add(False)
        return self._embedder.embed(
            [
                text[: encoding.offsets[limit - 1][1]] if len(encoding.ids) > limit else text
                for text, encoding in zip(texts, encodings, strict=True)
            ]
        )

    def rank(self, question: str, vector: np.ndarray) -> dict[str, list[Shown]]:
        rows = self._table.find_candidates(RetrievalQuery(question), vector)
        ranked: dict[str, list[Shown]] = {}
        for name, column in ((COSINE, "cosine"), (WORDS, "lexical")):
            taken: list[dict[str, Any]] = []
            for row in sorted(rows, key=lambda row: -row[column]):
                overlaps = (
                    row["document_id"] == other["document_id"]
                    and row["start"] < other["end"]
                    and other["start"] < row["end"]
                    for other in taken
                )
                if len(taken) < 3 and not any(overlaps):
                    taken.append(row)
            ranked[name] = [(row["document_id"], row["text"]) for row in taken]
        best = np.argsort(-(self._vectors @ vector), kind="stable")[:3]
        return ranked | {TUTORIAL: [self._chunks[index] for index in best]}


def split_like_the_tutorial(
    text: str, separators: Sequence[str] = ("\n\n", "\n", " ")
) -> list[str]:
    """Split at the first separator that gives short enough parts, and join them with an overlap."""
    if len(text) <= TUTORIAL_CHARACTERS:
        return [text] if text.strip() else []
    if not separators:
        step = TUTORIAL_CHARACTERS - TUTORIAL_OVERLAP
        return [text[at : at + TUTORIAL_CHARACTERS] for at in range(0, len(text), step)]
    chunks: list[str] = []
    parts: list[str] = []
    for part in text.split(separators[0]):
        if len(part) > TUTORIAL_CHARACTERS:
            chunks += [separators[0].join(parts)] * bool(parts)
            chunks += split_like_the_tutorial(part, separators[1:])
            parts = []
            continue
        if parts and len(separators[0].join([*parts, part])) > TUTORIAL_CHARACTERS:
            chunks.append(separators[0].join(parts))
            while parts and (
                len(separators[0].join(parts)) > TUTORIAL_OVERLAP
                or len(separators[0].join([*parts, part])) > TUTORIAL_CHARACTERS
            ):
                parts.pop(0)
        parts.append(part)
    return chunks + [separators[0].join(parts)] * bool(parts)


class QuoteFinder:
    """Finds quotations as the gateway does."""

    def __init__(self, settings: Settings) -> None:
        from twin_resources.models.embedder.embedder import load_embedder

        self._settings = settings
        self._embedder = load_embedder(settings, threads=1, allow_gpu=False)
        self._passage_finder = PassageFinder(
            lambda: Retriever(settings.tables_base, self._embedder)
        )
        self._peers: dict[str, Peers] = {}

    def ask_with_peers(self, author: str, question: str) -> Answer:
        """Return the answer to a question, and what the peers find for it."""
        if author not in self._peers:
            self._peers[author] = Peers(self._settings, author, self._embedder)
        answer = self.ask(author, [question])
        vector = answer.passages.vector
        assert vector is not None
        return replace(answer, peers=self._peers[author].rank(question, vector))

    def ask(self, author: str, turns: Sequence[str]) -> Answer:
        """Return the answer to the last of a reader's turns."""
        messages: list[dict[str, str]] = []
        for number, turn in enumerate(turns, start=1):
            messages.append({"role": "user", "content": turn})
            question = read_question(f"twin/{author}", messages)
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
            text = render_quotes(answer.quotes).text or "Nothing was found."
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
    groups[f"at most {SHORT_WORDS} words"] = [
        pair for pair in answered if len(pair[0].question.split()) <= SHORT_WORDS
    ]
    rows: list[Row] = []
    for name, pairs in groups.items():
        own = [pair for pair in pairs if pair[0].kind == "own"]
        foreign = [pair for pair in pairs if pair[0].kind == "foreign"]
        if not own:
            continue

        def useful_share(
            find_shown: Callable[[Answer], list[Shown]], count: int, own: Sequence[Any] = own
        ) -> float:
            return statistics.mean(
                any(
                    question.answered_by(sources[document], text)
                    for document, text in find_shown(answer)[:count]
                )
                for question, answer in own
            )

        def share(
            holds: Callable[[AskedQuestion, Answer], bool], pairs: Sequence[Any] = own
        ) -> float:
            return statistics.mean(holds(question, answer) for question, answer in pairs)

        for count, goal in MIN_USEFUL.items():
            value = useful_share(lambda answer: answer.shown, count)
            peers = {
                peer: useful_share(lambda answer, peer=peer: answer.peers[peer], count)
                for peer in (COSINE, TUTORIAL, WORDS)
            }
            row_name = f"{half}: {name}: useful passage among {count}, of {len(own)} own questions"
            rows.append(bounded_row(row_name, value, "share", at_least=goal, peers=peers))
        declined = share(lambda _, answer: not answer.quotes)
        row_name = f"{half}: {name}: own questions declined"
        rows.append(bounded_row(row_name, declined, "share", at_most=MAX_OWN_DECLINED))
        if not foreign:
            continue
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
    handed_over = [slug for slug in HANDED_OVER * options.full if posts_folder(slug).is_dir()]
    for slug in set(HANDED_OVER) - set(handed_over):
        why = f"no {posts_folder(slug)}" if options.full else "with --full"
        sys.stdout.write(f"left out, the questions to {slug}: {why}\n")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {slug: posts_folder(slug) for slug in (*slugs, *handed_over)}
        settings = import_posts(Path(scratch), folders)
        finder, sources = QuoteFinder(settings), read_source_paths(settings, [*slugs, *handed_over])
        rows: list[Row] = []
        for name, authors in ((half, slugs), ("handed_over", handed_over)):
            questions = [q for slug in authors for q in read_asked_questions(slug, name)]
            answered = [(q, finder.ask_with_peers(q.author, q.question)) for q in questions]
            rows += question_rows(answered, sources, half=name) if answered else []
        rows.append(turn_row(read_conversations(slugs, half), finder, sources, half=half))
    return print_results(rows, options.json, operator=_operator)


def _operator(row: Row) -> str:
    upper_bounds = (" own questions declined", "CPU", "without a useful passage")
    return "≤" if any(word in row.name for word in upper_bounds) else "≥"


if __name__ == "__main__":
    sys.exit(main())
