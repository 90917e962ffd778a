"""Detect text in a question, a passage or an answer that must be masked, blocked or recorded."""
# pyright: strict

from twin_resources.gateway.guards.scanning import (
    GuardFinding,
    Scanner,
    ScanResult,
    is_in_json_string,
)
from twin_resources.gateway.guards.streaming import StreamGuard

__all__ = ["GuardFinding", "ScanResult", "Scanner", "StreamGuard", "is_in_json_string"]
