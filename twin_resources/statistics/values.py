"""Define the error for a number that the statistics cannot accept.

Scope: the error class.
Out of scope: settling scores (`twin_resources/quality/ledger`), inference from them.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError


class OutOfRangeError(TwinError):
    """A number is outside the range for which the guarantees are valid."""
