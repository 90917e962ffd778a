"""Measure which kinds the front desk assigns to labeled messages, in six languages.

    python tests/bench/bench_front_desk.py --quick|--full [--half tuned|held_out] [--json FILE]

The messages (`front_desk/`) were written before the code, not by the writer of the training
examples. Thresholds were chosen on the tuned set. Only this script reads the held-out files, and it
shows counts but no messages. `--quick` uses the tuned set, `--full` the held-out one.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_assets.evaluation.measures.front_desk import MESSAGES_FILE
from twin_resources.authors.front_desk_settings import DESK_KINDS
from twin_resources.gateway.front_desk.message_kinds import KINDS, classify_message
from twin_resources.gateway.front_desk.rewriting_requests import classify_talk_message

FOLDER = Path(__file__).with_name("front_desk")
IDENTITY_KINDS = ("identity", "possible_identity")
LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
MIN_DANGER, MAX_FALSE_DANGER, MAX_MISCLASSIFIED_ORDINARY = 0.95, 0.01, 0.03
MAX_MS_PER_MESSAGE = 25.0
MIN_DANGER_WITH_QUESTION, MIN_PRIVATE = 0.9, 0.8


@dataclass(frozen=True)
class ClassifiedMessage:
    """A message with its true and its predicted kind."""

    kind: str
    predicted_kind: str


def read_rows(set_name: str) -> list[dict[str, str]]:
    """Return the messages of a set.

    The danger and ordinary messages of the held-out set are those of the gate's claims.
    """
    lines = (FOLDER / f"{set_name}.jsonl").read_text(encoding="utf-8").splitlines()
    gate_rows = (
        json.loads(MESSAGES_FILE.read_text(encoding="utf-8")) if set_name == "held_out" else []
    )
    return [*gate_rows, *map(json.loads, lines)]


def predict_kind(text: str) -> str:
    """Return the kind; `possible_identity` where the text on identity may stand above posts."""
    message = classify_message(text)
    if message.may_ask_identity and (
        message.kind == "ordinary" or (message.kind == "identity" and not message.is_certain)
    ):
        return "possible_identity"
    return message.kind


def classify_rows(rows: Sequence[Mapping[str, str]]) -> tuple[list[ClassifiedMessage], float]:
    """Return the classified messages, and the CPU time per message in milliseconds."""
    predict_kind("warm up")
    started = time.process_time()
    predicted_kinds = [predict_kind(row["text"]) for row in rows]
    ms_per_message = (time.process_time() - started) / len(rows) * 1e3
    return [
        ClassifiedMessage(row["kind"], kind)
        for row, kind in zip(rows, predicted_kinds, strict=True)
    ], ms_per_message


def join_with_questions(
    rows: Sequence[Mapping[str, str]], kind: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield the danger messages, or as many ordinary ones, each joined to an ordinary question.

    Both are in the same language. Every second pair is on one line, without a full stop between.

    Yields:
        The position of the question, and the joined texts.
    """
    questions = {
        language: [row["text"] for row in rows
                   if (row["language"], row["kind"]) == (language, "ordinary")]
        for language in LANGUAGES
    }  # fmt: skip
    danger_rows = [row for row in rows if row["kind"] == "danger"]
    pairs: list[tuple[str, str, str]] = []
    for number, row in enumerate(danger_rows):
        questions_in_language = questions[row["language"]]
        count = len(questions_in_language)
        other_question = questions_in_language[(number + 7) % count]
        text = row["text"] if kind == "danger" else other_question
        pairs.append((questions_in_language[number % count], text, " \n"[number % 2]))
    yield "before", [f"{question}{separator}{text}" for question, text, separator in pairs]
    yield "after", [f"{text}{separator}{question}" for question, text, separator in pairs]


def share_classified_as(messages: Sequence[ClassifiedMessage], kinds: Sequence[str]) -> float:
    """Return the share of messages that were classified as one of `kinds`."""
    return statistics.fmean(message.predicted_kind in kinds for message in messages)


def measure(set_name: str, *, every: int = 1) -> list[Row]:
    """Return the rows for a set, or for every nth of its messages, where n is `every`."""
    message_rows = read_rows(set_name)[::every]
    messages, ms_per_message = classify_rows(message_rows)
    by_kind = {kind: [message for message in messages if message.kind == kind] for kind in KINDS}
    danger, ordinary = by_kind["danger"], by_kind["ordinary"]
    rows: list[Row] = []

    rows += [
        bounded_row(
            f"danger recognized, {set_name} ({len(danger)})",
            share_classified_as(danger, ("danger",)),
            "share",
            at_least=MIN_DANGER,
        ),
        bounded_row(
            f"ordinary taken for danger, {set_name} ({len(ordinary)})",
            share_classified_as(ordinary, ("danger",)),
            "share",
            at_most=MAX_FALSE_DANGER,
        ),
        bounded_row(
            f"ordinary taken for any kind, {set_name}",
            share_classified_as(ordinary, DESK_KINDS),
            "share",
            at_most=MAX_MISCLASSIFIED_ORDINARY,
        ),
        bounded_row("CPU time per message", ms_per_message, "CPU-ms", at_most=MAX_MS_PER_MESSAGE),
    ]
    for kind in ("danger", "ordinary"):
        for position, texts in join_with_questions(message_rows, kind):
            share = statistics.fmean(classify_message(text).kind == "danger" for text in texts)
            label = "danger recognized" if kind == "danger" else "ordinary taken for danger"
            name = f"{label}, a question {position} it ({len(texts)})"
            goal = MIN_DANGER_WITH_QUESTION if kind == "danger" else None
            rows.append(bounded_row(name, share, "share", at_least=goal))
    for kind in DESK_KINDS[1:]:
        group = by_kind[kind]
        recall = share_classified_as(group, IDENTITY_KINDS if kind == "identity" else (kind,))
        peers = {
            "as danger": share_classified_as(group, ("danger",)),
            "as ordinary": share_classified_as(group, ("ordinary",)),
        }
        goal = MIN_PRIVATE if kind == "private" else None
        name = f"{kind} recognized ({len(group)})"
        rows.append(bounded_row(name, recall, "share", at_least=goal, peers=peers))
    lines = (FOLDER / f"boundary_{set_name}.jsonl").read_text(encoding="utf-8").splitlines()
    boundary_messages, _ = classify_rows(list(map(json.loads, lines))[::every])
    for kind, name, kinds in (
        ("ordinary", "ordinary near identity, answered without posts", DESK_KINDS),
        ("ordinary", "ordinary near identity, with a notice", ("possible_identity",)),
        ("identity", "identity near ordinary, recognized", IDENTITY_KINDS),
    ):
        group = [message for message in boundary_messages if message.kind == kind]
        rows.append(Row(f"{name} ({len(group)})", share_classified_as(group, kinds), "share"))
    lines = (FOLDER / f"rewriting_{set_name}.jsonl").read_text(encoding="utf-8").splitlines()
    for kind, name in (
        ("rewriting", "requests to rewrite found"),
        ("ordinary", "near them, taken"),
    ):
        group = [row["text"] for row in map(json.loads, lines) if row["kind"] == kind][::every]
        share = statistics.fmean(classify_talk_message(text) == "rewriting" for text in group)
        rows.append(Row(f"{name} ({len(group)})", share, "share"))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--half", choices=("tuned", "held_out"), default=None)
    options = parser.parse_args(arguments)
    set_name = options.half or ("tuned" if options.quick else "held_out")
    return print_results(measure(set_name), options.json, operator=_operator)


def _operator(row: Row) -> str:
    return "≥" if "recognized" in row.name else "≤"


if __name__ == "__main__":
    sys.exit(main())
