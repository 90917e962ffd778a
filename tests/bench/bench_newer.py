"""Measure whether the newer of two passages answers first, and which dates of questions are ranges.

    python tests/bench/bench_newer.py --quick|--full CASES [--json FILE]

`--quick` measures the ranges, which need no model, `--full` also the pairs. CASES is a JSON file:

    {
      "pairs": [
        {
          "question": "Which oil do you use for the pivots?",
          "older": {"date": "2012-05-01", "title": "Oil for clocks", "text": "I use …"},
          "newer": {"date": "2021-03-09", "title": "A better oil", "text": "I have changed to …"}
        }
      ],
      "ranges": [
        {"question": "Your view in 2019?", "first": "2019-01-01", "last": "2019-12-31"},
        {"question": "Anything since 2024?", "first": "2024-01-01", "last": "2026-11-30"},
        {"question": "Did you use vim before 2010?", "first": null, "last": "2009-12-31"},
        {"question": "Is the 2019 MacBook any good?", "first": null, "last": null}
      ]
    }

Either list may be missing. A post is Markdown without its title as a heading. The posts of all
pairs are one author's, so each pair stands among the others. A pair is right if the first quotation
is of the newer post. `first` and `last` are the days that a question means, inclusive; `last` is at
most TODAY (2026-11-30), and null in both says that the question names no range of posts.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.bench_quotes import QuoteFinder, import_posts
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_resources.models.retrieval.date_ranges import find_date_range

AUTHOR = "writer"
TODAY = date(2026, 11, 30)
MIN_NEWER_FIRST, MIN_UNDERSTOOD, MAX_FALSE = 0.9, 0.9, 0.0


def pair_row(pairs: Sequence[dict[str, Any]]) -> Row:
    """Return the share of pairs whose newer post is quoted first, and print the others."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "posts"
        folder.mkdir()
        for number, pair in enumerate(pairs):
            for age in ("older", "newer"):
                post = pair[age]
                head = f"title: {json.dumps(post['title'])}\ndate: {post['date']}"
                file = folder / f"{number:03}-{age}.md"
                file.write_text(f"---\n{head}\n---\n\n{post['text']}\n", encoding="utf-8")
        finder = QuoteFinder(import_posts(Path(scratch) / "home", {AUTHOR: folder}))
        is_newer: list[bool] = []
        for pair in pairs:
            quotes = finder.ask(AUTHOR, [pair["question"]]).quotes
            first = f"{quotes[0].published_at:%Y-%m-%d} {quotes[0].title}" if quotes else "nothing"
            is_newer.append(first == f"{pair['newer']['date']} {pair['newer']['title']}")
            if not is_newer[-1]:
                sys.stdout.write(f"{pair['question']} → {first}\n")
    name = f"answered by the newer passage, of {len(pairs)} questions"
    return bounded_row(name, statistics.mean(is_newer), "share", at_least=MIN_NEWER_FIRST)


def range_rows(cases: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the shares of understood ranges and of false ones, and print what was wrong."""
    groups: dict[bool, list[bool]] = {True: [], False: []}
    for case in cases:
        wanted = tuple(case[name] and date.fromisoformat(case[name]) for name in ("first", "last"))
        found = find_date_range(case["question"], TODAY)
        days = (found.first, found.last) if found else (None, None)
        groups[any(wanted)].append(days == wanted)
        if days != wanted:
            sys.stdout.write(f"{case['question']} → {days[0]} to {days[1]}\n")
    rows: list[Row] = []
    if ranges := groups[True]:
        name = f"ranges of dates understood, of {len(ranges)}"
        rows.append(bounded_row(name, statistics.mean(ranges), "share", at_least=MIN_UNDERSTOOD))
    if traps := groups[False]:
        name = f"questions without a range in which one was read, of {len(traps)}"
        rows.append(bounded_row(name, 1 - statistics.mean(traps), "share", at_most=MAX_FALSE))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__, quick="the ranges alone", full="also the pairs")
    parser.add_argument("cases", type=Path)
    options = parser.parse_args(arguments)
    cases = json.loads(options.cases.read_text(encoding="utf-8"))
    rows = range_rows(cases.get("ranges", ()))
    if options.full and cases.get("pairs"):
        rows.append(pair_row(cases["pairs"]))
    return print_results(
        rows, options.json, operator=lambda row: "≤" if "without" in row.name else "≥"
    )


if __name__ == "__main__":
    sys.exit(main())
