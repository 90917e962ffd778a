"""Read 50 instructions such as "three bullets", "only JSON" or "one word", and check answers.

Scope: reading the instructions and checking answers. Out of scope: asking (`served_answers.py`),
comparing two models (`measures/instruction_following.py`), and correctness of answers.

A check tests only the form, without a judge: `blue` meets "which color is snow, in one word". The
prompts use the base model's own chat markup, without the twin's template, and each answer fits into
the token limit. Zhou et al. 2023, https://arxiv.org/abs/2311.07911, introduced instructions that a
program can verify.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CHECKS_VERSION = "instructions-1"  # increases when the results of a check change
INSTRUCTIONS_FILE = Path(__file__).with_name("checked_instructions.json")
_BULLET = re.compile(r"\s*[-*•]\s+\S")
_NUMBERED = re.compile(r"\s*(\d+)[.)]\s+\S")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class CheckedInstruction:
    """One instruction.

    Attributes:
        id: for example `i01`.
        check: key of its check in `CHECKS`.
        wanted: argument of the check, such as an expected count or words; None if it needs none.
    """

    id: str
    instruction: str
    check: str
    wanted: Any


@cache
def read_checked_instructions() -> tuple[CheckedInstruction, ...]:
    """Return all instructions, in the order of the file."""
    return tuple(
        CheckedInstruction(**row) for row in json.loads(INSTRUCTIONS_FILE.read_text("utf-8"))
    )


def has_requested_form(instruction: CheckedInstruction, answer: str) -> bool:
    """Return whether the answer has the requested form; an empty answer never has it."""
    text = answer.strip()
    return bool(text) and CHECKS[instruction.check](text, instruction.wanted)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _has_bullets(text: str, expected_count: int) -> bool:
    lines = _lines(text)
    return len(lines) == expected_count and all(_BULLET.match(line) for line in lines)


def _is_numbered_list(text: str, expected_count: int) -> bool:
    matches = [_NUMBERED.match(line) for line in _lines(text)]
    return [int(match[1]) if match else 0 for match in matches] == list(
        range(1, expected_count + 1)
    )


def _has_json_keys(text: str, expected_keys: list[str]) -> bool:
    try:
        document: Any = json.loads(text)
    except ValueError:
        return False
    return isinstance(document, dict) and set(expected_keys) == set(document)  # pyright: ignore[reportUnknownArgumentType]


def _has_sentence_count(text: str, expected_count: int) -> bool:
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    # text after the last end is a sentence without an end
    return len(ends) == expected_count and ends[-1] == len(text)


def _has_no_comma(text: str, _wanted: None) -> bool:
    return "," not in text and len(_WORD.findall(text)) > 2  # shorter answers need no comma anyway


def _is_cased(text: str, change_case: Callable[[str], str]) -> bool:
    return change_case(text) == text and any(character.isalpha() for character in text)


def _has_items(text: str, expected_count: int) -> bool:
    parts = text.rstrip(".").split(",")
    are_short = all(1 <= len(_WORD.findall(part)) <= 2 for part in parts)
    return len(_lines(text)) == 1 and len(parts) == expected_count and are_short


def _is_quoted(text: str, _wanted: None) -> bool:
    ascii_text = text.replace("“", '"').replace("”", '"')
    return (
        len(ascii_text) > 2
        and ascii_text[0] == ascii_text[-1] == '"'
        and '"' not in ascii_text[1:-1]
    )


def _has_words(text: str, expected_words: list[str]) -> bool:
    return (
        set(expected_words) <= {word.lower() for word in _WORD.findall(text)}
        and len(_lines(text)) == 1
    )


CHECKS: Mapping[str, Callable[[str, Any], bool]] = {
    "bullets": _has_bullets,
    "numbered": _is_numbered_list,
    "json": _has_json_keys,
    "words": lambda text, wanted: len(_WORD.findall(text)) == wanted,
    "number": lambda text, _wanted: bool(re.fullmatch(r"\d+\.?", text)),
    "no_comma": _has_no_comma,
    "sentences": _has_sentence_count,
    "starts_with": lambda text, wanted: bool(re.match(rf"{re.escape(wanted)}(?!\w)", text)),
    "ends_with": lambda text, wanted: text.endswith(wanted),
    "uppercase": lambda text, _wanted: _is_cased(text, str.upper),
    "lowercase": lambda text, _wanted: _is_cased(text, str.lower),
    "one_of": lambda text, wanted: text.lower().rstrip(".").strip("\"'") in wanted,
    "items": _has_items,
    "quoted": _is_quoted,
    "mentions": _has_words,
}
