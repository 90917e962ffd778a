"""Logs of failed calls name the kind of the failure and never the words of a prompt."""

from __future__ import annotations

import io
import logging

import pytest

from twin_resources.gateway.runtime.log_redaction import LOGGERS, remove_exception_text

PROMPT = "How much oil does a clock need?"


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    """A logger with the filter, and what it writes."""
    logger = logging.Logger("twin-test-wordless")
    written = io.StringIO()
    logger.addHandler(logging.StreamHandler(written))
    logging.Logger.manager.loggerDict[logger.name] = logger
    remove_exception_text((logger.name,))
    return logger, written


def fail() -> None:
    try:
        raise ConnectionRefusedError(f"sent {PROMPT}")
    except ConnectionRefusedError as error:
        raise RuntimeError(f"fallback to {PROMPT} failed") from error


def test_an_exception_is_told_by_kind_and_place(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    try:
        fail()
    except RuntimeError as error:
        logger.exception("chat_completion(): %s", str(error))
        logger.error("Fallback also failed: %s", error)
    said = written.getvalue()
    assert PROMPT not in said
    assert said.count("RuntimeError") == 2
    assert said.count("from ConnectionRefusedError") == 2
    assert "test_log_redaction.py:" in said


def test_other_lines_stay(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.error("no deployment for %s", "ann/v1")
    assert written.getvalue() == "no deployment for ann/v1\n"


def test_litellms_loggers_have_these_names() -> None:
    from litellm import _logging as litellm_logging

    names = {
        litellm_logging.verbose_logger.name,
        litellm_logging.verbose_proxy_logger.name,
        litellm_logging.verbose_router_logger.name,
    }
    assert names == set(LOGGERS)
