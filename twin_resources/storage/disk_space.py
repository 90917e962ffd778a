"""A full disk, told as what it is, whichever library met it.

Belongs here: recognising it in the errors of what writes here, and the sentence for the person.
Does not belong here: what stands afterwards. Everything here is published by renaming or in a
transaction, so a write that fails leaves what was there before.

Python says ENOSPC, or EDQUOT where a quota is used up; the libraries say it in words: Lance and
safetensors in Rust's (`os error 28`), SQLite in its own (https://www.sqlite.org/rescode.html#full).
"""
# pyright: strict

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from twin_resources.errors import TwinError

_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = ("no space left on device", "disk quota exceeded", "database or disk is full")


class DiskFull(TwinError):
    """There was no room for what was to be written; what stood before still stands."""


def is_full(error: BaseException) -> bool:
    """Whether this error says that a disk, or the quota on it, is used up."""
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    message = str(error).lower()
    return any(words in message for words in _WORDS)


@contextmanager
def told_when_full(tried: str, place: str | Path) -> Generator[None]:
    """Within it, an error of a full disk becomes a `DiskFull`; every other one passes.

    Args:
        tried: as a `TwinError` says it.
        place: the folder or address that was written to.

    Raises:
        DiskFull: the disk of `place` is full.
    """
    try:
        yield
    except TwinError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFull(
            tried,
            found=f"no space left on the disk of {place}",
            next_step="free space there and run it again; what was stored before is unchanged",
        ) from error
