"""A training script that only speaks: what rank 0 of a real one prints and tells Dagster Pipes.

Scope: the words of twelve steps. Out of scope: training. Started by a launcher as
`-m tests.live.training.spoken_steps --job job.json`; STEPS_FAIL=1 makes it die after the sixth.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from twin_assets.training.ranks import open_reporter

STEPS = 12


def values_of(step: int) -> dict[str, float]:
    return {
        "step": step,
        "steps": STEPS,
        "loss": 3.0 / step,
        "lr": 0.001 * step,
        "tokens_per_s": 700.0 + step,
        "grad_norm": 1.0,
        "rss_mb": 900 + step,
        "eta_s": STEPS - step,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=Path)
    job = parser.parse_args().job
    with open_reporter(is_main=os.environ.get("RANK", "0") == "0") as report:
        for step in range(1, STEPS + 1):
            report(f"progress {json.dumps(values_of(step))}")
            if step == 6 and os.environ.get("STEPS_FAIL"):
                raise SystemExit(5)
    (job.parent / "output").mkdir()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
