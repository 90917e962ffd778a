"""Detect text in a question, a passage or an answer that must be masked, blocked or recorded."""
# pyright: strict

from twin_resources.gateway.guards.scanning import GuardFinding, Scanned, Scanner, in_json
from twin_resources.gateway.guards.streaming import HeldBack

__all__ = ["GuardFinding", "HeldBack", "Scanned", "Scanner", "in_json"]
