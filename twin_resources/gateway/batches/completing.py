"""Asking a batch's questions at the gateway, a few at once.

Scope: the bounded width, which failures are a row's and which end the batch, the sum.
Out of scope: files (`questions.py`, `answers.py`), what is shown (`commands/questions.py`,
the asset `batch_completions`), routing and its costs (the gateway).

The gateway answers a batch as it answers a reader: same route, same limits, same account. A row
that it refuses (400, 403, 404, 413, 422) is an error of that row. What may pass (429, 5xx, no
connection) is tried again after the time that the gateway names; where it does not pass the batch
ends, and goes on where it was when it is run again. Each request carries an `Idempotency-Key`, so
that one whose answer was lost on the way is not paid twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import PLACE, QUOTED, Answered, Journal
from twin_resources.gateway.batches.questions import BatchQuestion
from twin_resources.gateway.request.ignored_parameters import BATCH_MARK

if TYPE_CHECKING:
    from openai import AsyncOpenAI

WIDTH = 2  # a server of ours on two cores reads two prompts at once; more wait there
MAX_AT_ONCE = 64
TRIES = 5  # after a 429 or 5xx, each after the time that it names or 0.5 s, 1 s, 2 s, …
TIMEOUT_S = 600.0
_OF_THE_ROW = frozenset({400, 403, 404, 413, 422})


@dataclass
class BatchSum:
    """What a batch has come to so far.

    Attributes:
        questions: in all; `kept` of them were answered by an earlier run.
        answered, failed: in this run.
        cost_usd: of this run's answers, as far as the gateway knows it; `unpriced` are those of
            which it does not.
        routes: route → answers, of this run.
    """

    questions: int
    kept: int = 0
    answered: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    routes: Counter[str] = field(default_factory=Counter[str])

    @property
    def done(self) -> int:
        """Rows that are dealt with."""
        return self.kept + self.answered + self.failed

    def count(self, row: Answered) -> None:
        """Add a row of this run."""
        if row["error"]:
            self.failed += 1
            return
        self.answered += 1
        self.routes[row["route"]] += 1
        if row["cost_usd"] is None:
            self.unpriced += 1
        else:
            self.cost_usd += float(row["cost_usd"])


def complete(
    questions: Sequence[BatchQuestion],
    journal: Journal,
    *,
    url: str,
    key: str,
    model: str,
    width: int = WIDTH,
    on_row: Callable[[BatchSum, Answered], object] = lambda _sum, _row: None,
) -> BatchSum:
    """Ask what the journal has no answer to, `width` questions at once.

    Args:
        url: of the gateway, ends in `/v1`; `key` is a reader's.
        model: `twin/<author>` or an alias of it, for rows that name none.
        on_row: called after each row of this run.

    Raises:
        TwinError: the gateway refuses the key, or does not answer; what is answered stays.
    """
    work = _complete(questions, journal, url=url, key=key, model=model, width=width, on_row=on_row)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)  # which ends it at once when it is interrupted
    # a notebook has a loop already: in a thread of its own
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _complete(
    questions: Sequence[BatchQuestion],
    journal: Journal,
    *,
    url: str,
    key: str,
    model: str,
    width: int,
    on_row: Callable[[BatchSum, Answered], object],
) -> BatchSum:
    import httpx
    from openai import AsyncOpenAI

    total = BatchSum(len(questions))
    waiting = [one for one in questions if one.fingerprint(model) not in journal]
    total.kept = len(questions) - len(waiting)
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as transport:
        client = AsyncOpenAI(base_url=url, api_key=key, http_client=transport, max_retries=TRIES)

        turns = iter(waiting)

        async def work() -> None:
            for question in turns:
                row = await _answered(client, question, model=model)
                journal.append(row)
                total.count(row)
                on_row(total, row)

        # the first that fails ends the others: TaskGroup cancels them
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(max(1, min(width, MAX_AT_ONCE, len(waiting)))):
                    group.create_task(work())
        except* TwinError as failures:
            raise failures.exceptions[0] from None
    return total


async def _answered(client: AsyncOpenAI, question: BatchQuestion, *, model: str) -> Answered:
    """The row of a question."""
    import openai

    fingerprint = question.fingerprint(model)
    request: dict[str, Any] = {
        "model": question.model or model,
        "messages": list(question.messages),
        **question.options,
        "metadata": {BATCH_MARK: "true"},
        "extra_headers": {"Idempotency-Key": f"batch-{fingerprint}"},
    }
    row = _empty_row(question, model)
    began = time.monotonic()
    tried = f"ask {request['model']} at {client.base_url}"
    try:
        completion = await client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        if error.status_code in _OF_THE_ROW:
            return row | {"error": f"{error.status_code}: {_message(error)}"}
        message = f"{error.status_code}: {_message(error)}"
        raise TwinError(tried, found=message, next_step=_AGAIN) from error
    except openai.APIConnectionError as error:
        raise TwinError(tried, found="nothing answers there", next_step=_AGAIN) from error
    facts: dict[str, Any] = (completion.model_extra or {}).get("twin") or {}
    return row | {
        "answer": (completion.choices[0].message.content or "").strip(),
        "kind": str(facts.get("answer") or ""),
        "version": str(facts.get("version") or ""),
        "route": str(facts.get("route") or ""),
        "cost_usd": facts.get("cost_usd"),
        "degraded": str(facts.get("degraded") or ""),
        "trace_id": str(facts.get("trace_id") or ""),
        "seconds": round(time.monotonic() - began, 3),
        "sources": [_only(PLACE, one) for one in facts.get("sources") or ()],
        "quotes": [_only(QUOTED, one) for one in facts.get("quotes") or ()],
    }


def _empty_row(question: BatchQuestion, model: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.question,
        "answer": "",
        "error": "",
        "kind": "",
        "model": question.model or model,
        "version": "",
        "route": "",
        "cost_usd": None,
        "degraded": "",
        "trace_id": "",
        "seconds": 0.0,
        "sources": [],
        "quotes": [],
        "fingerprint": question.fingerprint(model),
    }


_AGAIN = "mend it, and run the same batch again: what is answered is kept and not asked again"


def _only(names: Sequence[str], choices: Any) -> dict[str, Any]:
    return {name: choices.get(name) for name in names}


def _message(error: Any) -> str:
    body: Any = error.body
    return str(body.get("message", "")) if isinstance(body, dict) else str(error.message)
