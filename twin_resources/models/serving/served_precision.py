"""Define the precisions of served weights and how far answers may differ from the reference.

Scope: the limits, and the name of a precision in an engine's name. Out of scope: writing the
files (`storage/weights/gguf.py`), measuring (`serving_parity.py`, the gate's
`served_parity`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

F16 = "f16"
FP32, FP16, BF16 = "fp32", "fp16", "bf16"
LOCAL_ENGINE, PRECISION_SEPARATOR = "xllamacpp", ", weights in "  # parts of an engine name
# Limits on the mean and the largest difference in log-probability, in nats. f16 and q8_0 are the
# precisions of stored weights; the computation uses fp32. fp32, fp16 and bf16 are precisions of the
# computation (`--dtype` of an external server). f16 represents a bf16 model almost exactly, so a
# difference indicates a bug. q8_0 changes a weight by at most 1/254 of the largest in its block of
# 32. On 960 values, SmolLM2-135M differs by .0061 and .046 in fp16, and by .054 and .49 in bf16
# (`deploy/docs/deployment.md`). Adapter rows in the wrong order cause a mean difference of .12.
LIMITS: Mapping[str, tuple[float, float]] = {
    F16: (0.01, 0.05),
    FP32: (0.01, 0.05),
    FP16: (0.02, 0.15),
    BF16: (0.1, 0.6),
    "q8_0": (0.05, 0.5),
}


def precision_limits(precision: str) -> tuple[float, float]:
    """Return the limits (mean, largest) of a precision; f16's limits for an unlisted precision."""
    return LIMITS.get(precision, LIMITS[F16])


def local_engine_name(precision: str) -> str:
    """Return the name and version of this home's llama.cpp server, with a precision except f16."""
    suffix = "" if precision in {F16, ""} else f"{PRECISION_SEPARATOR}{precision}"
    return f"{LOCAL_ENGINE} {installed_version(LOCAL_ENGINE)}{suffix}"


def external_precision(setting: str, base_folder: str | Path) -> str:
    """Return the precision in which an external server computes.

    Args:
        setting: value of `TWIN_MODEL_SERVER_PRECISION`.
        base_folder: transformers folder of the base model. vLLM does not report its precision. With
            `--dtype auto`, vLLM computes in bf16 if the folder's configuration specifies bf16.
    """
    path = Path(base_folder) / "config.json"
    if setting or not path.is_file():
        return setting or FP16
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "")
    return BF16 if dtype == "bfloat16" else FP16


def parse_precision(engine: str) -> str:
    """Return the precision in an engine name, or "" for an external server without one."""
    precision = engine.partition(PRECISION_SEPARATOR)[2]
    return precision or (F16 if engine.startswith(LOCAL_ENGINE) else "")
