"""Join posts that continue one another into threads.

Scope: the first post of each thread.
Out of scope: which post answers which (importers).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping


def thread_roots(parents: Mapping[str, str]) -> dict[str, str]:
    """Return each post's first post; a post that continues no other post here is its own.

    Args:
        parents: post → the post it continues; a post that is not a key of `parents` counts as none.
            Posts that continue one another in a circle (a damaged export) are each their own.
    """
    roots: dict[str, str] = {}
    for post in parents:
        path: list[str] = []
        seen: set[str] = set()
        current = post
        while current not in roots and current not in seen:
            seen.add(current)
            path.append(current)
            parent = parents[current]
            if parent not in parents:
                roots[current] = current
            else:
                current = parent
        if current not in roots:  # a circle: the posts from `current` on
            begin = path.index(current)
            roots.update({member: member for member in path[begin:]})
        roots.update({member: roots[current] for member in path if member not in roots})
    return roots
