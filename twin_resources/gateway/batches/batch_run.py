"""Send the questions of a batch to the gateway, a few at a time.

Scope: concurrency, errors of single rows, errors that end the batch, and totals.
Out of scope: files (`questions.py`, `answers.py`), output (`commands/questions.py`), routing and
the cost of answers (the gateway).

The gateway applies the same routing, limits and budget to a batch as to a reader. A row that it
refuses (400, 403, 404, 413, 422) gets an error. A temporary failure (429, 5xx, no connection) is
retried after the delay that the gateway requests. If the failure persists, the batch ends, and
running it again resumes it. A question whose answer was lost on the way is asked again, and a paid
one is paid for again, within the budget of the key.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import (
    QUOTE_FIELDS,
    SOURCE_FIELDS,
    AnswerRow,
    Journal,
)
from twin_resources.gateway.batches.questions import BatchQuestion
from twin_resources.gateway.request.ignored_parameters import BATCH_METADATA_KEY

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# A local server on two cores processes two prompts at once and queues the others.
DEFAULT_CONCURRENCY = 2
RETRIES = 5  # for a 429 or 5xx; each waits for the requested delay, or 0.5 s, 1 s, 2 s, …
TIMEOUT_S = 600.0
_ROW_ERRORS = frozenset({400, 403, 404, 413, 422})
_TWIN_TEXT_FIELDS = ("version", "route", "degraded", "trace_id")  # columns from the field `twin`


@dataclass
class BatchTotals:
    """The running totals of a batch.

    Attributes:
        questions: number of questions.
        already_answered: number of questions that an earlier run answered.
        answered, failed: numbers of this run's rows with an answer and with an error.
        cost_usd: cost of this run's answers with a known cost, in US dollars.
        unpriced: number of this run's answers whose cost is unknown.
        routes: route → number of answers in this run.
    """

    questions: int
    already_answered: int = 0
    answered: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    routes: Counter[str] = field(default_factory=Counter[str])

    @property
    def finished_rows(self) -> int:
        """Number of rows that this run or an earlier one has finished."""
        return self.already_answered + self.answered + self.failed

    def count_row(self, row: AnswerRow) -> None:
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


def answer_questions(
    questions: Sequence[BatchQuestion],
    journal: Journal,
    *,
    url: str,
    key: str,
    model: str,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_row: Callable[[BatchTotals, AnswerRow], object] = lambda _totals, _row: None,
) -> BatchTotals:
    """Ask the questions that have no answer in the journal, `concurrency` at a time.

    Args:
        questions: the questions of the batch.
        journal: stores the answers.
        url: address of the gateway, which ends in `/v1`.
        key: a reader's key.
        model: `twin/<author>` or one of its aliases, for rows that name no model.
        concurrency: number of concurrent requests.
        on_row: called after each row of this run.

    Raises:
        TwinError: the gateway refuses the key, or does not answer; the journal keeps earlier
            answers.
    """
    totals = BatchTotals(len(questions))
    unanswered = [question for question in questions if question.fingerprint(model) not in journal]
    totals.already_answered = len(questions) - len(unanswered)

    def record_row(row: AnswerRow) -> None:
        journal.append(row)
        totals.count_row(row)
        on_row(totals, row)

    asyncio.run(  # cancels the work on an interrupt
        _send_questions(
            unanswered, record_row, url=url, key=key, model=model, concurrency=concurrency
        )
    )
    return totals


async def _send_questions(
    questions: Sequence[BatchQuestion],
    record_row: Callable[[AnswerRow], None],
    *,
    url: str,
    key: str,
    model: str,
    concurrency: int,
) -> None:
    import httpx
    from openai import AsyncOpenAI

    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as transport:
        client = AsyncOpenAI(base_url=url, api_key=key, http_client=transport, max_retries=RETRIES)

        question_queue = iter(questions)

        async def send_queued_questions() -> None:
            for question in question_queue:
                record_row(await _send_question(client, question, model=model))

        # After the first failure, TaskGroup cancels the other tasks.
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(questions))):
                    group.create_task(send_queued_questions())
        except* TwinError as failures:
            raise failures.exceptions[0] from None


async def _send_question(client: AsyncOpenAI, question: BatchQuestion, *, model: str) -> AnswerRow:
    """Send a question and return its row."""
    import openai

    request: dict[str, Any] = {
        "model": question.model or model,
        "messages": list(question.messages),
        **question.options,
        "metadata": {BATCH_METADATA_KEY: "true"},
    }
    row = _empty_row(question, model)
    start_time = time.monotonic()
    action = f"ask {request['model']} at {client.base_url}"
    try:
        completion = await client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        message = f"{error.status_code}: {_error_message(error)}"
        if error.status_code in _ROW_ERRORS:
            return row | {"error": message}
        raise TwinError(action, found=message, next_step=_RETRY_ADVICE) from error
    except openai.APIConnectionError as error:
        raise TwinError(
            action, found="no server answers at this address", next_step=_RETRY_ADVICE
        ) from error
    twin_field: dict[str, Any] = (completion.model_extra or {}).get("twin") or {}
    return row | {
        "answer": (completion.choices[0].message.content or "").strip(),
        "kind": str(twin_field.get("answer") or ""),
        **{name: str(twin_field.get(name) or "") for name in _TWIN_TEXT_FIELDS},
        "cost_usd": twin_field.get("cost_usd"),
        "seconds": round(time.monotonic() - start_time, 3),
        "sources": [
            _select_fields(SOURCE_FIELDS, source) for source in twin_field.get("sources") or ()
        ],
        "quotes": [_select_fields(QUOTE_FIELDS, quote) for quote in twin_field.get("quotes") or ()],
    }


def _empty_row(question: BatchQuestion, model: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.question,
        **dict.fromkeys(("answer", "error", "kind"), ""),
        "model": question.model or model,
        **dict.fromkeys(_TWIN_TEXT_FIELDS, ""),
        "cost_usd": None,
        "seconds": 0.0,
        "sources": [],
        "quotes": [],
        "fingerprint": question.fingerprint(model),
    }


_RETRY_ADVICE = "fix the cause and run the same batch again; answered questions are not asked again"


def _select_fields(names: Sequence[str], fields: Any) -> dict[str, Any]:
    return {name: fields.get(name) for name in names}


def _error_message(error: Any) -> str:
    body: Any = error.body
    return str(body.get("message", "")) if isinstance(body, dict) else str(error.message)
