"""Find personal data and secrets in text by shape and check sum; replace each by its kind."""
# pyright: strict

from twin_resources.privacy.kinds import KINDS, Kind, TextSpan
from twin_resources.privacy.redaction import (
    PRIVACY_VERSION,
    RedactedText,
    redact_and_count,
    find_personal_data,
    redact,
    redact_text,
)

__all__ = [
    "KINDS",
    "PRIVACY_VERSION",
    "Kind",
    "RedactedText",
    "TextSpan",
    "redact_and_count",
    "find_personal_data",
    "redact",
    "redact_text",
]
