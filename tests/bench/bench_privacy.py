"""Personal data: recall on planted values, and false positives in clean posts.

    python tests/bench/bench_privacy.py --quick|--full [--posts FOLDER] [--json FILE]
    python tests/bench/bench_privacy.py --folder PATH [--kinds phone,ssn] [--json FILE]

`--folder` cleans the texts of any folder as an import does, and prints each replacement (kind,
language, file, surrounding text) and the counts by kind, from which you can judge the precision.
The output contains the personal data itself; do not store it.

Generated values (`tests/unit/privacy/plants.py`, seeded) are inserted into real posts, one per
passage of 1,000 characters, at a random space. A value counts as found if one span of its kind
covers it completely.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.questions.questions import SHARED_DATA
from tests.bench.rows import Row, bounded_row, print_results
from tests.unit.privacy.plants import Plant, generate_plants
from twin_assets.corpus.cleaning import normalize_text
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.language import detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_resources.privacy import KINDS, find_personal_data, redact

MIN_RECALL, MAX_TOUCHED = 0.9, 0.05
PASSAGE_CHARACTERS = 1_000
FRONT_MATTER = re.compile(r"\A\ufeff?(---|\+\+\+)\s*\n.*?\n(?:\1|\.\.\.)\s*\n", re.DOTALL)
CLEANERS = {".md": clean_markdown, ".markdown": clean_markdown, ".mdx": clean_markdown}
CLEANERS |= {".html": clean_html, ".htm": clean_html}
PLAIN_SUFFIXES = (".txt", ".rst", ".adoc", ".asc", ".org", ".textile", ".dj")
MAX_FILE_BYTES = 2_000_000
BEFORE, AFTER = 50, 30  # characters shown around a replacement


def read_posts(folder: Path) -> list[str]:
    suffixes = (".md", ".markdown", ".html")
    found = sorted(file for file in folder.rglob("*") if file.suffix in suffixes)
    return [file.read_text("utf-8", errors="replace") for file in found]


def plant_values(posts: Sequence[str], *, each: int) -> list[tuple[str, Plant, int]]:
    """Return (passage with the plant, plant, start of its value) for each generated value."""
    rng = random.Random(7)
    long_posts = [post for post in posts if len(post) > 2 * PASSAGE_CHARACTERS]
    cases: list[tuple[str, Plant, int]] = []
    for plant in generate_plants(11, count_per_group=each):
        post = rng.choice(long_posts)
        start = rng.randrange(len(post) - PASSAGE_CHARACTERS)
        passage = post[start : start + PASSAGE_CHARACTERS]
        spaces = [index for index, letter in enumerate(passage) if letter.isspace()] or [0]
        index = rng.choice(spaces)
        before = passage[:index] + " " + plant.before
        text = before + plant.value + plant.after + " " + passage[index:]
        cases.append((text, plant, len(before)))
    return cases


def recall_rows(posts: Sequence[str], *, each: int) -> list[Row]:
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for text, plant, start in plant_values(posts, each=each):
        end = start + len(plant.value)
        spans = find_personal_data(text, region=plant.region)
        is_hit = any(s.start <= start and s.end >= end and s.kind == plant.kind for s in spans)
        hits[plant.group].append(is_hit)
    recall = {
        f"{group}, {len(found)} planted": statistics.fmean(found) for group, found in hits.items()
    }
    phones = [value for group, value in recall.items() if group.startswith("phone")]
    recall["phone, mean of the four ways"] = statistics.fmean(phones)
    return [
        bounded_row(f"recall of {group}", value, "", at_least=MIN_RECALL)
        for group, value in recall.items()
    ]


def touched_row(posts: Sequence[str]) -> Row:
    """Return the share of clean posts with a replacement."""
    touched = sum(bool(redact(post, region=detect_language(post)).counts) for post in posts)
    name = f"share of {len(posts)} clean posts touched"
    return bounded_row(name, touched / len(posts), "", at_most=MAX_TOUCHED)


def cleaned_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text, cleaned as by an import, of each file with prose."""
    for file in sorted(folder.rglob("*")):
        suffix = file.suffix.lower()
        if suffix not in CLEANERS and suffix not in PLAIN_SUFFIXES:
            continue
        if not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
            continue
        text = normalize_text(file.read_text("utf-8", errors="replace"))
        if suffix in CLEANERS:
            text = normalize_text(CLEANERS[suffix](FRONT_MATTER.sub("", text), title=""))
        yield str(file.relative_to(folder)), text


def folder_rows(folder: Path, kinds: Sequence[str]) -> list[Row]:
    """Print each replacement in a folder, and count them by kind."""
    counts: Counter[str] = Counter()
    texts = touched = characters = 0
    for path, text in cleaned_texts(folder):
        language = detect_language(text)
        spans = [s for s in find_personal_data(text, region=language) if s.kind in kinds]
        texts, characters, touched = texts + 1, characters + len(text), touched + bool(spans)
        for span in spans:
            counts[span.kind] += 1
            before = text[max(0, span.start - BEFORE) : span.start]
            after = text[span.end : span.end + AFTER]
            around = f"{before}⟦{text[span.start : span.end]}⟧{after}".replace("\n", "⏎")
            print(f"{span.kind:12} {language:3} {path}: {around}")
    print()
    return [
        Row(f"texts of {folder.name}", texts, "texts"),
        Row("their characters", characters / 1e6, "million"),
        Row("texts touched", touched, "texts"),
        *(Row(f"replaced: {kind}", counts[kind], "") for kind in KINDS if kind in kinds),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help="every fifth post, fewer plants")
    form.add_argument("--full", action="store_true")
    form.add_argument("--folder", type=Path, help="print each replacement in this folder")
    parser.add_argument("--kinds", default=",".join(KINDS), help="with --folder: only these kinds")
    parser.add_argument("--posts", type=Path, default=SHARED_DATA / "posts")
    parser.add_argument("--json", type=Path)
    options: Any = parser.parse_args()
    if options.folder:
        return print_results(folder_rows(options.folder, options.kinds.split(",")), options.json)
    posts = read_posts(options.posts)[:: 5 if options.quick else 1]
    if not posts:
        parser.error(
            f"no post in {options.posts}: name a folder of Markdown or HTML files (--posts)"
        )
    started, cpu = time.monotonic(), time.process_time()
    rows = [touched_row(posts), *recall_rows(posts, each=50 if options.quick else 500)]
    print_results(rows, options.json, sign=lambda row: "≥" if "recall" in row.name else "≤")
    wall = time.monotonic() - started
    print(f"  ({len(posts)} posts: {time.process_time() - cpu:.1f} CPU s, {wall:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
