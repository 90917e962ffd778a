"""A thin safety check: things in an answer that look like personal data or secrets.

Scope: one pure function; its findings become attributes of the trace.
Out of scope: the shapes of personal data and secrets (`privacy`), a judgement of meaning.
An answer with a finding is recorded, not withheld.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twin_resources.privacy import Kind, find_personal

# Not names and places: an answer is full of them, and no pattern finds them. Nor what is looked for
# in questions alone (`privacy/stated_data.py`).
FINDINGS: Mapping[Kind, str] = MappingProxyType(
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
"""Kind of `privacy` → its name in a trace; the names are compared over months, so they stay."""


def findings(answer: str) -> tuple[str, ...]:
    """Names of what an answer holds, each once, in the order of `FINDINGS`; never the text."""
    kinds = {span.kind for span in find_personal(answer)}
    return tuple(name for kind, name in FINDINGS.items() if kind in kinds)
