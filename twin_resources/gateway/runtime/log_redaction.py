"""Remove the text of exceptions from LiteLLM's log records, and keep their type and location.

Scope: a filter on LiteLLM's loggers.
Out of scope: the gateway's own log lines, which contain no reader's text.

The text of an exception may contain the whole prompt. LiteLLM 1.106 logs a failed fallback with the
messages that were sent to it. Logs are kept, and erasure of a reader or a post does not search
them. A refusal is no error of LiteLLM's and is not logged here.
Filters: https://docs.python.org/3/library/logging.html#filter-objects
"""
# pyright: strict

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

from twin_resources.gateway.exchange.exchange import current_call

LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_MAX_CAUSES = 8


def remove_exception_text(names: tuple[str, ...] = LOGGERS) -> None:
    """Reduce exceptions in the records of these loggers to their type and location."""
    for name in names:
        logging.getLogger(name).addFilter(_redact_record)


def _redact_record(record: logging.LogRecord) -> bool:
    call = current_call.get(None)
    if call is not None and call.refusal is not None:
        return False  # the allow-list sends it, and logs what only the operator can remove
    error = record.exc_info[1] if record.exc_info else None
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = error or next(
        (argument for argument in arguments if isinstance(argument, BaseException)), None
    )
    if error is not None:
        causes = " from ".join(_describe_exception(cause) for cause in _iterate_causes(error))
        record.msg, record.args = f"{record.funcName}: {causes}", ()
        record.exc_info = record.exc_text = record.stack_info = None
    return True


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, and the exceptions that caused or preceded it."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _describe_exception(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    location = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{location}"
