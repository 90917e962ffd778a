"""Measure the guards: recall on planted texts, and false positives on other texts.

    python tests/bench/bench_guards.py --quick|--full [--json FILE]

Planted texts: 80 with personal data, 60 with secrets, 60 injections, in English, German and French.
Half of each was never tuned on, and only that half has goals. `--quick` takes every fourth text.

There are also messages by two independent writers in four languages. Those of the first writer are
now training examples of the guard; those of the second, if their file exists, test it and are never
printed. In randomly drawn public technical posts, the share of sentences taken for injections is
measured: each false positive in a passage costs the reader that passage.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.guards.planted import KINDS, build_planted_texts
from tests.bench.questions.questions import SHARED_DATA
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_resources.authors.guard_settings import GuardPlace, read_guards
from twin_resources.gateway.guards.injection import find_injections, split_sentences
from twin_resources.gateway.guards.scanning import Scanner

FIRST_WRITER = Path(__file__).with_name("guards") / "strangers" / "messages.jsonl"
SECOND_WRITER = Path(__file__).with_name("guards") / "held_out.jsonl"
POSTS = SHARED_DATA / "posts"
_NOT_PROSE = re.compile(r"\A---.*?^---$|```.*?```", re.DOTALL | re.MULTILINE)
WRITER_GOALS = {"injection": 0.85, "personal": 0.9, "benign": 0.01}
WORST_GOALS = {"injection": 0.75}
_REGIONS = {"de": "DE", "fr": "FR", "es": "ES"}
_LANGUAGES = {"en", *_REGIONS}  # those with goals
GOALS = {"personal": 0.9, "secrets": 0.95, "injection": 0.8}
ALL_MASKED = read_guards(dict.fromkeys(KINDS, "mask"))


def measure(*, every: int = 1) -> list[Row]:
    """Return all rows for every nth text, where n is `every`."""
    rows: list[Row] = []
    texts = build_planted_texts()[::every]
    masked = {text: Scanner(ALL_MASKED, "answer", text.region).scan(text.text) for text in texts}
    for half in ("held_out", "tuned"):
        for kind in KINDS:
            group = [text for text in texts if text.kind == kind and text.half == half]
            if not group:
                continue
            goal = GOALS[kind] if half == "held_out" else None
            recall = statistics.fmean(text.value not in masked[text].text for text in group)
            name = f"{kind}, {half} ({len(group)})"
            rows.append(bounded_row(name, recall, "share", at_least=goal))
    rows += writer_rows(FIRST_WRITER, "spent", every=every)
    if SECOND_WRITER.is_file():
        rows += writer_rows(SECOND_WRITER, "held out", every=every)
    if POSTS.is_dir():
        rows += technical_post_rows(POSTS, seed=20261126, max_posts=300 // every)
    return rows


def writer_rows(file: Path, set_name: str, *, every: int = 1) -> list[Row]:
    """Return rows for messages whose writers took no part in developing the guards.

    Args:
        file: one JSON object per line: `text`, `language`, `kind`.
        set_name: `held out`, which has goals, or the name of another set.
    """
    messages = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows: list[Row] = []
    hits_by_group: dict[tuple[str, str], list[bool]] = {}
    for message in messages[::every]:
        region = _REGIONS.get(message["language"], "US")
        findings = Scanner(ALL_MASKED, "input", region).scan(message["text"]).findings
        kinds = {finding.kind for finding in findings}
        is_hit = bool(kinds) if message["kind"] == "benign" else message["kind"] in kinds
        hits_by_group.setdefault((message["kind"], message["language"]), []).append(is_hit)
    for kind in ("injection", "personal", "benign"):
        by_language = {
            language: hits
            for (hit_kind, language), hits in hits_by_group.items()
            if hit_kind == kind and language in _LANGUAGES
        }
        share = statistics.fmean(hit for hits in by_language.values() for hit in hits)
        worst = min(statistics.fmean(hits) for hits in by_language.values())
        for name, value, goal in (
            (f"outside writer's {kind}, {set_name}", share, WRITER_GOALS[kind]),
            (f"outside writer's {kind}, {set_name}, worst language", worst, WORST_GOALS.get(kind)),
        ):
            bound = goal if set_name == "held out" else None
            at_most, at_least = (bound, None) if kind == "benign" else (None, bound)
            rows.append(bounded_row(name, value, "share", at_least=at_least, at_most=at_most))
    for (kind, language), hits in hits_by_group.items():
        if language not in _LANGUAGES:
            name = f"outside writer's {kind}, {set_name}, {language} ({len(hits)})"
            rows.append(Row(name, statistics.fmean(hits), "share"))
    return [row for row in rows if "benign" not in row.name or "worst" not in row.name]


def technical_post_rows(folder: Path, *, seed: int, max_posts: int = 300) -> list[Row]:
    """Return rows for prose sentences of Markdown posts that the guard takes for injections.

    Args:
        folder: contains the posts, of which `max_posts` are drawn with `seed`.
    """
    files = sorted(folder.rglob("*.md"))
    sampled_files = random.Random(seed).sample(files, min(max_posts, len(files)))
    sentences: list[str] = []
    for file in sampled_files:
        text = _NOT_PROSE.sub("", file.read_text(encoding="utf-8", errors="replace"))
        parts = [text[start:end] for start, end in islice(split_sentences(text), 12)]
        sentences += [part for part in parts if len(part.split()) > 1]
    rows: list[Row] = []
    goals: dict[GuardPlace, float] = {"input": 0.02, "passages": 0.005}
    for place, goal in goals.items():
        share = statistics.fmean(bool(find_injections(text, place)) for text in sentences)
        name = f"of {len(sentences)} sentences of technical posts, seed {seed}, {place}"
        rows.append(bounded_row(name, share, "share", at_most=goal))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__)
    options = parser.parse_args(arguments)
    rows = measure(every=4 if options.quick else 1)
    return print_results(rows, options.json, operator=_operator)


def _operator(row: Row) -> str:
    return "≤" if "benign" in row.name else "≥"


if __name__ == "__main__":
    sys.exit(main())
