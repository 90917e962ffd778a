"""Answers that a real Langfuse 4.16.0 gave to requests of this project, as data of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Name → {"request": {"method", "url", "body"}, "status", "response"}; recorded on 2026-11-30.
LANGFUSE_ANSWERS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("langfuse_4_16_0.json").read_text(encoding="utf-8")
)
