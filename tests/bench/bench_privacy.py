"""Personal data: what of it is found, and what is touched without need.

    python tests/bench/bench_privacy.py --quick|--full [--posts FOLDER] [--json FILE]
    python tests/bench/bench_privacy.py --folder PATH [--kinds phone,ssn] [--json FILE]

`--folder` takes any folder of texts, cleans them as an import does, prints each replacement (kind,
language, file, what stands around it) and the counts by kind: whoever reads them has the precision
on that folder. The texts are shown as they are: the output is for the screen.

Made-up values (`tests/unit/privacy/plants.py`, seeded) are put into real posts, one a passage of
1,000 characters, at a random space. A value counts as found when one span of its own kind covers
it whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, print_results
from tests.unit.privacy.plants import Plant, plants
from twin_assets.corpus.cleaning import normalize_text
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.language import detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_resources.privacy import KINDS, find_personal_data, redact

ROOT = Path(__file__).resolve().parents[2]
RECALL, TOUCHED = 0.9, 0.05
PASSAGE = 1_000  # characters
HINTS = ("de", "fr", "es", "it", "nl", "sv", "fi", "ja", "zh")  # the most numbers of their own
FRONT_MATTER = re.compile(r"\A\ufeff?(---|\+\+\+)\s*\n.*?\n(?:\1|\.\.\.)\s*\n", re.DOTALL)
CLEANED = {".md": clean_markdown, ".markdown": clean_markdown, ".mdx": clean_markdown}
CLEANED |= {".html": clean_html, ".htm": clean_html}
AS_THEY_ARE = (".txt", ".rst", ".adoc", ".asc", ".org", ".textile", ".dj")
LARGEST = 2_000_000  # bytes of a file
BEFORE, AFTER = 50, 30  # characters shown around a replacement


def read_posts(folder: Path) -> list[str]:
    suffixes = (".md", ".markdown", ".html")
    found = sorted(file for file in folder.rglob("*") if file.suffix in suffixes)
    return [file.read_text("utf-8", errors="replace") for file in found]


def planted(posts: Sequence[str], *, each: int) -> list[tuple[str, Plant, int]]:
    """(passage with the plant, plant, where its value starts)."""
    chance = random.Random(7)
    long = [post for post in posts if len(post) > 2 * PASSAGE]
    found: list[tuple[str, Plant, int]] = []
    for plant in plants(11, each=each):
        post = chance.choice(long)
        start = chance.randrange(len(post) - PASSAGE)
        passage = post[start : start + PASSAGE]
        spaces = [at for at, one in enumerate(passage) if one.isspace()] or [0]
        at = chance.choice(spaces)
        before = passage[:at] + " " + plant.before
        text = before + plant.value + plant.after + " " + passage[at:]
        found.append((text, plant, len(before)))
    return found


def recalls(cases: Sequence[tuple[str, Plant, int]]) -> dict[str, float]:
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for text, plant, start in cases:
        end = start + len(plant.value)
        spans = find_personal_data(text, region=plant.region)
        hit = any(s.start <= start and s.end >= end and s.kind == plant.kind for s in spans)
        found[plant.group].append(hit)
    return {group: statistics.fmean(hits) for group, hits in found.items()}


def recall_rows(posts: Sequence[str], *, each: int) -> list[Row]:
    cases = planted(posts, each=each)
    counts = Counter(plant.group for _, plant, _ in cases)
    found = recalls(cases)
    rows = [
        Row(
            f"recall of {group}, {count} planted",
            round(value, 4),
            "",
            RECALL,
            value >= RECALL,
        )
        for (group, value), count in zip(found.items(), counts.values(), strict=True)
    ]
    phones = [value for group, value in found.items() if group.startswith("phone")]
    mean = statistics.fmean(phones)
    return [*rows, Row("recall of phone, mean of the four ways", mean, "", RECALL, mean >= RECALL)]


def touched_rows(posts: Sequence[str]) -> list[Row]:
    """The hint is the language, as cleaning gives it."""
    languages = [detect_language(post) for post in posts]
    pairs = zip(posts, languages, strict=True)
    touched = sum(bool(redact(post, region=language).counts) for post, language in pairs)
    share = touched / len(posts)
    of = {hint: _share_touched(posts, hint) for hint in HINTS}
    worst = max(of, key=lambda hint: of[hint])
    return [
        Row(
            f"share of {len(posts)} clean posts touched",
            share,
            "",
            TOUCHED,
            share <= TOUCHED,
        ),
        Row(
            f"the same as if all were written in {worst!r}, the worst of {len(HINTS)}",
            of[worst],
            "",
            TOUCHED,
            of[worst] <= TOUCHED,
        ),
    ]


def texts_of(folder: Path) -> Iterator[tuple[str, str]]:
    """(path, text as an import would clean it) of each file that holds prose."""
    for file in sorted(folder.rglob("*")):
        suffix = file.suffix.lower()
        if suffix not in CLEANED and suffix not in AS_THEY_ARE:
            continue
        if not file.is_file() or file.stat().st_size > LARGEST:
            continue
        text = normalize_text(file.read_text("utf-8", errors="replace"))
        if suffix in CLEANED:
            text = normalize_text(CLEANED[suffix](FRONT_MATTER.sub("", text), title=""))
        yield str(file.relative_to(folder)), text


def folder_rows(folder: Path, kinds: Sequence[str]) -> list[Row]:
    """Print each replacement in a folder, and count them by kind."""
    counts: Counter[str] = Counter()
    texts = touched = characters = 0
    for path, text in texts_of(folder):
        language = detect_language(text)
        spans = [one for one in find_personal_data(text, region=language) if one.kind in kinds]
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


def _share_touched(posts: Sequence[str], hint: str) -> float:
    return sum(bool(redact(post, region=hint).counts) for post in posts) / len(posts)


def show(row: Row) -> str:
    better = "" if row.goal is None else f"{'≤' if row.goal < RECALL else '≥'} {row.goal:g}"
    return f"{row.name:76} {row.value:8.4g} {row.unit:9} {better:>7}  {row.holds!s:5}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help="every fifth post, fewer plants")
    form.add_argument("--full", action="store_true")
    shared = os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data")
    form.add_argument("--folder", type=Path, help="print each replacement in this folder")
    parser.add_argument("--kinds", default=",".join(KINDS), help="with --folder: these only")
    parser.add_argument("--posts", type=Path, default=Path(shared) / "posts")
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
    print(f"{'what':76} {'value':>8} {'unit':9} {'goal':>7}  holds")
    rows = [
        *touched_rows(posts),
        *recall_rows(posts, each=50 if options.quick else 500),
    ]
    print("\n".join(show(row) for row in rows))
    wall = time.monotonic() - started
    print(f"  ({len(posts)} posts: {time.process_time() - cpu:.1f} CPU s, {wall:.1f} s)")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
