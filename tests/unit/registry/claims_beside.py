"""The gate's claim about the version that is stable, made up. Scope: no test."""

from __future__ import annotations

from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import Registry


def no_worse(version: int, *, ratio: float = 0.98, high: float | None = 0.99) -> GateClaim:
    """A ratio to that version, with the upper end of its interval."""
    return GateClaim(
        "not_worse_than_incumbent",
        ratio <= 1.05,
        ratio,
        1.05,
        f"{100 * (ratio - 1):+.1f} %",
        high=high,
        beside=f"v{version}",
    )


def beside_stable(registry: Registry, author: str, *, high: float = 0.99) -> tuple[GateClaim, ...]:
    """As the gate compares with whatever is stable now; nothing where nothing is."""
    stable = registry.stable_version(author)
    return () if stable is None else (no_worse(stable.version, high=high),)
