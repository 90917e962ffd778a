"""Detect text in a question, a passage or an answer that must be masked, blocked or recorded."""
# pyright: strict

from twin_resources.gateway.guards.scanning import (
    GuardFinding,
    ScanResult,
    Scanner,
    is_in_json_string,
)
from twin_resources.gateway.guards.streaming import StreamGuard

__all__ = ["GuardFinding", "StreamGuard", "ScanResult", "Scanner", "is_in_json_string"]
