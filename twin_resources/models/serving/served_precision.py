"""What served weights are stored in, and how far their answers may be from the reference's.

Belongs here: the limits, and the name of a precision in an engine's name. Does not belong here:
writing such files (`storage/weights/kept_converter.py`), measuring (`served_proof.py`, the gate's
`served_parity`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

F16 = "f16"
OWN, STORED = "xllamacpp", ", weights in "  # of an engine's name
# Mean and largest difference of log-probabilities in nats. f16 holds nearly all that a bf16 model
# has: a difference is a mistake; q8_0 rounds a weight to 1/254 of the largest of 32 neighbours.
LIMITS: Mapping[str, tuple[float, float]] = {F16: (0.01, 0.05), "q8_0": (0.05, 0.5)}


def limits_of(precision: str) -> tuple[float, float]:
    """Mean and largest; of a precision that is not listed those of f16."""
    return LIMITS.get(precision, LIMITS[F16])


def engine_name(version: str, precision: str) -> str:
    """Name of our servers' engine; the precision is said where it is not f16."""
    return f"{OWN} {version}" + ("" if precision in {F16, ""} else f"{STORED}{precision}")


def precision_of(engine: str) -> str:
    """What the weights behind an engine's name are stored in; empty: a server that is not ours."""
    if not engine.startswith(OWN):
        return ""
    return engine.partition(STORED)[2] or F16
