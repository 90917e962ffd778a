"""The gate: time to a verdict, the candidate's likelihoods, and the refusal of broken candidates.

    python tests/bench/bench_gate.py --quick|--full [--author NAME]
                                     [--only NAME …] [--json FILE]

Needs the shared posts (`TWIN_SHARED_DATA`). `--full` trains SmolLM2-135M by the default recipe on
150,000 tokens of the shared author and runs the gate with Dagster; run it alone, for half an hour.
`--quick` trains every weight of a tiny random model: every process is real, but the goals of time
and likelihood differ. The dataset is made once and kept in `build/` (its time is not in the
figures). The judged candidate is kept too, and `--only broken` uses it. `--only likelihood` trains
and measures likelihoods, without a gate. There is no peer of the gate as a whole.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.gate.broken import broken_candidates
from tests.bench.gate.forms import FULL, QUICK
from tests.bench.gate.gated import time_and_likelihood
from tests.bench.gate.likelihood import likelihood_alone
from tests.bench.rows import create_parser, run_parts
from tests.bench.training.material import BUNDLED_AUTHORS, SHARED_AUTHORS

PARTS = {
    "time": time_and_likelihood,
    "likelihood": likelihood_alone,
    "broken": broken_candidates,
}
DEFAULT_PARTS = ["time"]  # each other part trains candidates of its own
AT_LEAST = {"claims", "score"}  # units whose goals are lower bounds


def main() -> int:
    parser = create_parser(__doc__, quick="a tiny model")
    parser.add_argument(
        "--author", choices=sorted(SHARED_AUTHORS | BUNDLED_AUTHORS), default=FULL.author
    )
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=DEFAULT_PARTS)
    options = parser.parse_args()
    form = (FULL if options.full else QUICK).of(options.author)
    if options.quick:
        print("quick form: a tiny model with random weights; its goals are scaled down")
    return run_parts(
        {name: partial(PARTS[name], form) for name in options.only},
        options.json,
        sign=lambda row: "≥" if row.unit in AT_LEAST else "≤",
    )


if __name__ == "__main__":
    sys.exit(main())
