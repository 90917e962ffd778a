"""Test that logs of failed calls name the type of the error without its text."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import pytest

from tests.unit.gateway.exchanges import create_call
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.exchange.exchange import current_call
from twin_resources.gateway.runtime.log_redaction import LOGGERS, remove_exception_text

PROMPT = "How much oil does a clock need?"


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    """Return a logger with the filter and its output."""
    logger = logging.Logger("twin-test-wordless")
    output = io.StringIO()
    logger.addHandler(logging.StreamHandler(output))
    logging.Logger.manager.loggerDict[logger.name] = logger
    remove_exception_text((logger.name,))
    return logger, output


def fail() -> None:
    try:
        raise ConnectionRefusedError(f"sent {PROMPT}")
    except ConnectionRefusedError as error:
        raise RuntimeError(f"fallback to {PROMPT} failed") from error


def test_an_exception_is_logged_by_type_and_location(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, output = log
    try:
        fail()
    except RuntimeError as error:
        logger.exception("chat_completion(): %s", str(error))
        logger.error("Fallback also failed: %s", error)
    log_text = output.getvalue()
    assert PROMPT not in log_text
    assert log_text.count("RuntimeError") == 2
    assert log_text.count("from ConnectionRefusedError") == 2
    assert "test_log_redaction.py:" in log_text


def test_other_messages_are_not_changed(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, output = log
    logger.error("no deployment for %s", "ann/v1")
    assert output.getvalue() == "no deployment for ann/v1\n"


def test_a_refusal_is_not_logged_as_an_error(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, output = log
    refusal = RefusedError(429, "key_busy", "Wait.")
    token = current_call.set(replace(create_call(), refusal=refusal))
    try:
        logger.error("a call failed")
    finally:
        current_call.reset(token)
    assert output.getvalue() == ""


def test_all_loggers_of_litellm_are_filtered() -> None:
    from litellm import _logging as litellm_logging

    names = {
        litellm_logging.verbose_logger.name,
        litellm_logging.verbose_proxy_logger.name,
        litellm_logging.verbose_router_logger.name,
    }
    assert names == set(LOGGERS)
