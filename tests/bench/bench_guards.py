"""The gateway's guards: what of planted texts is found, and what of others is touched.

    python tests/bench/bench_guards.py --quick|--full [--json FILE]

Planted: 80 texts with personal data, 60 with secrets, 60 injections, in English, German and French;
half of each was never tuned on, and the goals are held against that half. Each is looked through
whole and as a stream in pieces of 1 to 12 characters. `--quick` takes every fourth text. Messages
of two strangers, in four languages: the first one's are examples of the guard now, and the second
one's, where their file is, judge it; no text of them is printed. Of public technical posts, drawn
by a seed, the sentences are counted that would be taken for injections: in a passage each costs the
reader that passage.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import time
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.guards.planted import KINDS, Planted, benign, planted
from tests.bench.rows import Row, create_parser, print_results
from twin_resources.authors.guard_settings import GuardPlace, Guards, read_guards
from twin_resources.gateway.guards.injection import find_injections, split_sentences
from twin_resources.gateway.guards.scanning import Scanner
from twin_resources.gateway.guards.streaming import StreamGuard

STRANGERS = Path(__file__).with_name("guards") / "strangers" / "messages.jsonl"
HELD_OUT = Path(__file__).with_name("guards") / "held_out.jsonl"
POSTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "posts"
_NO_PROSE = re.compile(r"\A---.*?^---$|```.*?```", re.DOTALL | re.MULTILINE)
STRANGERS_GOALS = {"injection": 0.85, "personal": 0.9, "benign": 0.01}
MIN_GOALS = {"injection": 0.75}
_REGIONS = {"de": "DE", "fr": "FR", "es": "ES"}
_LANGUAGES = {"en", *_REGIONS}  # that the goals are for
GOALS = {"personal": 0.9, "secrets": 0.95, "injection": 0.8}
MAX_FALSE_POSITIVES = 0.01
_FEWEST = 6  # characters in a row of a value: fewer stand in any text by chance
ALL_MASKED = read_guards(dict.fromkeys(KINDS, "mask"))


def streamed(text: str, scanner: Scanner, *, seed: int) -> str:
    """What a reader gets of the text when it comes in pieces."""
    chance = random.Random(seed)
    held, shown, place = StreamGuard(scanner), "", 0
    while place < len(text):
        piece = text[place : place + chance.randint(1, 12)]
        shown += held.feed(piece)
        place += len(piece)
    return shown + held.finish()


def is_found(one: Planted, shown: str) -> bool:
    """Whether the value is gone; of an injection, whether its sentence is."""
    return one.value not in shown


def sent(one: Planted, shown: str) -> int:
    """Characters of the value that went out in one run, if it is more than chance."""
    match = SequenceMatcher(None, shown, one.value, autojunk=False).find_longest_match()
    return match.size if match.size >= _FEWEST else 0


def figures(*, every: int = 1) -> list[Row]:
    rows: list[Row] = []
    texts = planted()[::every]
    whole = {one: Scanner(ALL_MASKED, "answer", one.region).scan(one.text) for one in texts}
    pieces = {
        one: streamed(one.text, Scanner(ALL_MASKED, "answer", one.region), seed=number)
        for number, one in enumerate(texts)
    }
    for half in ("held_out", "tuned"):
        for kind in KINDS:
            some = [one for one in texts if one.kind == kind and one.half == half]
            if not some:
                continue
            for way in ("whole", "in pieces"):
                shown = {one: whole[one].text if way == "whole" else pieces[one] for one in some}
                recall = statistics.fmean(is_found(one, shown[one]) for one in some)
                goal = GOALS[kind] if half == "held_out" else None
                holds = goal is None or recall >= goal
                rows.append(
                    Row(f"{kind}, {way}, {half} ({len(some)})", recall, "share", goal, holds)
                )
    leaked = sum(
        sent(one, pieces[one])
        for one in texts
        if one.kind != "injection" and is_found(one, whole[one].text)
    )
    rows.append(Row("masked characters sent by streams", leaked, "chars", 0, leaked == 0))
    differ = sum(whole[one].text != pieces[one] for one in texts)
    rows.append(Row("streams that show another text than the whole answer", differ, "texts"))
    for half in ("held_out", "tuned"):
        others = [one for one in benign() if one[1] == half][::every]
        wrongly = [text for language, _, text in others if _touched(text, language)]
        share = len(wrongly) / len(others)
        goal = MAX_FALSE_POSITIVES if half == "held_out" else None
        name = f"benign questions touched, {half} ({len(others)})"
        rows.append(Row(name, share, "share", goal, goal is None or share <= goal))
        for text in wrongly if half == "tuned" else ():
            sys.stderr.write(f"touched: {text}\n")
    rows += strangers(STRANGERS, "spent", every=every)
    if HELD_OUT.is_file():
        rows += strangers(HELD_OUT, "held out", every=every)
    if POSTS.is_dir():
        rows += technical_posts(POSTS, seed=20261126, most=300 // every)
    rows.append(Row("a question looked through", _microseconds(), "µs CPU"))
    rows.append(Row("held back of plain prose, median", _held_back(), "chars"))
    return rows


def strangers(file: Path, what: str, *, every: int = 1) -> list[Row]:
    """What is found in messages that nobody wrote who has made the guards.

    Args:
        file: one JSON object a line: `text`, `language`, `kind`.
        what: `held out`, which has goals, or the name of another set.
    """
    messages = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows: list[Row] = []
    found: dict[tuple[str, str], list[bool]] = {}
    for message in messages[::every]:
        region = _REGIONS.get(message["language"], "US")
        findings = Scanner(ALL_MASKED, "input", region).scan(message["text"]).findings
        kinds = {finding.kind for finding in findings}
        hit = bool(kinds) if message["kind"] == "benign" else message["kind"] in kinds
        found.setdefault((message["kind"], message["language"]), []).append(hit)
    for kind in ("injection", "personal", "benign"):
        by_language = {
            lang: hits for (of, lang), hits in found.items() if of == kind and lang in _LANGUAGES
        }
        share = statistics.fmean(hit for hits in by_language.values() for hit in hits)
        least = min(statistics.fmean(hits) for hits in by_language.values())
        for name, value, wanted in (
            (f"stranger's {kind}, {what}", share, STRANGERS_GOALS[kind]),
            (f"stranger's {kind}, {what}, worst language", least, MIN_GOALS.get(kind)),
        ):
            goal = wanted if what == "held out" else None
            holds = goal is None or (value <= goal if kind == "benign" else value >= goal)
            rows.append(Row(name, value, "share", goal, holds))
    for (kind, language), hits in found.items():
        if language not in _LANGUAGES:
            name = f"stranger's {kind}, {what}, {language} ({len(hits)})"
            rows.append(Row(name, statistics.fmean(hits), "share"))
    return [row for row in rows if "benign" not in row.name or "worst" not in row.name]


def technical_posts(folder: Path, *, seed: int, most: int = 300) -> list[Row]:
    """What is taken for an injection in the prose of Markdown posts, without heads and code.

    Args:
        folder: of the posts; files are drawn from it by `seed`, `most` of them.
    """
    files = sorted(folder.rglob("*.md"))
    drawn = random.Random(seed).sample(files, min(most, len(files)))
    said: list[str] = []
    for file in drawn:
        text = _NO_PROSE.sub("", file.read_text(encoding="utf-8", errors="replace"))
        parts = [text[begin:end] for begin, end in islice(split_sentences(text), 12)]
        said += [part for part in parts if len(part.split()) > 1]
    rows: list[Row] = []
    goals: dict[GuardPlace, float] = {"input": 0.02, "passages": 0.005}
    for place, goal in goals.items():
        share = statistics.fmean(bool(find_injections(one, place)) for one in said)
        name = f"of {len(said)} sentences of technical posts, seed {seed}, {place}"
        rows.append(Row(name, share, "share", goal, share <= goal))
    return rows


def _touched(text: str, language: str) -> bool:
    region = _REGIONS.get(language, "US")
    return bool(Scanner(ALL_MASKED, "input", region).scan(text).findings)


def _microseconds() -> float:
    questions = [text for _, _, text in benign()]
    scanner = Scanner(ALL_MASKED, "input", "US")
    began = time.process_time()
    for text in questions:
        scanner.scan(text)
    return (time.process_time() - began) / len(questions) * 1e6


def _held_back() -> float:
    """Characters that wait behind each piece of plain prose: what a reader sees later."""
    prose = " ".join(text for _, _, text in benign()[:200])[:8000]
    held, waiting, shown = StreamGuard(Scanner(Guards(), "answer")), [], 0
    for place in range(0, len(prose), 4):
        shown += len(held.feed(prose[place : place + 4]))
        waiting.append(place + 4 - shown)
    return statistics.median(waiting)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__)
    options = parser.parse_args(arguments)
    rows = figures(every=4 if options.quick else 1)
    return print_results(rows, options.json, sign=_sign)


def _sign(row: Row) -> str:
    return "≤" if row.unit == "chars" or "touched" in row.name or "benign" in row.name else "≥"


if __name__ == "__main__":
    sys.exit(main())
