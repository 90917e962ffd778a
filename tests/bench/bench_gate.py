"""The gate: time to a gated model, what it has learned, which broken candidates it refuses.

    python tests/bench/bench_gate.py --quick|--full [--author NAME] [--set KEY=VALUE …]
                                     [--only NAME …] [--json FILE]

Needs the shared posts (`TWIN_SHARED_DATA`). `--full` trains SmolLM2-135M by the default recipe on
150,000 tokens of the shared author and has it judged as Dagster does: run it alone, for half an
hour. In `--quick` a tiny random model of every weight trained takes its place: every process is
real, and the goals of time and likelihood are its own.
`--set` is another recipe: `--set raw_share=.7 --set max_epochs=1` judges the candidate of it.
The dataset is made once and kept in `build/` (its time is not in the figures), and so is the judged
candidate, which `--only broken` looks at again. `--only likelihood` trains and reads, without a
gate. There is no peer of the gate as a whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.gate.broken import WAYS, broken_candidates
from tests.bench.gate.forms import FULL, QUICK, Form
from tests.bench.gate.gated import time_and_likelihood
from tests.bench.gate.likelihood import likelihood_alone
from tests.bench.rows import Row, create_parser, format_header, format_row, write_json
from tests.bench.training.material import BUNDLED_AUTHORS, SHARED_AUTHORS
from tests.bench.training.processes import NotMeasured
from tests.bench.training.rows import missing

ROWS: dict[str, Callable[[Form], list[Row]]] = {
    "time": time_and_likelihood,
    "likelihood": likelihood_alone,
}
BROKEN = "broken"
USUAL = ["time"]  # the others train for themselves
AT_LEAST = {"claims", "score"}  # units whose goals are lower bounds


def main() -> int:
    parser = create_parser(__doc__, quick="a tiny model")
    parser.add_argument(
        "--author", choices=sorted(SHARED_AUTHORS | BUNDLED_AUTHORS), default=FULL.author
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="of the recipe, as its YAML says it",
    )  # fmt: skip
    parser.add_argument(
        "--ways", nargs="+", choices=sorted(WAYS), default=list(WAYS), metavar="WAY",
        help=f"of breaking a candidate, for `--only broken`: {', '.join(WAYS)}",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=sorted([*ROWS, BROKEN]), default=USUAL)
    options = parser.parse_args()
    chosen = (FULL if options.full else QUICK).of(options.author, options.changes)
    if options.quick:
        print("quick form: a tiny model of random weights; its goals are scaled down")
    print(format_header(), flush=True)
    found: list[Row] = []
    failed = False
    for name in options.only:
        started = time.monotonic()
        try:
            rows = broken_candidates(chosen, options.ways) if name == BROKEN else ROWS[name](chosen)
        except NotMeasured as error:
            failed = True
            rows = [missing(name, "", str(error), goal=0.0)]
        print(
            "\n".join(
                format_row(row, goal_operator="≥" if row.unit in AT_LEAST else "≤") for row in rows
            )
        )
        print(f"  ({name}: {time.monotonic() - started:.0f} s)", flush=True)
        found += rows
        if options.json:  # after each part: a later one that fails takes nothing along
            write_json(found, options.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
