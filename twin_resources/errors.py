"""Define the content of a user-facing error: the attempt, the cause and the next step.

Scope: the base class, which a module subclasses if callers distinguish cases, and the error about
data of a newer release.
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


def check_schema(
    tried: str,
    version: int,
    supported: int,
    *,
    next_step: str = "run the newer llm-twin that wrote it",
) -> None:
    """Check that this code supports the schema version of stored data.

    Raises:
        TwinError: a newer release wrote the data.
    """
    if version > supported:
        found = f"schema version {version}; this code reads up to {supported}"
        raise TwinError(tried, found=found, next_step=next_step)
