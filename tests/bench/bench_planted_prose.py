"""Measure which planted sentences the check of prose lets through to a reader.

    python tests/bench/bench_planted_prose.py --quick|--full [--folder FOLDER] [--json FILE]

Each answer (`planted_prose/`) has one planted sentence: true, invented, turned by a negation, or a
"yes" for a "no". It passes the filter that the gateway uses, with the threshold that the gate's
calibration gives for a bundled author. A planted sentence is kept if the reader would see it. Only
this script reads the held-out answers, and it shows shares but no texts. Whoever wrote them did not
write the check. `--quick` uses the tuned half, `--full` the held-out one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.knowledge.corpus import load_embedder_home
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_assets.evaluation.measures.sentence_faithfulness import calibrate
from twin_resources.gateway.exchange.supported_prose import SupportedSentenceFilter
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.quality.judges.judge import cache_embeddings
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.support import sentence_spans
from twin_resources.quality.judges.texts import bundled_writers

FOLDER = Path(__file__).with_name("planted_prose")
MIN_KEPT, MIN_CAUGHT = 0.85, 0.95
KINDS = {
    "true": "true sentences kept",
    "invented": "invented sentences caught",
    "negated": "sentences turned by a negation caught",
    "yes_for_no": '"yes" for a "no" (or the reverse) caught',
}


def is_shown(row: dict[str, Any], judge: SentenceSupport, threshold: float) -> bool:
    """Return whether a reader would see the planted sentence of an answer."""
    sentence_filter = SupportedSentenceFilter(judge, threshold, row["passages"])
    shown = asyncio.run(sentence_filter.feed(row["answer"], is_final=True))
    return sentence_spans(row["answer"])[row["sentence"]].strip() in shown


def main(arguments: list[str] | None = None) -> int:
    parser = create_parser(__doc__, quick="the tuned half", full="the held-out half")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    name = "held_out" if options.full else "tuned"
    lines = (options.folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    embedder = load_embedder(load_embedder_home(), threads=1, allow_gpu=False)
    judge = SentenceSupport(cache_embeddings(embedder.embed), embedder=embedder.revision)
    (writer,) = (item for item in bundled_writers(exclude=()) if item.name == "mara-lindqvist")
    calibration = calibrate(judge, writer.passages)
    assert calibration is not None, "the bundled author has too few sentences"
    started = time.process_time()
    shown = [is_shown(row, judge, calibration.threshold) for row in rows]
    milliseconds = (time.process_time() - started) / len(rows) * 1e3
    results: list[Row] = []
    for kind, title in KINDS.items():
        flags = [value for value, row in zip(shown, rows, strict=True) if row["kind"] == kind]
        share = sum(flags) / len(flags)
        results.append(
            bounded_row(f"{title} ({name}, {len(flags)})", share, "share", at_least=MIN_KEPT)
            if kind == "true"
            else bounded_row(
                f"{title} ({name}, {len(flags)})", 1 - share, "share", at_least=MIN_CAUGHT
            )
        )
    alarms = calibration.false_alarms
    results.append(bounded_row("Mara's own sentences flagged", alarms.share, "share"))
    results.append(bounded_row("CPU of the check, an answer", milliseconds, "ms"))
    return print_results(results, options.json, operator=lambda _: "≥")


if __name__ == "__main__":
    raise SystemExit(main())
