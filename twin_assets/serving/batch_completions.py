"""Define the asset `batch_completions`: answers to a file of questions, routed as for readers.

Scope: the asset, its configuration and its metadata. Out of scope: running the batch
(`twin_resources/gateway/batches/`), the command (`twin batch`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg

from twin_assets.partitions import authors
from twin_resources.gateway.batches.answers import AnswerRow, Journal, check_output_path
from twin_resources.gateway.batches.completing import DEFAULT_CONCURRENCY, BatchTotals, complete
from twin_resources.gateway.batches.questions import BatchQuestion, read_questions
from twin_resources.processes.endpoints import read_endpoints
from twin_resources.settings import Settings

LOG_INTERVAL_S = 10.0
MAX_SHOWN_ROWS = 5


class BatchConfig(dg.Config):
    """Questions and answers of a batch.

    Attributes:
        questions: path of a .jsonl or .parquet file; if empty, the asset does nothing.
        out: path of the .jsonl or .parquet file for the answers; empty for
            `<questions>.answers.parquet` beside the questions.
        model: name of the model; empty for `twin/<author>`. A lone alias (`@base`) is appended to
            that name.
        width: number of simultaneous requests.
    """

    questions: str = ""
    out: str = ""
    model: str = ""
    width: int = DEFAULT_CONCURRENCY


@dg.asset(
    deps=["routing_policy"],
    partitions_def=authors,
    group_name="serving",
    kinds={"parquet"},
    output_required=False,
)
def batch_completions(
    context: dg.AssetExecutionContext, config: BatchConfig, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Answers to a file of questions, with route, cost and sources per row.

    The launchpad configures the file (`questions: /path/to/questions.jsonl`); without one, the
    asset does nothing. The stack must be running, because the gateway answers, within its limits
    and budgets. A stopped run resumes where it stopped.
    """
    if not config.questions:
        context.log.info("the configuration specifies no file of questions: nothing to do")
        return
    output_path = _resolve_output_path(config)
    questions, broken_rows = read_questions(Path(config.questions))
    batch_sum, rows = _answer_questions(
        settings, config, context.partition_key, questions, output_path, context.log.info
    )
    file_metadata = {
        "answers": dg.MetadataValue.path(str(output_path.resolve())),
        "broken rows": dg.MetadataValue.md(
            _markdown_list(f"{row.place}: {row.reason}" for row in broken_rows)
        ),
    }
    yield dg.MaterializeResult(metadata={**file_metadata, **_metadata(batch_sum, rows)})


def _resolve_output_path(config: BatchConfig) -> Path:
    path = Path(config.questions)
    output_path = Path(config.out) if config.out else path.with_name(f"{path.stem}.answers.parquet")
    check_output_path(output_path)
    return output_path


def _answer_questions(
    settings: Settings,
    config: BatchConfig,
    author: str,
    questions: Sequence[BatchQuestion],
    out: Path,
    log: Callable[[str], object],
) -> tuple[BatchTotals, Sequence[AnswerRow]]:
    """Ask questions without a stored answer, write the file, and return all rows."""
    endpoints = read_endpoints(settings.home)
    model = config.model
    if not model or model.startswith("@"):
        model = f"twin/{author}{model}"
    last_report = time.monotonic()

    def report_progress(progress: BatchTotals, _row: AnswerRow) -> None:
        nonlocal last_report
        if time.monotonic() - last_report >= LOG_INTERVAL_S:
            last_report = time.monotonic()
            log(f"{progress.finished_rows} of {progress.questions}, ${progress.cost_usd:.4f}")

    with closing(Journal(out)) as journal:
        batch_sum = complete(
            questions,
            journal,
            url=endpoints.gateway,
            key=endpoints.gateway_key,
            model=model,
            concurrency=config.width,
            on_row=report_progress,
        )
        return batch_sum, journal.finish(question.fingerprint(model) for question in questions)


def _metadata(batch_sum: BatchTotals, rows: Sequence[AnswerRow]) -> dict[str, Any]:
    answered_rows = [row for row in rows if not row["error"]]
    return {
        "dagster/row_count": len(rows),
        "answered": len(answered_rows),
        "kept from an earlier run": batch_sum.already_answered,
        "refused": batch_sum.failed,
        "cost, US dollars": sum(float(row["cost_usd"] or 0.0) for row in answered_rows),
        "cost not known": sum(row["cost_usd"] is None for row in answered_rows),
        "routes": dict(Counter(str(row["route"]) for row in answered_rows)),
    }


def _markdown_list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in list(lines)[:MAX_SHOWN_ROWS]) or "none"
