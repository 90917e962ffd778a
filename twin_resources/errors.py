"""Define the content of a user-facing error: the attempt, the cause and the next step.

Scope: the base class; a module subclasses it if callers distinguish cases.
Out of scope: the messages of individual modules, and logging.
"""
# pyright: strict

from __future__ import annotations


class TwinError(Exception):
    """An expected failure, worded for the person who must act on it.

    Args:
        tried: the attempted action, as a verb phrase ("read the posts in ~/blog").
        found: the cause of the failure ("the folder does not exist").
        next_step: the remedy, in the imperative ("specify an existing folder").
    """

    def __init__(self, tried: str, *, found: str, next_step: str) -> None:
        self.tried = tried
        self.found = found
        self.next_step = next_step
        super().__init__(f"Tried to {tried}. Found: {found}. Next: {next_step}.")
