"""The one shape of an error that a person reads: what was tried, what was found, what to do next.

Scope: the base class alone; a module subclasses it where callers tell cases apart.
Out of scope: messages of one module, logging.
"""
# pyright: strict

from __future__ import annotations


class TwinError(Exception):
    """An expected failure, worded for the person who must act on it.

    Args:
        tried: what the code was doing, as a clause ("read the posts in ~/blog").
        found: what it met instead ("the folder does not exist").
        next_step: what to do about it, in the imperative ("name an existing folder").
    """

    def __init__(self, tried: str, *, found: str, next_step: str) -> None:
        self.tried = tried
        self.found = found
        self.next_step = next_step
        super().__init__(f"Tried to {tried}. Found: {found}. Next: {next_step}.")
