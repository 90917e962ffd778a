"""Compare the training speed (tokens/s) with TRL.

    python tests/bench/bench_training.py --quick|--full [--json FILE]

It requires the `bench` extra (trl) and the shared posts (`TWIN_SHARED_DATA`). `--full` trains
SmolLM2-135M on samples of the shared author, three times with each runner; run it alone. `--quick`
runs the same processes on a tiny random model; its speed ratios are not meaningful, so they have no
goals. The dataset and the model are created once and kept in `build/`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import create_parser, format_header, format_row, missing_row, write_json
from tests.bench.training.forms import FULL, QUICK
from tests.bench.training.material import material
from tests.bench.training.processes import NotMeasured
from tests.bench.training.speed import speed


def main() -> int:
    options = create_parser(__doc__, quick="a tiny model, one round").parse_args()
    size = FULL if options.full else QUICK
    if options.quick:
        print("quick mode: a tiny model; speed ratios have no goals")
    inputs = material(size)
    print(format_header(), flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        try:
            rows, failed = speed(size, inputs, Path(scratch)), False
        except NotMeasured as error:
            rows, failed = [missing_row("speed", "", str(error), goal=0.0)], True
    for row in rows:
        print(format_row(row, goal_operator="≤" if " / " in row.name else "≥"))
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    if options.json:
        write_json(rows, options.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
