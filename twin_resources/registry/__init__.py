"""Which version of which author is what: moves, claims, the policy that is served.

Scope: versions and their moves. Out of scope: whether a version deserves one
(`quality/release`).
"""
