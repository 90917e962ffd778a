"""`twin batch`: a loop over a file of questions that continues its output file."""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.questions import complete_model
from twin_resources.errors import TwinError
from twin_resources.gateway.request.request_body import BATCH_METADATA_KEY
from twin_resources.processes.endpoints import find_gateway
from twin_resources.processes.time_left import estimate_range
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

INCOMPLETE_EXIT_CODE = 3  # some questions have no answer
RETRIES = 5  # for a 429, a 5xx and a lost connection, after the delay that the gateway requests
TIMEOUT_S = 600.0
REFUSALS = frozenset({400, 403, 404, 413, 422})  # of one question; every other error ends the batch
OPTIONS = ("max_tokens", "temperature", "top_p", "seed", "stop", "response_format", "user")
_RETRY_ADVICE = "fix the cause and run the same batch again; no answered question is asked again"

Row = dict[str, Any]


def run_batch(
    settings: Settings,
    questions: Path,
    out: Path,
    *,
    author: str,
    model: str,
    max_concurrent: int,
    as_json: bool,
    console: Console,
) -> int:
    """Answer a file of questions; return 0, or 3 if a row is invalid or refused.

    Args:
        model: replaces `twin/<author>`; a bare alias (`@base`) is appended to it.

    Raises:
        TwinError: a file cannot be read or written, no stack is running, or the gateway stops
            responding. The same command then goes on after the last answer.
    """
    (url, key), model = find_gateway(settings), complete_model(settings, author, model)
    requests, skipped = read_requests(questions, model)
    display = ProgressDisplay(console)
    refused, costs, count = dict(skipped), list[float | None](), 0
    with display.bar("batch") as bar, display.report_waits():

        def report(row: Row) -> None:
            nonlocal count
            count += 1
            if "error" in row:
                refused[row["id"]] = row["error"]
            else:
                costs.append(row["cost_usd"])
            remaining_s = bar.elapsed_s / count * (len(requests) - kept - count)
            bar.update(
                f"{kept + count}/{len(requests)}, ${sum(filter(None, costs)):.4f}",
                done=float(kept + count),
                total=float(len(requests)),
                remaining_s=estimate_range(remaining_s),
            )

        with out.open("a+b") as file:
            answered = continue_file(file, out)
            missing = [row for row in requests if _identity(row) not in answered]
            kept = len(requests) - len(missing)

            def append(row: Row) -> None:
                if "error" not in row:
                    file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                    file.flush()
                report(row)

            ask_all(missing, append, url=url, key=key, width=max_concurrent)
    cost_usd, unpriced = sum(filter(None, costs)), costs.count(None)
    if as_json:
        console.print_json(
            data={
                "questions": len(requests), "kept": kept, "answered": len(costs),
                "refused": refused, "cost_usd": cost_usd, "unpriced": unpriced, "out": str(out),
            }
        )  # fmt: skip
    else:
        for name, reason in refused.items():
            display.log(f"{name}: {reason}", style="yellow")
        earlier = f"; {kept} from an earlier run" if kept else ""
        unknown = f"; unknown cost of {format_count(unpriced, 'answer')}" if unpriced else ""
        answers = format_count(len(costs), "answer")
        display.log(f"{answers} in {out}{earlier}; ${cost_usd:.6f}{unknown}")
    return INCOMPLETE_EXIT_CODE if refused else 0


def read_requests(path: Path, model: str) -> tuple[list[Row], list[tuple[str, str]]]:
    """Return the requests of a JSON Lines file, each with its `id`, and the lines that are none.

    A line is `{"question": …}`, `{"messages": […]}`, or one of OpenAI's batch API,
    `{"custom_id": …, "body": {"messages": […], …}}`
    (https://platform.openai.com/docs/guides/batch).

    Raises:
        TwinError: the file cannot be read, or contains no question.
    """
    action = f"read the questions of {path}"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TwinError(action, found=str(error), next_step="pass a .jsonl file") from error
    requests: dict[str, Row] = {}
    skipped: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
            fields: Any = row.get("body") or row
            messages: Any = fields.get("messages")
            if messages is None and str(fields["question"]).strip():
                messages = [{"role": "user", "content": str(fields["question"])}]
            if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"]:
                raise ValueError("the last message is not the user's")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            reason = f"neither a question nor messages that end with the user's ({error})"
            skipped.append((f"line {number}", reason))
            continue
        name = str(row.get("custom_id", row.get("id", number)))
        if name in requests:
            skipped.append((f"line {number}", f"the id {name!r} is that of an earlier line"))
            continue
        # A line of OpenAI's batch API names an OpenAI model; only twin names are used.
        own_model = str(fields.get("model") or "")
        requests[name] = {
            "id": name,
            "model": own_model if own_model.startswith("twin/") else model,
            "messages": messages,
            "options": {field: fields[field] for field in OPTIONS if fields.get(field) is not None},
        }
    if not requests:
        found = f"no question in the file{''.join(f'; {a}: {b}' for a, b in skipped[:1])}"
        advice = 'write each line as {"question": "…"} or {"messages": […]}'
        raise TwinError(action, found=found, next_step=advice)
    return list(requests.values()), skipped


def continue_file(file: Any, path: Path) -> set[tuple[str, str, str]]:
    """Lock the output file until it is closed, and return what its answers answer.

    A last line without an end, which a killed run leaves, is cut off.

    Raises:
        TwinError: another command writes the file, or another program wrote it.
    """
    action = f"continue {path}"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        advice = "wait for it to end, then run this one again; no question is asked twice"
        found = "another command is working on it"
        raise TwinError(action, found=found, next_step=advice) from error
    file.seek(0)
    content: bytes = file.read()
    size = content.rfind(b"\n") + 1
    try:
        answered = {_identity(json.loads(line)) for line in content[:size].splitlines()}
        if content and not content.startswith(b'{"id": '):
            raise ValueError("the first line has no id")
    except (ValueError, KeyError, TypeError) as error:
        found = f"it was not written by `twin batch` ({error})"
        raise TwinError(action, found=found, next_step="pass a different --out") from error
    file.truncate(size)
    os.fsync(file.fileno())
    return answered


def _identity(row: Row) -> tuple[str, str, str]:
    """Return what an answer must share with a question: an edited one is asked again."""
    content = row["messages"][-1]["content"] if "messages" in row else row["question"]
    return row["id"], row["model"], content if isinstance(content, str) else json.dumps(content)


def ask_all(
    requests: Sequence[Row],
    append: Callable[[Row], None],
    *,
    url: str,
    key: str,
    width: int,
) -> None:
    """Ask `width` questions at a time, and pass each row to `append` as it arrives.

    Raises:
        TwinError: the gateway refuses the key, or does not answer after the retries.
    """
    import httpx
    import openai

    with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as transport:
        client = openai.OpenAI(
            base_url=url, api_key=key, http_client=transport, max_retries=RETRIES
        )

        def ask(request: Row) -> Row:
            row: Row = dict(zip(("id", "model", "question"), _identity(request), strict=True))
            try:
                completion: Any = cast("Any", client.chat.completions).create(
                    model=request["model"],
                    messages=request["messages"],
                    metadata={BATCH_METADATA_KEY: "true"},
                    **request["options"],
                )
            except openai.APIStatusError as error:
                if error.status_code not in REFUSALS:
                    raise
                return row | {"error": error.message}
            extra: Row = completion.model_extra or {}
            twin: Row = extra.get("twin") or {}
            return row | {
                "answer": (completion.choices[0].message.content or "").strip(),
                "kind": twin.get("answer") or "",
                **{name: twin.get(name) or "" for name in ("version", "route", "degraded")},
                "trace_id": twin.get("trace_id") or "",
                "digital_source_type": twin.get("digital_source_type") or "",
                "cost_usd": twin.get("cost_usd"),
                "sources": twin.get("sources") or [],
                "quotes": twin.get("quotes") or [],
            }

        with ThreadPoolExecutor(width) as pool:
            waiting = {pool.submit(ask, request) for request in requests}
            try:
                for future in as_completed(tuple(waiting)):
                    waiting.remove(future)
                    append(future.result())
            except openai.APIError as error:
                pool.shutdown(wait=True, cancel_futures=True)
                for future in waiting:  # what was on its way is paid for, so it is kept
                    if not future.cancelled() and future.exception() is None:
                        append(future.result())
                raise TwinError(
                    f"ask {url}", found=error.message, next_step=_RETRY_ADVICE
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
