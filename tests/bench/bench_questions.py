"""Measure the quality of the dataset's questions, as rated by a person.

    python tests/bench/bench_questions.py --draw SHEET [--key FILE] [--seed NUMBER]
    python tests/bench/bench_questions.py --quick|--full [--json FILE]

`--draw` writes a shuffled sheet of 100 drafted questions and 40 people's questions, and its key;
the rules for rating are in tests/bench/question_ratings/README.md. `--quick` and `--full` count the
stored verdicts. Posts are read and cleaned, and questions drafted, as in an import. The round-trip
filter, which removes questions, is not applied, because it needs a home's embeddings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import polars as pl

from tests.bench.questions.questions import (
    SHARED_AUTHORS,
    authors,
    posts_folder,
    read_questions,
    read_shared_questions,
)
from tests.bench.rows import Row, bounded_row, print_results
from twin_assets.evaluation.statistics.rates import compute_rate

RATINGS = Path(__file__).parent / "question_ratings"
SEED = 20261123
DRAFTS_PER_AUTHOR, HUMAN_PER_AUTHOR, MAX_POSTS_PER_AUTHOR = 20, 8, 60
MAX_PASSAGE_WORDS = 80
MAX_SENSELESS_SHARE, MIN_READER_SHARE = 0.05, 0.6


def clean_posts(author: str, *, rng: random.Random) -> pl.DataFrame:
    """Return `cleaned_documents` of an author's posts, or of `MAX_POSTS_PER_AUTHOR` random ones."""
    from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_all_posts
    from twin_assets.corpus.corpus_tables import RawPosts, column_types
    from twin_assets.corpus.importers.post_head import UnreadablePostError
    from twin_assets.corpus.importers.posts import read_post
    from twin_assets.corpus.raw_rows import build_post_row

    folder = posts_folder(author)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in {".md", ".markdown", ".html"}
        and not path.name.isupper()
        and path.stem not in {"LICENSE", "README"}
        and ("_posts" in path.parts or author != "skeeto")
    )
    if len(paths) > MAX_POSTS_PER_AUTHOR:
        paths = sorted(rng.sample(paths, MAX_POSTS_PER_AUTHOR))
    types = {name: kind for name, kind in column_types(RawPosts).items() if name in RAW_COLUMNS}
    rows: list[dict[str, Any]] = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        body = path.read_bytes()
        try:
            post = build_post_row(read_post(body, source_id=name))
        except UnreadablePostError:
            continue
        fields = {"source": author, "source_id": name, "deleted": False, "problem": ""}
        digest = hashlib.sha256(body).hexdigest()
        row = {**post, **fields, "content_hash": digest}
        rows.append({column: row[column] for column in types})
    return clean_all_posts(pl.DataFrame(rows, schema=types)).filter(pl.col("kept"))


def draft_questions(author: str, *, rng: random.Random) -> pl.DataFrame:
    """Return drafted questions about an author's posts."""
    from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

    return draft_documents(clean_posts(author, rng=rng).select(DOCUMENT_COLUMNS))


def sample_human_questions(author: str, *, rng: random.Random) -> list[dict[str, str]]:
    """Return random questions by people, each with the passage most likely to answer it."""
    folder = posts_folder(author)
    if author in SHARED_AUTHORS:
        candidates = [
            (question.id, question.question, question.posts[0], "")
            for question in read_shared_questions(author)
        ]
    else:
        candidates = [
            (question.id, question.question, *question.answers[0])
            for question in read_questions(author)
            if question.kind == "own"
        ]
    items: list[dict[str, str]] = []
    for name, question, post, sentence in rng.sample(candidates, HUMAN_PER_AUTHOR):
        path = folder / post if (folder / post).exists() else next(folder.rglob(post))
        text = path.read_text(encoding="utf-8")
        passage = _find_nearest_paragraph(text, sentence or question)
        items.append(
            {"author": author, "id": name, "question": question, "passage": passage, "by": "person"}
        )
    return items


def _find_nearest_paragraph(text: str, words: str) -> str:
    """Return the paragraph that shares the most words with `words`."""
    from twin_assets.corpus.shingles import split_words

    query = set(split_words(words))
    parts = [part for part in text.split("\n\n") if len(part.split()) > 8]
    return max(parts or [text], key=lambda part: len(query & set(split_words(part))))


def write_sheet(sheet: Path, key: Path, *, seed: int) -> None:
    """Write the sheet of questions to rate, and its key with the sources."""
    rng = random.Random(seed)
    items: list[dict[str, str]] = []
    for author in sorted([*authors(), *SHARED_AUTHORS]):
        rows = draft_questions(author, rng=rng).sort("sample_id").to_dicts()
        items += [
            {
                "author": author,
                "id": row["sample_id"],
                "question": row["question"],
                "passage": row["answer"],
                "by": row["instruction_source"],
            }
            for row in rng.sample(rows, DRAFTS_PER_AUTHOR)
        ]
        items += sample_human_questions(author, rng=rng)
    rng.shuffle(items)
    lines, key_lines = [f"seed {seed}"], list[str]()
    for number, item in enumerate(items, start=1):
        passage = " ".join(item["passage"].split()[:MAX_PASSAGE_WORDS])
        lines.append(f"{number}. {item['question']}\n     {passage}")
        entry = {"number": number, "author": item["author"], "id": item["id"], "by": item["by"]}
        entry["sha256"] = hashlib.sha256(item["question"].encode()).hexdigest()
        if item["author"] not in SHARED_AUTHORS or item["by"] == "person":
            entry["question"] = item["question"]
        key_lines.append(json.dumps(entry, ensure_ascii=False))
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    key.write_text("\n".join(key_lines) + "\n", encoding="utf-8")


def verdict_rows(file: Path) -> list[Row]:
    """Return the rows for a file of verdicts."""
    lines = file.read_text(encoding="utf-8").splitlines()
    ratings = [json.loads(line) for line in lines if line.startswith("{")]
    drafts = [item for item in ratings if item["by"] != "person"]
    people = [item for item in ratings if item["by"] == "person"]

    def share(items: Sequence[Any], verdict: str) -> float:
        return sum(item["verdict"] == verdict for item in items) / len(items)

    def peers(verdict: str) -> dict[str, float]:
        rate = compute_rate([item["verdict"] == verdict for item in drafts])
        human_share = share(people, verdict)
        return {"95 % from": rate.low, "to": rate.high, f"of {len(people)} people’s": human_share}

    questions = [item for item in drafts if item["verdict"] != "continuation"]
    name = f"{file.stem}: of {len(drafts)} samples"
    return [
        bounded_row(f"{name}: senseless", share(drafts, "senseless"), "share",
                    at_most=MAX_SENSELESS_SHARE, peers=peers("senseless")),
        bounded_row(f"{name}: a reader would ask them", share(drafts, "reader"), "share",
                    at_least=MIN_READER_SHARE, peers=peers("reader")),
        Row(f"{name}: continuations", share(drafts, "continuation"), "share"),
        Row(f"{file.stem}: of {len(questions)} questions: a reader would ask them",
            share(questions, "reader"), "share"),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--draw", type=Path)
    mode.add_argument("--quick", action="store_true")
    mode.add_argument("--full", action="store_true")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.draw:
        write_sheet(args.draw, args.key or args.draw.with_suffix(".key.jsonl"), seed=args.seed)
        sys.stdout.write(f"seed {args.seed}\n")
        return 0
    rows = [row for file in sorted(RATINGS.glob("*.jsonl")) for row in verdict_rows(file)]
    return print_results(rows, args.json, operator=lambda row: "≥" if "reader" in row.name else "≤")


if __name__ == "__main__":
    raise SystemExit(main())
