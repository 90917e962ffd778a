"""Read the questions of a batch from a JSON Lines file.

Scope: the type of a batch file, the three formats of a row, and the messages about invalid rows.
Out of scope: calling the gateway (`batch_run.py`), the answer file (`answers.py`).

A row is `{"question": …}`, `{"messages": […]}`, or a line of OpenAI's batch API,
`{"custom_id": …, "body": {"messages": […], …}}`, so that a file for that API works unchanged
(https://platform.openai.com/docs/guides/batch).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twin_resources.errors import TwinError
from twin_resources.untrusted_json import parse_untrusted_json

# Fields of the request that a row may set. Other fields (a label, a date) are ignored.
OPTION_FIELDS = ("max_tokens", "temperature", "top_p", "seed", "stop", "response_format", "user")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BatchQuestion:
    """One question of a batch.

    Attributes:
        id: the row's `id` or `custom_id`, otherwise its number from 1; unique in a batch.
        messages: the messages in the endpoint's format.
        model: the row's model, or empty to use the batch's model.
        options: the fields of `OPTION_FIELDS` that the row sets.
    """

    id: str
    messages: tuple[Row, ...]
    model: str
    options: Row

    @property
    def question(self) -> str:
        """Text of the last message; empty if it is not plain text."""
        content = self.messages[-1].get("content")
        return content if isinstance(content, str) else ""

    def fingerprint(self, model: str) -> str:
        """Return the hash of the whole request; a stored answer is valid only if it matches."""
        request = [self.id, list(self.messages), self.model or model, dict(self.options)]
        text = json.dumps(request, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class InvalidRow:
    """An invalid row; `location` is its line, such as `line 7`."""

    location: str
    reason: str


def check_file_type(path: Path, action: str) -> None:
    """Check that a file of questions or answers is JSON Lines, by its name.

    Raises:
        TwinError: the name does not end in `.jsonl`; `action` names what was tried.
    """
    if path.suffix.lower() != ".jsonl":
        raise TwinError(
            action,
            found=f"a file of type {path.suffix or 'unknown'}",
            next_step="use a .jsonl file, with one JSON object per line",
        )


def read_questions(path: Path) -> tuple[list[BatchQuestion], list[InvalidRow]]:
    """Return the questions of a file, in order, and the invalid rows.

    Raises:
        TwinError: the file does not exist, is not a `.jsonl` file, or contains no valid question.
    """
    action = f"read the questions of {path}"
    check_file_type(path, action)
    if not path.is_file():
        raise TwinError(action, found="the file does not exist", next_step="check the path")
    questions: list[BatchQuestion] = []
    invalid_rows: list[InvalidRow] = []
    seen_ids: set[str] = set()
    for number, (location, row) in enumerate(_read_lines(path, action), start=1):
        question = row if isinstance(row, str) else _parse_question(row, number)
        if isinstance(question, BatchQuestion) and question.id in seen_ids:
            question = f"the id {question.id!r} is already used by an earlier row"
        if isinstance(question, str):
            invalid_rows.append(InvalidRow(location, question))
        else:
            seen_ids.add(question.id)
            questions.append(question)
    if not questions:
        row_errors = (f"; {row.location}: {row.reason}" for row in invalid_rows)
        raise TwinError(
            action,
            found=f"no question in the file{next(row_errors, '')}",
            next_step='write each row as {"question": "…"} or {"messages": […]}',
        )
    return questions, invalid_rows


def _read_lines(path: Path, action: str) -> Iterator[tuple[str, Row | str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise TwinError(action, found=str(error), next_step="save the file as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = parse_untrusted_json(line)
        except ValueError as error:
            yield f"line {number}", f"invalid JSON: {error}"
            continue
        is_object = isinstance(row, dict)
        yield f"line {number}", cast(Row, row) if is_object else "not a JSON object"


def _parse_question(row: Row, number: int) -> BatchQuestion | str:
    """Return a row's question, or the reason that it is invalid."""
    body = row.get("body")
    fields = cast(Row, body) if isinstance(body, dict) else row
    messages = fields.get("messages")
    if messages is None and isinstance(question := fields.get("question"), str):
        messages = [{"role": "user", "content": question}] if question.strip() else None
    if messages is None:
        return "the row has neither `question` nor `messages`"
    if not _is_message_list(messages):
        return "`messages` must be a list of roles and contents that ends with the user's message"
    row_id = row.get("custom_id", row.get("id", number))
    return BatchQuestion(
        id=str(row_id),
        messages=tuple(cast(list[Row], messages)),
        # A line of OpenAI's batch API names an OpenAI model; only twin names are used.
        model=_twin_name(fields.get("model")),
        options={key: fields[key] for key in OPTION_FIELDS if fields.get(key) is not None},
    )


def _is_message_list(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    items = cast(list[Any], value)
    if not all(isinstance(item, dict) for item in items):
        return False
    messages = cast(list[Row], items)
    return (
        all({"role", "content"} <= set(message) for message in messages)
        and messages[-1]["role"] == "user"
    )


def _twin_name(model: object) -> str:
    return model if isinstance(model, str) and model.startswith("twin/") else ""
