"""Quality of the dataset's questions, rated by a person: sense, and use to a reader.

    python tests/bench/bench_questions.py --draw SHEET [--key FILE] [--seed NUMBER]
    python tests/bench/bench_questions.py --quick|--full [--json FILE]

`--draw` writes a shuffled sheet of 100 drafts and 40 questions of people, and its key; the rules
are in tests/bench/question_ratings/README.md. `--quick` counts the stored verdicts. `--full` also
drafts questions on the bundled posts, and prints the source of each question and the CPU time.
Posts are read, cleaned and drafted as by an import. The round trip, which removes questions, needs
a home's embeddings and is not applied.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
import time
from collections import Counter
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

RATINGS = Path(__file__).parent / "question_ratings"
SEED = 20261123
SAMPLES_EACH, PEOPLE_EACH, POSTS_EACH = 20, 8, 60
SHOWN_WORDS = 80  # of a passage
MAX_SENSELESS, MIN_READER = 0.05, 0.6


def clean_posts(author: str, *, rng: random.Random) -> pl.DataFrame:
    """Return `cleaned_documents` of an author's posts, or of `POSTS_EACH` random ones."""
    from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_and_quarantine
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
    if len(paths) > POSTS_EACH:
        paths = sorted(rng.sample(paths, POSTS_EACH))
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
    return clean_and_quarantine(pl.DataFrame(rows, schema=types))[0].filter(pl.col("kept"))


def draft(author: str, *, rng: random.Random) -> pl.DataFrame:
    """Return drafts of an author's posts."""
    from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

    return draft_documents(clean_posts(author, rng=rng).select(DOCUMENT_COLUMNS))


def sample_people(author: str, *, rng: random.Random) -> list[dict[str, str]]:
    """Return random questions of people, each with the passage most likely to answer it."""
    folder = posts_folder(author)
    if author in SHARED_AUTHORS:
        asked = [
            (question.id, question.question, question.posts[0], "")
            for question in read_shared_questions(author)
        ]
    else:
        asked = [
            (question.id, question.question, *question.answers[0])
            for question in read_questions(author)
            if question.kind == "own"
        ]
    items: list[dict[str, str]] = []
    for name, question, post, sentence in rng.sample(asked, PEOPLE_EACH):
        path = folder / post if (folder / post).exists() else next(folder.rglob(post))
        text = path.read_text(encoding="utf-8")
        passage = _nearest(text, sentence or question)
        items.append(
            {"author": author, "id": name, "question": question, "passage": passage, "by": "person"}
        )
    return items


def _nearest(text: str, words: str) -> str:
    """Return the paragraph of a text that shares most words with `words`."""
    from twin_assets.corpus.shingles import split_words

    query = set(split_words(words))
    parts = [part for part in text.split("\n\n") if len(part.split()) > 8]
    return max(parts or [text], key=lambda part: len(query & set(split_words(part))))


def draw(sheet: Path, key: Path, *, seed: int) -> None:
    """Write the sheet and its key."""
    rng = random.Random(seed)
    items: list[dict[str, str]] = []
    for author in sorted([*authors(), *SHARED_AUTHORS]):
        rows = draft(author, rng=rng).sort("sample_id").to_dicts()
        items += [
            {
                "author": author,
                "id": row["sample_id"],
                "question": row["question"],
                "passage": row["answer"],
                "by": row["instruction_source"],
            }
            for row in rng.sample(rows, SAMPLES_EACH)
        ]
        items += sample_people(author, rng=rng)
    rng.shuffle(items)
    lines, keys = [f"seed {seed}"], list[str]()
    for number, item in enumerate(items, start=1):
        shown = " ".join(item["passage"].split()[:SHOWN_WORDS])
        lines.append(f"{number}. {item['question']}\n     {shown}")
        entry = {"number": number, "author": item["author"], "id": item["id"], "by": item["by"]}
        entry["sha256"] = hashlib.sha256(item["question"].encode()).hexdigest()
        if item["author"] not in SHARED_AUTHORS or item["by"] == "person":
            entry["question"] = item["question"]
        keys.append(json.dumps(entry, ensure_ascii=False))
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    key.write_text("\n".join(keys) + "\n", encoding="utf-8")


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share, n = 1.96, hits / total, total
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def verdict_rows(file: Path) -> list[Row]:
    """Return the rows of a file of verdicts."""
    lines = file.read_text(encoding="utf-8").splitlines()
    rated = [json.loads(line) for line in lines if line.startswith("{")]
    samples = [item for item in rated if item["by"] != "person"]
    people = [item for item in rated if item["by"] == "person"]

    def share(items: Sequence[Any], verdict: str) -> float:
        return sum(item["verdict"] == verdict for item in items) / len(items)

    def peers(verdict: str) -> dict[str, float]:
        low, high = wilson(sum(item["verdict"] == verdict for item in samples), len(samples))
        of_people = share(people, verdict)
        return {"95 % from": low, "to": high, f"of {len(people)} people’s": of_people}

    questions = [item for item in samples if item["verdict"] != "continuation"]
    name = f"{file.stem}: of {len(samples)} samples"
    return [
        bounded_row(f"{name}: senseless", share(samples, "senseless"), "share",
                    at_most=MAX_SENSELESS, peers=peers("senseless")),
        bounded_row(f"{name}: such as a reader would ask", share(samples, "reader"), "share",
                    at_least=MIN_READER, peers=peers("reader")),
        Row(f"{name}: continuations", share(samples, "continuation"), "share"),
        Row(f"{file.stem}: of {len(questions)} questions: such as a reader would ask",
            share(questions, "reader"), "share"),
    ]  # fmt: skip


def source_rows() -> list[Row]:
    """Return rows of the sources of the bundled posts' questions, and of the cost of drafting."""
    from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

    documents = [clean_posts(author, rng=random.Random(SEED)) for author in authors()]
    before = time.process_time()
    drafts = [draft_documents(part.select(DOCUMENT_COLUMNS)) for part in documents]
    cpu_ms = 1000 * (time.process_time() - before) / sum(part.height for part in documents)
    sources = Counter(source for part in drafts for source in part["instruction_source"].to_list())
    rows = [
        bounded_row(f"bundled authors: questions by {name}", count / sources.total(), "share")
        for name, count in sources.most_common()
    ]
    return [*rows, bounded_row("bundled authors: drafting a post", cpu_ms, "CPU ms")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--draw", type=Path)
    form.add_argument("--quick", action="store_true")
    form.add_argument("--full", action="store_true")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.draw:
        draw(args.draw, args.key or args.draw.with_suffix(".key.jsonl"), seed=args.seed)
        sys.stdout.write(f"seed {args.seed}\n")
        return 0
    rows = [row for file in sorted(RATINGS.glob("*.jsonl")) for row in verdict_rows(file)]
    rows += source_rows() if args.full else []
    return print_results(rows, args.json, sign=lambda row: "≥" if "reader" in row.name else "≤")


if __name__ == "__main__":
    raise SystemExit(main())
