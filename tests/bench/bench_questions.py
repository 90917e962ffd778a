"""Questions of the dataset: which make sense, and which a reader would ask; rated by reading.

    python tests/bench/bench_questions.py --draw SHEET [--key FILE] [--seed NUMBER]
    python tests/bench/bench_questions.py --quick|--full [--json FILE]

`--draw` writes a sheet of 100 drafts and 40 questions of people, shuffled, and the key to it; rules
and what is kept: tests/bench/question_ratings/README.md. `--quick` counts the verdicts that are
kept; `--full` also drafts the bundled posts, and prints which forms made their questions and the
CPU time. Posts go through reading, cleaning and drafting as an import puts them; the round trip,
which takes questions out, needs the embeddings of a home and is not applied.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
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
    SAMPLES,
    SHARED_AUTHORS,
    authors,
    read_questions,
    read_shared_questions,
)
from tests.bench.rows import Row, print_results

RATINGS = Path(__file__).parent / "question_ratings"
SEED = 20261123
SAMPLES_EACH, PEOPLE_EACH, POSTS_EACH = 20, 8, 60
SHOWN_WORDS = 80  # of a passage
GOAL_SENSELESS, GOAL_READER = 0.05, 0.6


def folder_of(author: str) -> Path:
    """Where an author's posts lie."""
    if author not in SHARED_AUTHORS:
        return SAMPLES / author
    data = os.environ.get("TWIN_SHARED_DATA")
    base = Path(data) if data else Path(__file__).resolve().parents[3] / "shared" / "data"
    return base / "posts" / author


def cleaned(author: str, *, chance: random.Random) -> pl.DataFrame:
    """`cleaned_documents` of an author: all posts, or `POSTS_EACH` by lot."""
    from twin_assets.corpus.cleaning import RAW_COLUMNS, clean_and_quarantine
    from twin_assets.corpus.corpus_tables import RawPosts, column_types
    from twin_assets.corpus.importers.post_head import UnreadablePostError
    from twin_assets.corpus.importers.posts import read_post
    from twin_assets.corpus.raw_rows import build_post_row

    folder = folder_of(author)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in {".md", ".markdown", ".html"}
        and not path.name.isupper()
        and path.stem not in {"LICENSE", "README"}
        and ("_posts" in path.parts or author != "skeeto")
    )
    if len(paths) > POSTS_EACH:
        paths = sorted(chance.sample(paths, POSTS_EACH))
    types = {name: kind for name, kind in column_types(RawPosts).items() if name in RAW_COLUMNS}
    rows: list[dict[str, Any]] = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        body = path.read_bytes()
        try:
            post = build_post_row(read_post(body, source_id=name))
        except UnreadablePostError:
            continue
        known = {"source": author, "source_id": name, "deleted": False, "problem": ""}
        digest = hashlib.sha256(body).hexdigest()
        row = {**post, **known, "content_hash": digest}
        rows.append({column: row[column] for column in types})
    return clean_and_quarantine(pl.DataFrame(rows, schema=types))[0].filter(pl.col("kept"))


def drafts(author: str, *, chance: random.Random) -> pl.DataFrame:
    """Drafts of an author's posts."""
    from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

    return draft_documents(cleaned(author, chance=chance).select(DOCUMENT_COLUMNS))


def people(author: str, *, chance: random.Random) -> list[dict[str, str]]:
    """Questions of people, with the passage that answers each as far as it is known."""
    folder = folder_of(author)
    asked: list[tuple[str, str, str, str]] = []
    if author in SHARED_AUTHORS:
        asked = [
            (shared_question.id, shared_question.question, shared_question.posts[0], "")
            for shared_question in read_shared_questions(author)
        ]
    else:
        own = [one for one in read_questions(author) if one.kind == "own"]
        asked = [(one.id, one.question, *one.answers[0]) for one in own]
    found: list[dict[str, str]] = []
    for name, question, post, sentence in chance.sample(asked, PEOPLE_EACH):
        path = folder / post if (folder / post).exists() else next(folder.rglob(post))
        text = path.read_text(encoding="utf-8")
        passage = _nearest(text, sentence or question)
        found.append(
            {"author": author, "id": name, "question": question, "passage": passage, "by": "person"}
        )
    return found


def _nearest(text: str, words: str) -> str:
    """The paragraph of a text that shares most words with these."""
    from twin_assets.corpus.shingles import split_words

    wanted = set(split_words(words))
    parts = [part for part in text.split("\n\n") if len(part.split()) > 8]
    return max(parts or [text], key=lambda part: len(wanted & set(split_words(part))))


def draw(sheet: Path, key: Path, *, seed: int) -> None:
    """Write the sheet and its key."""
    chance = random.Random(seed)
    items: list[dict[str, str]] = []
    for author in sorted([*authors(), *SHARED_AUTHORS]):
        rows = drafts(author, chance=chance).sort("sample_id").to_dicts()
        items += [
            {
                "author": author,
                "id": row["sample_id"],
                "question": row["question"],
                "passage": row["answer"],
                "by": row["instruction_source"],
            }
            for row in chance.sample(rows, SAMPLES_EACH)
        ]
        items += people(author, chance=chance)
    chance.shuffle(items)
    lines, keys = [f"seed {seed}"], list[str]()
    for number, item in enumerate(items, start=1):
        shown = " ".join(item["passage"].split()[:SHOWN_WORDS])
        lines.append(f"{number}. {item['question']}\n     {shown}")
        kept = {"number": number, "author": item["author"], "id": item["id"], "by": item["by"]}
        digest = hashlib.sha256(item["question"].encode()).hexdigest()
        ours = item["author"] not in SHARED_AUTHORS or item["by"] == "person"
        said = {"question": item["question"]} if ours else {}
        keys.append(json.dumps({**kept, "sha256": digest, **said}, ensure_ascii=False))
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    key.write_text("\n".join(keys) + "\n", encoding="utf-8")


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, hits / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return centre - half, centre + half


def verdict_rows(file: Path) -> list[Row]:
    """The figures of one file of verdicts."""
    lines = file.read_text(encoding="utf-8").splitlines()
    rated = [json.loads(line) for line in lines if line.startswith("{")]
    made = [one for one in rated if one["by"] != "person"]
    asked = [one for one in rated if one["by"] == "person"]

    def share(which: Sequence[Any], verdict: str) -> float:
        return sum(one["verdict"] == verdict for one in which) / len(which)

    def peers(verdict: str) -> dict[str, float]:
        low, high = wilson(sum(one["verdict"] == verdict for one in made), len(made))
        return {
            "95 % from": round(low, 3),
            "to": round(high, 3),
            f"of {len(asked)} people’s": share(asked, verdict),
        }

    questions = [one for one in made if one["verdict"] != "continuation"]
    senseless, reader = share(made, "senseless"), share(made, "reader")
    name = f"{file.stem}: of {len(made)} samples"
    return [
        Row(f"{name}: senseless", senseless, "share", GOAL_SENSELESS,
            senseless <= GOAL_SENSELESS, peers("senseless")),
        Row(f"{name}: such as a reader would ask", reader, "share", GOAL_READER,
            reader >= GOAL_READER, peers("reader")),
        Row(f"{name}: continuations", share(made, "continuation"), "share"),
        Row(f"{file.stem}: of {len(questions)} questions: such as a reader would ask",
            share(questions, "reader"), "share"),
    ]  # fmt: skip


def forms() -> list[Row]:
    """Which forms made the bundled posts' questions, and what drafting costs."""
    from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, draft_documents

    documents = [cleaned(author, chance=random.Random(SEED)) for author in authors()]
    before = time.process_time()
    made = [draft_documents(part.select(DOCUMENT_COLUMNS)) for part in documents]
    spent = 1000 * (time.process_time() - before) / sum(part.height for part in documents)
    sources = Counter(source for part in made for source in part["instruction_source"].to_list())
    of = sources.total()
    rows = [
        Row(f"bundled authors: questions by {name}", round(count / of, 3), "share")
        for name, count in sources.most_common()
    ]
    return [*rows, Row("bundled authors: drafting a post", round(spent, 2), "CPU ms")]


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
    rows += forms() if args.full else []
    return print_results(rows, args.json, sign=lambda row: "≥" if "reader" in row.name else "≤")


if __name__ == "__main__":
    raise SystemExit(main())
