"""Find the threads that are formed by posts that continue each other.

Scope: the first post of each thread.
Out of scope: finding the links between posts, and joining their texts (importers).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping


def find_thread_roots(parents: Mapping[str, str]) -> dict[str, str]:
    """Map each post to the first post of its thread, which may be the post itself.

    Args:
        parents: the post that each post continues; a value that is not a key is ignored.
            In a cycle of posts (a damaged export), each post is its own first post.
    """
    roots: dict[str, str] = {}
    for post in parents:
        path: list[str] = []
        visited: set[str] = set()
        current = post
        while current not in roots and current not in visited:
            visited.add(current)
            path.append(current)
            parent = parents[current]
            if parent not in parents:
                roots[current] = current
            else:
                current = parent
        if current not in roots:  # a cycle that contains the posts from `current` on
            cycle_start = path.index(current)
            roots.update({member: member for member in path[cycle_start:]})
        roots.update({member: roots[current] for member in path if member not in roots})
    return roots
