"""Cleaning: speed and quality beside the Handbook's steps, and planted copies.

    python tests/bench/bench_cleaning.py --quick|--full [--only NAME …] [--json FILE]

Needs the shared posts (`TWIN_SHARED_DATA`) and html2text (extra `bench`). CPU seconds of one
process, medians of interleaved rounds; everything that is drawn is seeded.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.cleaning.copies import planted
from tests.bench.cleaning.quality import quality
from tests.bench.cleaning.rows import Form, Row, Rows
from tests.bench.rows import bench_parser, heading, line, save

ROWS: dict[str, Rows] = {
    "quality": quality,
    "copies": planted,
}


def main() -> int:
    parser = bench_parser(__doc__, quick="fewer posts, at most a minute")
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    options = parser.parse_args()
    print(heading(name=76))
    rows: list[Row] = []
    for name in options.only:
        started, cpu = time.monotonic(), time.process_time()
        found = ROWS[name](Form(quick=options.quick))
        rows += found
        print("\n".join(line(row, sign="", name=76) for row in found))
        wall = time.monotonic() - started
        print(f"  ({name}: {time.process_time() - cpu:.1f} CPU s, {wall:.1f} s)", flush=True)
    if options.json:
        save(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
