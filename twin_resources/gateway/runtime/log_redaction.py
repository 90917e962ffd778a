"""What LiteLLM writes into the gateway's log when a call fails: where and what kind, no words.

Scope: a filter on its loggers. Out of scope: our own lines, which hold no text of a
reader to begin with.

The text of an exception may hold the whole prompt: a fallback that failed as well is told with the
messages it was sent (LiteLLM 1.106). A log is kept, and nobody looks there when a reader or a post
is to be forgotten.
Filters: https://docs.python.org/3/library/logging.html#filter-objects
"""
# pyright: strict

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_MAX_CAUSES = 8


def keep_words_out(names: tuple[str, ...] = LOGGERS) -> None:
    """Reduce records of these loggers that tell of an exception to its kind and its place."""
    for name in names:
        logging.getLogger(name).addFilter(_reduce)


def _reduce(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = error or next(
        (argument for argument in arguments if isinstance(argument, BaseException)), None
    )
    if error is not None:
        causes = " from ".join(_kind_and_place(cause) for cause in _causes(error))
        record.msg, record.args = f"{record.funcName}: {causes}", ()
        record.exc_info = record.exc_text = record.stack_info = None
    return True


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from or met while handling."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _kind_and_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"
