"""Compare the training speed (tokens/s) with TRL's.

    python tests/bench/bench_training.py --quick|--full [--json FILE]

It requires the `bench` extra (trl) and the shared posts (`TWIN_SHARED_DATA`). `--full` trains
SmolLM2-135M on samples of the shared author, three times with each runner; run it alone. `--quick`
runs the same processes on a tiny random model; its speed ratios are not meaningful, so they have no
goals. The dataset and the model are created once and kept in `build/`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import create_parser, run_parts
from tests.bench.training.inputs import prepare_inputs
from tests.bench.training.sizes import FULL, QUICK
from tests.bench.training.speed import measure_speed


def main() -> int:
    options = create_parser(__doc__, quick="a tiny model, one round").parse_args()
    size = FULL if options.full else QUICK
    if options.quick:
        print("quick mode: a tiny model; speed ratios have no goals")
    inputs = prepare_inputs(size)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        return run_parts(
            {"speed": lambda: measure_speed(size, inputs, Path(scratch))},
            options.json,
            operator=lambda row: "≤" if " / " in row.name else "≥",
        )


if __name__ == "__main__":
    sys.exit(main())
