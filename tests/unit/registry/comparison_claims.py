"""Build gate claims that compare a version with the stable version; this module has no tests."""

from __future__ import annotations

from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import Registry


def make_no_worse_claim(
    version: int, *, ratio: float = 0.98, high: float | None = 0.99
) -> GateClaim:
    """Build the claim with the ratio to the version and the upper end of its interval."""
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
    """Build the claims about the author's stable version; empty without one."""
    stable = registry.stable_version(author)
    return () if stable is None else (make_no_worse_claim(stable.version, high=high),)
