"""What served weights are stored in, and how far their answers may be from the reference's.

Scope: the limits, and the name of a precision in an engine's name. Out of scope:
writing such files (`storage/weights/kept_converter.py`), measuring (`serving_parity.py`, the gate's
`served_parity`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

F16 = "f16"
FP16, BF16 = "fp16", "bf16"
OWN, STORED = "xllamacpp", ", weights in "  # of an engine's name
# Mean and largest difference of log-probabilities in nats, for weights (f16, q8_0, computed with in
# fp32) and for computing (fp16, bf16: `--dtype` of a server elsewhere). f16 holds nearly all that a
# bf16 model has: a difference is a mistake; q8_0 rounds a weight to 1/254 of the largest of 32
# neighbours. Measured of SmolLM2-135M (960 values): fp16 .0061 and .046, bf16 .054 and .49
# (`deploy/docs/deployment.md`); adapter rows in the wrong order are off by .12 on average.
LIMITS: Mapping[str, tuple[float, float]] = {
    F16: (0.01, 0.05),
    FP16: (0.02, 0.15),
    BF16: (0.1, 0.6),
    "q8_0": (0.05, 0.5),
}


def limits_of(precision: str) -> tuple[float, float]:
    """Mean and largest; of a precision that is not listed those of f16."""
    return LIMITS.get(precision, LIMITS[F16])


def engine_name(version: str, precision: str) -> str:
    """Name of our servers' engine; the precision is said where it is not f16."""
    return f"{OWN} {version}" + ("" if precision in {F16, ""} else f"{STORED}{precision}")


def elsewhere_name(server: str, precision: str) -> str:
    """Name of an engine that is not ours; the precision is said where a person said it."""
    return f"{server}{STORED}{precision}" if precision else server


def precision_elsewhere(said: str, base: str | Path) -> str:
    """What a server elsewhere computes in.

    Args:
        said: `TWIN_MODEL_SERVER_PRECISION`.
        base: transformers folder of the base model. No route of vLLM's tells what it computes in;
            with `--dtype auto` it is bf16 where the configuration names bf16.
    """
    path = Path(base) / "config.json"
    if said or not path.is_file():
        return said or FP16
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    stored = str(config.get("dtype") or config.get("torch_dtype") or "")
    return BF16 if stored == "bfloat16" else FP16


def precision_of(engine: str) -> str:
    """What the weights behind an engine's name are stored in; empty: a server that is not ours, of
    which nobody said it."""
    said = engine.partition(STORED)[2]
    return said or (F16 if engine.startswith(OWN) else "")
