"""Measure the retraining loop: false trainings, delays and releases, compared with other triggers.

    python tests/bench/bench_loop.py --quick|--full [--only NAME …] [--json FILE]

Worlds are simulated from a printed seed; `--seed` repeats the figures of an earlier run. Peers see
the same votes. The functions in `PARTS` measure the rows.
"""

from __future__ import annotations

import secrets
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.retraining.false_trainings import delay_rows, false_training_rows
from tests.bench.retraining.loop_size import LoopBenchmarkSize, MeasureRows
from tests.bench.retraining.releases import candidate_rows, promotion_rows
from tests.bench.retraining.years_of_drops import years_of_drops_rows
from tests.bench.rows import create_parser, run_parts

PARTS: dict[str, MeasureRows] = {
    "false-trainings": false_training_rows,
    "delays": delay_rows,
    "years-of-falls": years_of_drops_rows,
    "promotions": promotion_rows,
    "candidates": candidate_rows,
}


def main() -> int:
    parser = create_parser(__doc__, quick="fewer streams, at most a minute")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, help="seed of the simulation; default: random")
    parser.add_argument("--homes", type=int, help="simulated homes per row")
    parser.add_argument("--rates", type=int, nargs="+", default=[3, 30, 300], help="votes per day")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}")
    rates = (30,) if options.quick else tuple(options.rates)
    size = LoopBenchmarkSize(options.quick, seed, options.homes, rates)
    return run_parts({name: partial(PARTS[name], size) for name in options.only}, options.json)


if __name__ == "__main__":
    sys.exit(main())
