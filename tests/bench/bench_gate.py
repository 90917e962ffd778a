"""Measure the gate: time to a verdict, and the candidate's likelihoods.

    python tests/bench/bench_gate.py --quick|--full [--author NAME]
                                     [--only NAME …] [--json FILE]

It requires the shared posts (`TWIN_SHARED_DATA`). `--full` trains SmolLM2-135M with the default
recipe on 150,000 tokens of the shared author and runs the gate with Dagster; run it alone, for half
an hour. `--quick` runs the same processes with a tiny random model, all of whose weights are
trained; it has different goals for time and likelihood. The dataset is created once and kept in
`build/`; creating it is not measured. `--only likelihood` trains and measures likelihoods, without
a gate. There is no peer. Which broken candidates the gate refuses is a test
(`tests/live/evaluation/test_broken_candidates.py`).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.gate.judged_candidate import time_and_likelihood_rows
from tests.bench.gate.likelihood import likelihood_rows
from tests.bench.gate.sizes import FULL, QUICK
from tests.bench.rows import create_parser, run_parts
from tests.bench.training.inputs import BUNDLED_AUTHORS, SHARED_AUTHORS

PARTS = {"time": time_and_likelihood_rows, "likelihood": likelihood_rows}
DEFAULT_PARTS = ["time"]  # the other part trains further candidates
LOWER_BOUND_UNITS = {"claims"}  # units whose goals are lower bounds


def main() -> int:
    parser = create_parser(__doc__, quick="a tiny model")
    parser.add_argument(
        "--author", choices=sorted(SHARED_AUTHORS | BUNDLED_AUTHORS), default=FULL.author
    )
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=DEFAULT_PARTS)
    options = parser.parse_args()
    size = (FULL if options.full else QUICK).with_author(options.author)
    if options.quick:
        print("quick mode: a tiny model with random weights; its goals are scaled down")
    return run_parts(
        {name: partial(PARTS[name], size) for name in options.only},
        options.json,
        operator=lambda row: "≥" if row.unit in LOWER_BOUND_UNITS else "≤",
    )


if __name__ == "__main__":
    sys.exit(main())
