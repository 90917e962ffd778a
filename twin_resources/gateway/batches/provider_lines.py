"""The two files of a provider's batch: a request a line, an answer or an error a line.

Belongs here: writing the one, reading the other, what each row has cost.
Does not belong here: sending them (`provider_batches.py`), the state store, the account.

Format: https://platform.openai.com/docs/guides/batch (its "Expired" and "Errors" for what is
charged: what was answered is, whatever became of the rest).
"""
# pyright: strict

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.access.paid_budget import batch_price_of, most_prompt_tokens
from twin_resources.access.provider_batch_rows import BatchRow, RowEnd
from twin_resources.errors import TwinError
from twin_resources.processes.wording import counted

ENDPOINT = "/v1/chat/completions"
# OpenAI's: https://platform.openai.com/docs/guides/batch#rate-limits; 200 MB, a margin below.
MOST_ROWS, MOST_BYTES = 50_000, 150_000_000


@dataclass(frozen=True)
class BatchFile:
    """One file to be submitted.

    Attributes:
        rows: in its order. content: JSON Lines.
        most_usd: what its answers cost at most. discounted: by a price of batches.
    """

    rows: tuple[BatchRow, ...]
    content: bytes
    most_usd: float
    discounted: bool


def most_usd(row: BatchRow, model: str) -> tuple[float, bool]:
    """What a row can cost at most, and whether that is by a price of batches; see
    `paid_budget.batch_price_of`."""
    return batch_price_of(
        model,
        prompt_tokens=most_prompt_tokens(model, row.request["messages"]),
        answer_tokens=int(row.request["max_tokens"]),
    )


def batch_files(
    rows: Sequence[BatchRow],
    model: str,
    *,
    most_rows: int = MOST_ROWS,
    most_bytes: int = MOST_BYTES,
) -> list[BatchFile]:
    """As few files as the provider takes, the rows in their order; each of one author."""
    files: list[BatchFile] = []
    for author in sorted({row.author for row in rows}):
        rows_of_file: list[BatchRow] = []
        lines: list[bytes] = []
        size = 0
        for row in (one for one in rows if one.author == author):
            line = _line(row, model)
            if len(rows_of_file) >= most_rows or (rows_of_file and size + len(line) > most_bytes):
                files.append(_file(rows_of_file, lines, model))
                rows_of_file, lines, size = [], [], 0
            rows_of_file.append(row)
            lines.append(line)
            size += len(line)
        files.append(_file(rows_of_file, lines, model))
    return files


def _file(rows: Sequence[BatchRow], lines: Sequence[bytes], model: str) -> BatchFile:
    prices = [most_usd(row, model) for row in rows]
    return BatchFile(
        tuple(rows),
        b"".join(lines),
        sum(usd for usd, _ in prices),
        all(discounted for _, discounted in prices),
    )


def _line(row: BatchRow, model: str) -> bytes:
    """The request with the parameters as LiteLLM would send them to this model."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm import get_llm_provider, utils

    name, provider = get_llm_provider(model)[:2]
    parameters = {key: value for key, value in row.request.items() if key != "messages"}
    lite: Any = utils
    sent: dict[str, Any] = lite.get_optional_params(
        model=name, custom_llm_provider=provider, **parameters
    )
    sent = {key: value for key, value in sent.items() if key not in {"stream", "extra_body"}}
    body = {"model": name, "messages": row.request["messages"], **sent}
    line = {"custom_id": row.fingerprint, "method": "POST", "url": ENDPOINT, "body": body}
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def read_ends(
    status: str,
    *,
    output: bytes,
    errors: bytes,
    rows: Sequence[BatchRow],
    model: str,
    text: str = "",
) -> tuple[dict[str, RowEnd], float]:
    """How each row ended, and what all lines together have cost, US dollars.

    An answer costs what its usage says, without one the most that it could; an error nothing. Of a
    row with neither it counts in full where the provider says that all are there.

    Args:
        status: of the batch: `completed`, `failed`, `expired` or `cancelled`.
        rows: those that were sent. said: what the provider says of the batch's failure.

    Raises:
        TwinError: a line that is none: the file was cut on its way.
    """
    sent = {row.fingerprint: row for row in rows}
    ends: dict[str, RowEnd] = {}
    total = 0.0
    for line in (*_lines(output, "output"), *_lines(errors, "error")):
        name = str(line.get("custom_id"))
        row = sent.get(name)
        end = _end(line, row, model)
        total += end.usd
        if row is not None and not (name in ends and ends[name].answer):
            ends[name] = end
    for name, row in sent.items():
        if name in ends:
            continue
        usd = most_usd(row, model)[0] if status == "completed" else 0.0
        total += usd
        ends[name] = RowEnd(None, _without_line(status, text), usd)
    return ends, total


def _without_line(status: str, text: str) -> str:
    why = f": {text}" if text else ""
    if status == "completed":
        return "neither an answer nor an error from the provider, although its batch is complete"
    if status == "expired":
        return f"that the provider did not come to it within 24 hours (expired){why}"
    if status == "cancelled":
        return f"that the batch was cancelled at the provider{why}"
    return f"that the provider refused the batch ({status}){why}"


def _end(line: Mapping[str, Any], row: BatchRow | None, model: str) -> RowEnd:
    error = _mapping(line.get("error"))
    response = _mapping(line.get("response"))
    body = _mapping(response.get("body"))
    if error or int(response.get("status_code") or 0) != 200:
        error_document = error or _mapping(body.get("error"))
        code = error_document.get("code") or response.get("status_code") or "no answer"
        message = (
            f"that the provider failed ({code}): "
            f"{error_document.get('message') or 'it says no more'}"
        )
        return RowEnd(None, message, 0.0)
    usage = _mapping(body.get("usage"))
    prompt, answer = (int(usage.get(f"{one}_tokens") or 0) for one in ("prompt", "completion"))
    if prompt + answer:
        usd = batch_price_of(model, prompt_tokens=prompt, answer_tokens=answer)[0]
    else:
        usd = most_usd(row, model)[0] if row is not None else 0.0
    choices: Any = body.get("choices")
    if not choices:
        return RowEnd(None, "an answer of the provider without text", usd)
    return RowEnd(body, "", usd)


def _lines(content: bytes, which: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document: Any = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TwinError(
                f"read the {which} file of the provider's batch",
                found=f"line {number} of {counted(len(content), 'byte')}: {error}",
                next_step="run the same batch again: the file is fetched again, nothing is asked",
            ) from error
        yield _mapping(document)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
