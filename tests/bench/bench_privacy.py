"""Measure the redaction of personal data: recall on planted values, false positives in posts.

    python tests/bench/bench_privacy.py --quick|--full [--posts FOLDER] [--json FILE]
    python tests/bench/bench_privacy.py --folder PATH [--kinds phone,ssn] [--json FILE]

`--folder` cleans the texts of any folder as an import does, and prints each replacement (kind,
language, file, surrounding text) and the counts by kind, so that you can judge the precision.
The output contains the personal data itself; do not store it.

Generated values (`tests/unit/privacy/planted_values.py`, seeded) are inserted into real posts, one
per passage of 1,000 characters, at a random space. A value counts as found if one span of its kind
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
from tests.unit.privacy.planted_values import PlantedValue, generate_planted_values
from twin_assets.corpus.cleaning import normalize_text
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.language import detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_resources.privacy import KINDS, find_personal_data, redact

MIN_RECALL, MAX_REDACTED_SHARE = 0.9, 0.05
PASSAGE_CHARACTERS = 1_000
FRONT_MATTER = re.compile(r"\A\ufeff?(---|\+\+\+)\s*\n.*?\n(?:\1|\.\.\.)\s*\n", re.DOTALL)
CLEANERS = {".md": clean_markdown, ".markdown": clean_markdown, ".mdx": clean_markdown}
CLEANERS |= {".html": clean_html, ".htm": clean_html}
PLAIN_SUFFIXES = (".txt", ".rst", ".adoc", ".asc", ".org", ".textile", ".dj")
MAX_FILE_BYTES = 2_000_000
SHOWN_BEFORE, SHOWN_AFTER = 50, 30  # characters around a replacement


def read_posts(folder: Path) -> list[str]:
    suffixes = (".md", ".markdown", ".html")
    files = sorted(file for file in folder.rglob("*") if file.suffix in suffixes)
    return [file.read_text("utf-8", errors="replace") for file in files]


def plant_values(
    posts: Sequence[str], *, count_per_group: int
) -> list[tuple[str, PlantedValue, int]]:
    """Return (passage, planted value, start of the value) for each value."""
    rng = random.Random(7)
    long_posts = [post for post in posts if len(post) > 2 * PASSAGE_CHARACTERS]
    cases: list[tuple[str, PlantedValue, int]] = []
    for planted in generate_planted_values(11, count_per_group=count_per_group):
        post = rng.choice(long_posts)
        start = rng.randrange(len(post) - PASSAGE_CHARACTERS)
        passage = post[start : start + PASSAGE_CHARACTERS]
        spaces = [index for index, letter in enumerate(passage) if letter.isspace()] or [0]
        index = rng.choice(spaces)
        before = passage[:index] + " " + planted.before
        text = before + planted.value + planted.after + " " + passage[index:]
        cases.append((text, planted, len(before)))
    return cases


def recall_rows(posts: Sequence[str], *, count_per_group: int) -> list[Row]:
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for text, planted, start in plant_values(posts, count_per_group=count_per_group):
        end = start + len(planted.value)
        spans = find_personal_data(text, region=planted.region)
        is_hit = any(s.start <= start and s.end >= end and s.kind == planted.kind for s in spans)
        hits[planted.group].append(is_hit)
    recall = {
        f"{group}, {len(group_hits)} planted": statistics.fmean(group_hits)
        for group, group_hits in hits.items()
    }
    phone_recalls = [value for group, value in recall.items() if group.startswith("phone")]
    recall["phone, mean of all formats"] = statistics.fmean(phone_recalls)
    return [
        bounded_row(f"recall of {group}", value, "", at_least=MIN_RECALL)
        for group, value in recall.items()
    ]


def redacted_row(posts: Sequence[str]) -> Row:
    """Return the row for the share of clean posts in which something was redacted."""
    redacted_count = sum(bool(redact(post, region=detect_language(post)).counts) for post in posts)
    name = f"share of {len(posts)} clean posts redacted"
    return bounded_row(name, redacted_count / len(posts), "", at_most=MAX_REDACTED_SHARE)


def read_cleaned_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, text) for each file with prose, cleaned as in an import."""
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
    """Print each replacement in a folder; return rows with the counts by kind."""
    counts: Counter[str] = Counter()
    text_count = redacted_count = character_count = 0
    for path, text in read_cleaned_texts(folder):
        language = detect_language(text)
        spans = [s for s in find_personal_data(text, region=language) if s.kind in kinds]
        text_count += 1
        character_count += len(text)
        redacted_count += bool(spans)
        for span in spans:
            counts[span.kind] += 1
            before = text[max(0, span.start - SHOWN_BEFORE) : span.start]
            after = text[span.end : span.end + SHOWN_AFTER]
            excerpt = f"{before}⟦{text[span.start : span.end]}⟧{after}".replace("\n", "⏎")
            print(f"{span.kind:12} {language:3} {path}: {excerpt}")
    print()
    return [
        Row(f"texts of {folder.name}", text_count, "texts"),
        Row("characters", character_count / 1e6, "million"),
        Row("texts redacted", redacted_count, "texts"),
        *(Row(f"replaced: {kind}", counts[kind], "") for kind in KINDS if kind in kinds),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--quick", action="store_true", help="every fifth post, fewer planted values")
    mode.add_argument("--full", action="store_true")
    mode.add_argument("--folder", type=Path, help="print each replacement in this folder")
    parser.add_argument("--kinds", default=",".join(KINDS), help="with --folder: only these kinds")
    parser.add_argument("--posts", type=Path, default=SHARED_DATA / "posts")
    parser.add_argument("--json", type=Path)
    options: Any = parser.parse_args()
    if options.folder:
        return print_results(folder_rows(options.folder, options.kinds.split(",")), options.json)
    posts = read_posts(options.posts)[:: 5 if options.quick else 1]
    if not posts:
        parser.error(f"no posts in {options.posts}; pass --posts with Markdown or HTML files")
    started, cpu = time.monotonic(), time.process_time()
    rows = [redacted_row(posts), *recall_rows(posts, count_per_group=50 if options.quick else 500)]
    print_results(rows, options.json, operator=lambda row: "≥" if "recall" in row.name else "≤")
    wall_s = time.monotonic() - started
    print(f"  ({len(posts)} posts: {time.process_time() - cpu:.1f} CPU s, {wall_s:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
