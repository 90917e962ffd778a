"""Find personal data and secrets in text by shape and check sum; replace each by its kind."""
# pyright: strict

from twin_resources.privacy.kinds import KINDS, Kind, TextSpan
from twin_resources.privacy.redaction import (
    PRIVACY_VERSION,
    Redacted,
    count_personal,
    find_personal,
    redact,
    replace_personal,
)

__all__ = [
    "KINDS",
    "PRIVACY_VERSION",
    "Kind",
    "Redacted",
    "TextSpan",
    "count_personal",
    "find_personal",
    "redact",
    "replace_personal",
]
