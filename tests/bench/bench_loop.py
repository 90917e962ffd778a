"""The retraining loop: false retrainings, delays and releases, compared with other triggers.

    python tests/bench/bench_loop.py --quick|--full [--only NAME …] [--json FILE]

Worlds are drawn from a printed seed; `--seed` gives the same figures again. Peers see the same
votes. Rows come from functions `(Form) -> list[Row]`, listed in `ROWS`.
"""

from __future__ import annotations

import secrets
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.retraining.false_trainings import delays, false_trainings
from tests.bench.retraining.releases import candidates, promotions
from tests.bench.retraining.rows import Form, MeasureRows
from tests.bench.retraining.years_of_falls import years_of_falls
from tests.bench.rows import create_parser, run_parts

ROWS: dict[str, MeasureRows] = {
    "false-trainings": false_trainings,
    "delays": delays,
    "years-of-falls": years_of_falls,
    "promotions": promotions,
    "candidates": candidates,
}


def main() -> int:
    parser = create_parser(__doc__, quick="fewer streams, at most a minute")
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--seed", type=int, help="of the worlds; default: a random seed")
    parser.add_argument("--homes", type=int, help="homes of each row; default: the form's number")
    parser.add_argument("--rates", type=int, nargs="+", default=[3, 30, 300], help="votes a day")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}")
    form = Form(
        options.quick, seed, options.homes, (30,) if options.quick else tuple(options.rates)
    )
    return run_parts({name: partial(ROWS[name], form) for name in options.only}, options.json)


if __name__ == "__main__":
    sys.exit(main())
