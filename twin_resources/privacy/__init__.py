"""Find personal data and secrets in text by format and checksum, and redact them."""
# pyright: strict

from twin_resources.privacy.kinds import KINDS, Kind, TextSpan
from twin_resources.privacy.redaction import (
    PRIVACY_VERSION,
    find_personal_data,
    redact,
    redact_text,
)

__all__ = [
    "KINDS",
    "PRIVACY_VERSION",
    "Kind",
    "TextSpan",
    "find_personal_data",
    "redact",
    "redact_text",
]
