"""Create gate claims that compare a version with the stable version; this module has no test."""

from __future__ import annotations

from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import Registry


def make_no_worse_claim(
    version: int, *, ratio: float = 0.98, high: float | None = 0.99
) -> GateClaim:
    """Return the claim with a ratio to the version and the upper end of its interval."""
    return GateClaim(
        "not_worse_than_incumbent",
        ratio <= 1.05,
        ratio,
        1.05,
        f"{100 * (ratio - 1):+.1f} %",
        high=high,
        beside=f"v{version}",
    )


def make_stable_claims(
    registry: Registry, author: str, *, high: float = 0.99
) -> tuple[GateClaim, ...]:
    """Return the claim about the author's stable version, or nothing without one."""
    stable = registry.stable_version(author)
    return () if stable is None else (make_no_worse_claim(stable.version, high=high),)
