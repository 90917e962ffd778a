"""Which version of which author is what: moves, claims, the policy that is served.

Belongs here: versions and their moves. Does not belong here: whether a version deserves one
(`quality/release`).
"""
