"""Read 200 general instructions with answers, which test a model's basic skills.

Scope: reading the instructions. Out of scope: the measures
(`evaluation/measures/general_instructions.py`), the instructions that a dataset contains
(`building.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INSTRUCTIONS_FILE = Path(__file__).with_name("general_instructions.json")


@dataclass(frozen=True)
class BasicInstruction:
    """One instruction with an answer.

    Attributes:
        id: for example `g001`.
        kind: for example `arithmetic`, `facts` or `summary`.
        language: ISO 639-1.
    """

    id: str
    kind: str
    language: str
    instruction: str
    answer: str


@cache
def load_instructions() -> tuple[BasicInstruction, ...]:
    """Return all instructions, in the order of the file."""
    return tuple(
        BasicInstruction(**row) for row in json.loads(INSTRUCTIONS_FILE.read_text("utf-8"))
    )
