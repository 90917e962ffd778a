"""Isolate the failure of one item, so that work on the other items continues.

Scope: separating an item's failures from those that concern all items.
Out of scope: the items, and the display of their messages.
"""
# pyright: strict

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from twin_resources.errors import TwinError
from twin_resources.storage.state.state import StateError

_LOG = logging.getLogger(__name__)


@contextmanager
def isolate_failure(item: str, report: Callable[[str], object]) -> Generator[None]:
    """Run the `with` block for one item; report its failure instead of raising it.

    Damaged data may raise any error: a Lance file raises `OSError`, a manifest `KeyError`. All
    items share the state store, so errors of the store are raised and stop the work.

    Args:
        item: a description of the item, with the consequence of its failure.
        report: a function that receives one line with the item and the error.

    Raises:
        SQLAlchemyError, StateError: the state store failed.
    """
    try:
        yield
    except (SQLAlchemyError, StateError):
        raise
    except TwinError as error:
        report(f"{item}: {error}")
    except Exception as error:  # noqa: BLE001 - reported and logged; the others continue
        _LOG.warning("%s", item, exc_info=True)
        report(f"{item}: {type(error).__name__}: {error}")
