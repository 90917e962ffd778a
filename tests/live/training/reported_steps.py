"""Print and report to Dagster Pipes as rank 0 does, without training.

Scope: the messages of twelve steps. A launcher starts it with
`-m tests.live.training.reported_steps --job job.json`; with STEPS_FAIL=1, step 6 is the last.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from twin_assets.training.ranks import open_reporter

STEP_COUNT = 12


def build_step_values(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "steps": STEP_COUNT,
        "loss": 3.0 / step,
        "lr": 0.001 * step,
        "tokens_per_s": 700.0 + step,
        "grad_norm": 1.0,
        "rss_mb": 900 + step,
        "eta_s": [STEP_COUNT - step, 2 * (STEP_COUNT - step)],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=Path)
    job = parser.parse_args().job
    with open_reporter(is_main=os.environ.get("RANK", "0") == "0") as report:
        for step in range(1, STEP_COUNT + 1):
            report(f"progress {json.dumps(build_step_values(step))}")
            if step == 6 and os.environ.get("STEPS_FAIL"):
                raise SystemExit(5)
    (job.parent / "output").mkdir()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
