"""What no statistic here accepts.

Scope: the error of a number outside its range.
Out of scope: how scores become settled (`twin_resources/quality/ledger`), what is inferred
from them.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError


class ImpossibleValue(TwinError):
    """A number outside the range on which the guarantees rest."""
