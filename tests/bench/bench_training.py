"""Training: tokens/s beside TRL.

    python tests/bench/bench_training.py --quick|--full [--json FILE]

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
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import create_parser
from tests.bench.training.forms import FULL, QUICK
from tests.bench.training.material import material
from tests.bench.training.processes import NotMeasured
from tests.bench.training.rows import missing, show
from tests.bench.training.speed import speed


def main() -> int:
    options = create_parser(__doc__, quick="a tiny model, one turn").parse_args()
    chosen = FULL if options.full else QUICK
    if options.quick:
        print("quick form: a tiny model; ratios of speed without goals")
    handed = material(chosen)
    print(f"{'what':66} {'value':>9} {'unit':9} {'goal':>8}  holds peers", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        try:
            found, failed = speed(chosen, handed, Path(scratch)), False
        except NotMeasured as error:
            found, failed = [missing("speed", "", str(error), goal=0.0)], True
    print("\n".join(show(row, sign="≤" if " / " in row.name else "≥") for row in found))
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1), "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
