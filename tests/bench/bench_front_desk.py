"""Measure which kinds the front desk assigns to labelled messages, in six languages.

    python tests/bench/bench_front_desk.py --quick|--full [--half tuned|held_out] [--json FILE]

The messages (`front_desk/`) were written before the code, by somebody other than the author of the
training examples. Thresholds were chosen on the tuned set. Only this script reads the held-out set,
and it shows counts but no messages. `--quick` uses the tuned set, `--full` the held-out one.
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

from tests.bench.rows import Row, bench_parser, tell
from twin_assets.evaluation.measures.front_desk import MESSAGES
from twin_resources.authors.front_desk_settings import DESK_KINDS
from twin_resources.gateway.front_desk.answers import answer_language
from twin_resources.gateway.front_desk.message_kinds import KINDS, classify_message

FOLDER = Path(__file__).with_name("front_desk")
TOLD_WHO_ANSWERS = ("identity", "possible_identity")
LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
MIN_DANGER, MAX_FALSE_DANGER, MAX_TAKEN, MAX_MS = 0.95, 0.01, 0.03, 25.0
MIN_BESIDE, MIN_PRIVATE = 0.9, 0.8


@dataclass(frozen=True)
class JudgedMessage:
    """One message: its true language and kind, and those that the front desk found."""

    language: str
    kind: str
    found: str
    found_language: str


def read_rows(half: str) -> list[dict[str, str]]:
    """Return the messages of a set.

    The danger and ordinary messages of the held-out set are those of the gate's claims.
    """
    lines = (FOLDER / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    of_gate = json.loads(MESSAGES.read_text(encoding="utf-8")) if half == "held_out" else []
    return [*of_gate, *map(json.loads, lines)]


def judged(rows: Sequence[Mapping[str, str]]) -> tuple[list[JudgedMessage], float]:
    """Return every message as classified, and the CPU time per message in milliseconds."""
    classify_message("warm up")
    began = time.process_time()
    found = [classify_message(row["text"]) for row in rows]
    spent = (time.process_time() - began) / len(rows) * 1e3
    return [
        JudgedMessage(row["language"], row["kind"], kind, answer_language(row["text"]))
        for row, kind in zip(rows, found, strict=True)
    ], spent


def beside(rows: Sequence[Mapping[str, str]], kind: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the danger messages, or as many ordinary ones, each joined to an ordinary question.

    Both have the same language. Every second pair is on one line, without a full stop between them.

    Yields:
        The position of the question, and the joined texts.
    """
    questions = {
        language: [row["text"] for row in rows
                   if (row["language"], row["kind"]) == (language, "ordinary")]
        for language in LANGUAGES
    }  # fmt: skip
    danger = [row for row in rows if row["kind"] == "danger"]
    pairs: list[tuple[str, str, str]] = []
    for number, one in enumerate(danger):
        own = questions[one["language"]]
        text = one["text"] if kind == "danger" else own[(number + 7) % len(own)]
        pairs.append((own[number % len(own)], text, " \n"[number % 2]))
    yield "before", [f"{question}{between}{text}" for question, text, between in pairs]
    yield "after", [f"{text}{between}{question}" for question, text, between in pairs]


def share(messages: Sequence[JudgedMessage], found: Sequence[str]) -> float:
    """Return the share of messages that were classified as one of the kinds in `found`."""
    return statistics.fmean(message.found in found for message in messages)


def figures(half: str, *, every: int = 1) -> list[Row]:
    """Return the rows of a set, or of every nth of its messages, where n is `every`."""
    read = read_rows(half)[::every]
    messages, spent = judged(read)
    by_kind = {kind: [message for message in messages if message.kind == kind] for kind in KINDS}
    danger, ordinary = by_kind["danger"], by_kind["ordinary"]
    rows: list[Row] = []

    def goal(
        name: str, value: float, wanted: float, *, at_least: bool, unit: str = "share"
    ) -> None:
        holds = value >= wanted if at_least else value <= wanted
        rows.append(Row(name, value, unit, wanted, holds))

    goal(f"danger recognised, {half} ({len(danger)})", share(danger, ("danger",)), MIN_DANGER,
         at_least=True)  # fmt: skip
    goal(f"ordinary taken for danger, {half} ({len(ordinary)})", share(ordinary, ("danger",)),
         MAX_FALSE_DANGER, at_least=False)  # fmt: skip
    goal(f"ordinary taken for any kind, {half}", share(ordinary, DESK_KINDS), MAX_TAKEN,
         at_least=False)  # fmt: skip
    goal("CPU time per message", spent, MAX_MS, at_least=False, unit="CPU-ms")
    for kind in ("danger", "ordinary"):
        for place, texts in beside(read, kind):
            found = statistics.fmean(classify_message(text) == "danger" for text in texts)
            beside_it = f"a question {place} it ({len(texts)})"
            if kind == "danger":
                goal(f"danger recognised, {beside_it}", found, MIN_BESIDE, at_least=True)
            else:
                rows.append(Row(f"ordinary taken for danger, {beside_it}", found, "share"))
    for language in LANGUAGES:
        some = [one for one in danger if one.language == language]
        others = [one for one in ordinary if one.language == language]
        rows.append(Row(f"danger, {language} ({len(some)})", share(some, ("danger",)), "share"))
        taken = share(others, ("danger",))
        rows.append(Row(f"ordinary taken for danger, {language} ({len(others)})", taken, "share"))
    for kind in DESK_KINDS[1:]:
        some = by_kind[kind]
        wanted = MIN_PRIVATE if kind == "private" else None
        found = share(some, TOLD_WHO_ANSWERS if kind == "identity" else (kind,))
        peers = {"as danger": share(some, ("danger",)), "as ordinary": share(some, ("ordinary",))}
        holds = wanted is None or found >= wanted
        rows.append(Row(f"{kind} recognised ({len(some)})", found, "share", wanted, holds, peers))
    lines = (FOLDER / f"boundary_{half}.jsonl").read_text(encoding="utf-8").splitlines()
    near, _ = judged(list(map(json.loads, lines))[::every])
    for kind, name, found in (
        ("ordinary", "ordinary near identity, answered without posts", DESK_KINDS),
        ("ordinary", "ordinary near identity, with a notice", ("possible_identity",)),
        ("identity", "identity near ordinary, recognised", TOLD_WHO_ANSWERS),
    ):
        some = [message for message in near if message.kind == kind]
        rows.append(Row(f"{name} ({len(some)})", share(some, found), "share"))
    special = [message for message in messages if message.kind != "ordinary"]
    right = statistics.fmean(one.language == one.found_language for one in special)
    rows.append(Row(f"language recognised, of all kinds ({len(special)})", right, "share"))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = bench_parser(__doc__)
    parser.add_argument("--half", choices=("tuned", "held_out"), default=None)
    options = parser.parse_args(arguments)
    half = options.half or ("tuned" if options.quick else "held_out")
    return tell(figures(half), options.json, sign=_sign)


def _sign(row: Row) -> str:
    return "≥" if "recognised" in row.name else "≤"


if __name__ == "__main__":
    sys.exit(main())
