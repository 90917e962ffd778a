"""Join posts that continue one another into threads.

Scope: the first post of each thread.
Out of scope: which post answers which (importers).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping


def first_of_thread(parents: Mapping[str, str]) -> dict[str, str]:
    """Return each post's first post; a post that continues no other post here is its own.

    Args:
        parents: post → the post it continues; a post that is not a key of `parents` counts as none.
            Posts that continue one another in a circle (a damaged export) are each their own.
    """
    first: dict[str, str] = {}
    for post in parents:
        path: list[str] = []
        seen: set[str] = set()
        at = post
        while at not in first and at not in seen:
            seen.add(at)
            path.append(at)
            before = parents[at]
            if before not in parents:
                first[at] = at
            else:
                at = before
        if at not in first:  # a circle: the posts from `at` on
            begin = path.index(at)
            first.update({member: member for member in path[begin:]})
        first.update({member: first[at] for member in path if member not in first})
    return first
