"""Training: tokens/s beside TRL and transformers' Trainer, and the overhead of Dagster.

    python tests/bench/bench_training.py --quick|--full [--only NAME …] [--json FILE]

It needs the extra `bench` (trl) and the shared posts (`TWIN_SHARED_DATA`). `--full` trains
SmolLM2-135M on samples of the shared author, each runner in turn, three turns: run it alone. In
`--quick` a tiny random model takes its place: every process is real, and the ratios of speed, which
say nothing there, have no goal. Dataset and model are made once and kept in `build/`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.retraining.rows import Row
from tests.bench.rows import bench_parser
from tests.bench.training.forms import FULL, QUICK, Form
from tests.bench.training.material import Material, material
from tests.bench.training.overhead import overhead
from tests.bench.training.processes import NotMeasured
from tests.bench.training.rows import missing, show
from tests.bench.training.speed import speed

ROWS: dict[str, Callable[[Form, Material, Path], list[Row]]] = {
    "speed": speed,
    "overhead": overhead,
}


def main() -> int:
    parser = bench_parser(__doc__, quick="a tiny model, one turn")
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    options = parser.parse_args()
    chosen = FULL if options.full else QUICK
    if options.quick:
        print("quick form: a tiny model; ratios of speed without goals")
    handed = material(chosen)
    print(f"{'what':66} {'value':>9} {'unit':9} {'goal':>8}  holds peers", flush=True)
    found: list[Row] = []
    failed = False
    for name in options.only:
        started = time.monotonic()
        sys.stderr.write(f"{name}\n")
        with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
            try:
                rows = ROWS[name](chosen, handed, Path(scratch))
            except NotMeasured as error:
                failed = True
                rows = [missing(name, "", str(error), goal=0.0)]
        sign = "≥" if name == "speed" else "≤"
        print("\n".join(show(row, sign="≤" if " / " in row.name else sign) for row in rows))
        print(f"  ({name}: {time.monotonic() - started:.0f} s)", flush=True)
        found += rows
        if options.json:  # after each part: a later one that fails takes nothing along
            options.json.write_text(json.dumps([asdict(one) for one in found], indent=1), "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
