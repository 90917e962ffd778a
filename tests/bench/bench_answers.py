"""Write the answers of several writers to the same questions for a blind rating, and count it.

    python tests/bench/bench_answers.py --full --write SHEET [--author SLUG …]
        [--model LABEL=GGUF …] [--tuned LABEL=HOME …] [--checked LABEL …]
    python tests/bench/bench_answers.py --full --rated SHEET [--json FILE]

The questions are the tuned half of `reader_questions` that an author's posts answer. The writers
are the quotations alone, each `--model`, and the stable version of each `--tuned` home, with the
gateway's passages and prompt. `--checked` adds what the gateway's check leaves of these answers.
SHEET is JSON lines in random order, each with a question, what the writer was given, a text, and
three empty verdicts: `useful` (it answers the question), `contradicts` (it says the opposite of a
post), `unsupported` (it says something else that no post says). The rater writes true or false, and
has built none of it. SHEET.key says who wrote what; equal texts are rated once. `--quick` asks
three questions.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.knowledge.corpus import clean_documents, embed_passages, load_embedder_home
from tests.bench.knowledge.tables import create_tables, write_passages
from tests.bench.reader_questions.question_files import BUNDLED, read_asked_questions
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_assets.evaluation.answer_model_prose import AskedQuestion, prepare_questions
from twin_assets.evaluation.measures.sentence_faithfulness import calibrate
from twin_resources.authors import Author
from twin_resources.gateway.exchange.stop_criteria import ProseTruncator
from twin_resources.gateway.exchange.supported_prose import SupportedSentenceFilter
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.models.serving.served_model import PromptQueue
from twin_resources.models.serving.template_sampling import frequency_penalty, reply_ban
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE, DEFAULT_TEMPLATE, Template
from twin_resources.quality.judges.judge import cache_embeddings
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import read_policy
from twin_resources.settings import Settings, load_settings

QUOTATION, CHECKED = "quotation alone", " checked"
VERDICTS = ("useful", "contradicts", "unsupported")
QUICK_QUESTIONS = 3
MIN_USEFUL, MAX_CONTRADICTED = 0.45, 0.03


@dataclass(frozen=True)
class WrittenAnswer:
    """An answer; `text` is empty if nothing is shown."""

    author: str
    question: str
    by: str
    text: str
    seconds: float
    sources: tuple[str, ...]


@contextmanager
def open_finder(author: str, embedder: Embedder) -> Iterator[tuple[PassageFinder, list[Any]]]:
    """Yield the finder of an author's passages, and (document id, text) of each passage."""
    rows = embed_passages(author, clean_documents(author), embedder)
    with tempfile.TemporaryDirectory() as folder:
        tables = create_tables(folder)
        write_passages(tables, [rows], embedder.dimension)
        update_indexes(tables, "bench", language="en")
        finder = PassageFinder(lambda: Retriever(tables.base_uri, embedder))
        yield finder, list(rows.select("document_id", "text").iter_rows())


async def quote(finder: PassageFinder, question: str, author: Author) -> str:
    """Return the quotations that the gateway shows."""
    found = await finder.find(
        author.slug, [question], token_budget=author.context_tokens, with_quotes=True
    )
    assert found.quote_result is not None, found.missing_reason
    return "\n\n".join(item.text for item in found.quote_result.quotes)


def find_tuned_files(home: Path, author: str) -> tuple[Path, Path | None] | None:
    """Return the files of an author's stable version in a home, or None if there is none."""
    entry = read_policy(load_settings(home).policy_path).authors.get(author)
    if entry is None or entry.stable is None or entry.stable.kind != "tuned":
        return None
    adapter = entry.stable.adapter_gguf
    return Path(entry.stable.base_gguf), Path(adapter) if adapter else None


def find_files(
    author: str, models: dict[str, str], homes: dict[str, str]
) -> dict[str, tuple[Path, Path | None]]:
    """Map each writer of an author's answers to the files of its model, which must exist.

    A home that has moved is found before an hour of answers is lost.
    """
    pairs: dict[str, tuple[Path, Path | None] | None] = {
        label: (Path(file).expanduser(), None) for label, file in models.items()
    }
    pairs |= {
        label: find_tuned_files(Path(path).expanduser(), author) for label, path in homes.items()
    }
    found = {label: pair for label, pair in pairs.items() if pair is not None}
    missing = [str(file) for pair in found.values() for file in pair if file and not file.exists()]
    assert not missing, f"no file {', '.join(missing)}"
    return found


def ask(
    settings: Settings,
    files: tuple[Path, Path | None],
    asked: Sequence[AskedQuestion],
    author: Author,
    template: Template,
) -> list[tuple[str, float]]:
    """Return what the gateway would show of a model's answers, unchecked, and their seconds."""
    queue = PromptQueue(
        [item.prompt for item in asked],
        max_tokens=[author.max_tokens],
        frequency_penalty=frequency_penalty(template.hash),
        texts_only=True,
        sampling=lambda server: reply_ban(template.hash, server.engine),
    )
    process = ServerProcess(settings, *files, alias="bench")
    try:
        queue.query_server(process.wait_until_ready(), max_concurrent=1)
    finally:
        process.stop()
    shown: list[tuple[str, float]] = []
    for answer in queue.answers_in_order():
        truncator = ProseTruncator(limit=author.max_tokens)
        text = truncator.feed(answer.text) + truncator.finish(cut_off=True)
        shown.append((text.strip(), answer.seconds))
    return shown


def create_version(template: Template) -> ModelVersion:
    """Return a version that answers with a template."""
    return ModelVersion(
        "bench", 1, "", "stable", False, False, "", None, "", "", template.hash, "", ""
    )


def write_answers(options: Namespace) -> list[WrittenAnswer]:
    """Ask every writer about every author."""
    home = load_embedder_home()
    embedder = load_embedder(home, threads=1, allow_gpu=False)
    models: dict[str, str] = dict(item.split("=", 1) for item in options.model)
    homes: dict[str, str] = dict(item.split("=", 1) for item in options.tuned)
    templates = dict.fromkeys(models, ANSWER_MODEL_TEMPLATE)
    templates |= dict.fromkeys(homes, DEFAULT_TEMPLATE)
    answers: list[WrittenAnswer] = []
    slugs: Sequence[str] = options.author or BUNDLED
    files = {slug: find_files(slug, models, homes) for slug in slugs}
    with tempfile.TemporaryDirectory() as folder:
        settings = home.model_copy(update={"home": Path(folder)})  # its logs
        for slug in slugs:
            name = slug.replace("-", " ").title()
            author = Author("bench", name)
            own = [item for item in read_asked_questions(slug, "tuned") if item.kind == "own"]
            questions = [(item.id, item.question) for item in own]
            questions = questions[: None if options.full else QUICK_QUESTIONS]
            with open_finder(slug, embedder) as (finder, passages):
                asked_by_template = {
                    template: asyncio.run(
                        prepare_questions(
                            questions,
                            author,
                            create_version(template),
                            settings=settings,
                            finder=finder,
                        )
                    )
                    for template in (DEFAULT_TEMPLATE, ANSWER_MODEL_TEMPLATE)
                }
                asked = asked_by_template[DEFAULT_TEMPLATE]
                quotations = {}
                for item in asked:
                    started = time.monotonic()
                    text = asyncio.run(quote(finder, item.question, author))
                    quotations[item.question] = (text, time.monotonic() - started)
            print(f"{slug}: {len(asked)} of {len(questions)} questions find posts", flush=True)
            found = {item.question for item in asked}
            declined = [question for _, question in questions if question not in found]
            written = {QUOTATION: [quotations[item.question] for item in asked]}
            for label, pair in files[slug].items():
                template = templates[label]
                written[label] = ask(settings, pair, asked_by_template[template], author, template)
                print(f"{slug}: {label} has answered", flush=True)
            judge = SentenceSupport(cache_embeddings(embedder.embed), embedder=embedder.revision)
            calibration = calibrate(judge, passages)
            assert calibration is not None, f"{slug} has too few sentences"
            for label in options.checked:
                written[label + CHECKED] = [
                    (
                        asyncio.run(
                            SupportedSentenceFilter(
                                judge, calibration.threshold, item.passages
                            ).feed(text, is_final=True)
                        ).strip(),
                        seconds,
                    )
                    for item, (text, seconds) in zip(asked, written[label], strict=True)
                ]
            answers += [
                WrittenAnswer(slug, item.question, label, text, seconds, item.passages)
                for label, texts in written.items()
                for item, (text, seconds) in zip(asked, texts, strict=True)
            ]
            answers += [
                WrittenAnswer(slug, question, label, "", 0.0, ())
                for label in written
                for question in declined
            ]
    return answers


def write_sheet(path: Path, answers: Sequence[WrittenAnswer]) -> int:
    """Write the sheet for the rater and its key; return the number of texts to rate."""
    texts = sorted({(item.author, item.question, item.text) for item in answers if item.text})
    random.Random(61).shuffle(texts)
    numbers = {text: number for number, text in enumerate(texts, 1)}
    sources = {(item.author, item.question): item.sources for item in answers}
    lines = [
        {"answer": numbers[author, question, text], "question": question}
        | {"sources": sources[author, question], "text": text}
        | dict.fromkeys(VERDICTS)
        for author, question, text in texts
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    key_lines = [
        {"answer": numbers.get((item.author, item.question, item.text))}
        | {name: value for name, value in asdict(item).items() if name not in {"text", "sources"}}
        for item in answers
    ]
    key_path = path.with_suffix(".key.jsonl")
    key_path.write_text("".join(json.dumps(line) + "\n" for line in key_lines), encoding="utf-8")
    return len(lines)


def count_ratings(path: Path) -> list[Row]:
    """Return the rows of a rated sheet, a group of four for each writer."""
    ratings: dict[int | None, dict[str, Any]] = {
        row["answer"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())
    }
    unrated = sum(any(row[name] is None for name in VERDICTS) for row in ratings.values())
    assert not unrated, f"{unrated} of {len(ratings)} answers have no verdict yet"
    key = list(map(json.loads, path.with_suffix(".key.jsonl").read_text("utf-8").splitlines()))
    rows: list[Row] = []
    for label in dict.fromkeys(item["by"] for item in key):
        written = [item for item in key if item["by"] == label]
        shown = [ratings[item["answer"]] for item in written if item["answer"] is not None]
        is_checked, seconds = label.endswith(CHECKED), [item["seconds"] for item in written]
        useful = sum(row["useful"] for row in shown) / len(written)
        contradicted, unsupported = (
            sum(row[name] for row in shown) / max(1, len(shown)) for name in VERDICTS[1:]
        )
        rows += [
            bounded_row(
                f"{label}: useful of {len(written)} questions",
                useful,
                "share",
                at_least=MIN_USEFUL if is_checked else None,
            ),
            bounded_row(
                f"{label}: contradicts the post, of {len(shown)} shown",
                contradicted,
                "share",
                at_most=MAX_CONTRADICTED if is_checked else None,
            ),
            Row(f"{label}: else unsupported, of {len(shown)} shown", unsupported, "share"),
            Row(f"{label}: median", median(filter(None, seconds)), "s"),
        ]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = create_parser(__doc__, quick="three questions an author", full="all questions")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="SHEET")
    action.add_argument("--rated", type=Path, metavar="SHEET")
    parser.add_argument("--author", action="append", choices=BUNDLED)
    for name, value in (("model", "LABEL=GGUF"), ("tuned", "LABEL=HOME"), ("checked", "LABEL")):
        parser.add_argument(f"--{name}", action="append", default=[], metavar=value)
    options = parser.parse_args(arguments)
    if options.rated:
        return print_results(
            count_ratings(options.rated),
            options.json,
            operator=lambda row: "≤" if "contradicts" in row.name else "≥",
        )
    count = write_sheet(options.write, write_answers(options))
    print(f"{count} texts to rate in {options.write}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
