"""The work of one item of several: what it fails of stays its own.

Scope: which failures are an item's, and which are everybody's. Out of scope: what
the items are, and how what is told of them is shown.
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
def isolate_failure(item: str, tell: Callable[[str], object]) -> Generator[None]:
    """Do the work of one item: if it fails, that is told, and the next item has its turn.

    What is damaged may raise anything: a Lance file an `OSError`, a manifest a `KeyError`. The
    state store is everybody's: its errors are raised, and nothing goes on.

    Args:
        item: whose work it is, with what follows from its failure.
        tell: is given one line: the item and the error.

    Raises:
        SQLAlchemyError, StateError: the state store failed.
    """
    try:
        yield
    except (SQLAlchemyError, StateError):
        raise
    except TwinError as error:
        tell(f"{item}: {error}")
    except Exception as error:  # noqa: BLE001 - told, logged with its place; the others go on
        _LOG.warning("%s", item, exc_info=True)
        tell(f"{item}: {type(error).__name__}: {error}")
