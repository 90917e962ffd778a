"""`twin batch`: a loop over a file of questions that continues its output file."""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import threading
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
        TwinError: a file cannot be read or written, no stack is running, or the gateway refuses the
            key or stops responding. The same command then goes on after the last answer.
    """
    import httpx
    import openai

    (url, key), model = find_gateway(settings), complete_model(settings, author, model)
    requests, refused = read_requests(questions, model)
    display, lock, costs = ProgressDisplay(console), threading.Lock(), list[float | None]()
    transport = httpx.Client(trust_env=False, timeout=TIMEOUT_S)
    client = openai.OpenAI(base_url=url, api_key=key, http_client=transport, max_retries=RETRIES)
    pool = ThreadPoolExecutor(max_concurrent)
    with out.open("a+b") as file, display.bar("batch") as bar, display.report_waits():
        answered = continue_file(file, out)
        missing = [request for request in requests if _identity(request) not in answered]
        kept = len(requests) - len(missing)

        def ask(request: Row) -> None:
            """Ask a question and write its answer, whatever becomes of the others."""
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
                refused[request["id"]] = error.message
                return
            extra: Row = completion.model_extra or {}
            twin: Row = extra.get("twin") or {}
            row: Row = dict(zip(("id", "model", "question"), _identity(request), strict=True))
            row["answer"] = (completion.choices[0].message.content or "").strip()
            row["kind"] = twin.get("answer") or ""
            names = ("version", "route", "degraded", "trace_id", "digital_source_type")
            row |= {name: twin.get(name) or "" for name in names}
            row |= {"cost_usd": twin.get("cost_usd")}
            row |= {name: twin.get(name) or [] for name in ("sources", "quotes")}
            with lock:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                file.flush()
                costs.append(row["cost_usd"])

        try:
            tasks = [pool.submit(ask, request) for request in missing]
            for count, task in enumerate(as_completed(tasks), start=1):
                task.result()
                bar.update(
                    f"{kept + count}/{len(requests)}, ${sum(filter(None, costs)):.4f}",
                    done=float(kept + count),
                    total=float(len(requests)),
                    remaining_s=estimate_range(bar.elapsed_s / count * (len(missing) - count)),
                )
        except openai.APIError as error:
            raise TwinError(f"ask {url}", found=error.message, next_step=_RETRY_ADVICE) from error
        finally:
            pool.shutdown(cancel_futures=True)  # what was on its way is paid for, so it is kept
            transport.close()
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


def read_requests(path: Path, model: str) -> tuple[list[Row], dict[str, str]]:
    """Return the requests of a JSON Lines file, each with its `id`, and why lines are none.

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
    skipped: dict[str, str] = {}
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
            skipped[f"line {number}"] = reason
            continue
        name = str(row.get("custom_id", row.get("id", number)))
        if name in requests:
            skipped[f"line {number}"] = f"the id {name!r} is that of an earlier line"
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
        found = f"no question in the file{''.join(f'; {a}: {b}' for a, b in skipped.items())}"
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
    return answered


def _identity(row: Row) -> tuple[str, str, str]:
    """Return what an answer must share with a question: an edited one is asked again."""
    content = row["messages"][-1]["content"] if "messages" in row else row["question"]
    return row["id"], row["model"], content if isinstance(content, str) else json.dumps(content)
