"""Find text in an answer that looks like personal data or secrets.

Scope: one pure function; its findings become attributes of the trace.
Out of scope: the patterns of personal data and secrets (`privacy`), semantic checks.

An answer with a finding is recorded and still sent.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twin_resources.privacy import Kind, find_personal_data

# Names and places are excluded, because answers contain many and no pattern finds them. Kinds that
# are detected only in questions (`privacy/stated_data.py`) are excluded as well.
FINDING_NAMES: Mapping[Kind, str] = MappingProxyType(
    {
        "private key": "private_key",
        "key": "api_key",
        "web token": "json_web_token",
        "secret": "secret",
        "e-mail": "email",
        "iban": "iban",
        "card": "card",
        "ssn": "ssn",
        "national id": "national_id",
        "ip address": "ip_address",
        "phone": "phone",
    }
)
"""Kind of `privacy` → its name in a trace. Names are compared over months, so keep them stable."""


def find_sensitive_kinds(answer: str) -> tuple[str, ...]:
    """Return the names of the findings in an answer, each once, in the order of `FINDING_NAMES`."""
    kinds = {span.kind for span in find_personal_data(answer)}
    return tuple(name for kind, name in FINDING_NAMES.items() if kind in kinds)
