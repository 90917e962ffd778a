"""What a first run takes on this machine, told before anything is installed.

Scope: installation, first quotation, training and gate in seconds, and what they scale with.
Out of scope: the size of a model (`model_fit.py`), the time left of what runs already
(`time_left.py`), any import outside the standard library, and syntax newer than Python 3.9.

A rule, from runs of the bundled author on two cores. Measured elsewhere, without bf16 and with
other work beside it: installed after 233 s, the first answer 61 s later, training on 100,000 tokens
783 s; the rule says 200, 60 and 780 (546 s for the 70,000 that are named there now). What runs
beside it when this looks is taken to stay: every core is shared with as many others. How fast a
core is, a loop of plain Python tells within a tenth of a second: clock and caches, not how wide it
multiplies, which is what bf16 is asked for. A core that is quicker at Python is therefore not taken
to be quicker at products: one of 1.9 times trained at the speed of 1 (a Xeon with AMX, 2026-11-24).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_resources.models.model_fit import REFERENCE_BILLION, expect

# of two cores of an EPYC with avx512_bf16, little beside it
INSTALL_S = 200.0  # pip is one process, and waits for the network half of the time
START_S = 25.0  # embedder prepared, services up, the import's run begun
# a core, from 461 posts of 530,000 words: imported and embedded as chunks, and embedded as the
# sentences that may be quoted
WORDS_PER_S, QUOTABLE_WORDS_PER_S = 1_300.0, 1_300.0
GATE_START_S = 35.0  # servers, judges and the reference are loaded
GATE_READING_CPU_S, GATE_ANSWERS_CPU_S = 12.0, 125.0
READING_WITHOUT_BF16 = 2.6
# By rule, not measured: a passage of the 135M takes a card about .01 s a model; 200 short answers
# of a server elsewhere, two at a time, about .3 s each.
READING_GPU_S, ELSEWHERE_S = 1.0, 30.0
RELEASE_S = 10.0

BUNDLED_WORDS = 25_700
LOOP, LOOP_CPU_S = 400_000, 0.0185  # seconds of that loop on such a core
LOOKS, LOOK_S = 20, 0.01
TEXT = {".md", ".markdown", ".txt", ".html", ".htm", ".rst"}
MAX_FILES = 20_000
BYTES_A_WORD = 6.0


def core_speed() -> float:
    """This machine's core against the one that the figures are of; 1.0 is as fast, from .3 to 2."""
    took = []
    for _ in range(5):
        began, total = time.process_time(), 0
        for number in range(LOOP):
            total += number * number % 7
        took.append(time.process_time() - began)
    return min(2.0, max(0.3, LOOP_CPU_S / max(min(took), 1e-6)))


def load() -> float:
    """Other processes that want a core, in the mean of the last minute and still now; 0 where
    nobody counts.

    What has just ended (a build, `git clone`) is in that mean for minutes, and will not run beside.
    """
    try:
        lately = os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
    now = _running()
    return lately if now is None else min(lately, now)


def _running() -> float | None:
    """Processes that run or wait for a core, without this one, in the mean of a fifth of a second;
    None: this system does not say."""
    counts = []
    for _ in range(LOOKS):
        try:
            running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
        except (OSError, IndexError):
            return None
        counts.append(max(0, int(running) - 1))
        time.sleep(LOOK_S)
    return sum(counts) / len(counts)


def words_in(posts: Path | None) -> int:
    """About how many words a folder of posts holds, by the sizes of its text files; an archive is
    as good as its bytes. None: the bundled author."""
    if posts is None:
        return BUNDLED_WORDS
    if posts.is_file():
        return round(posts.stat().st_size / BYTES_A_WORD)
    size = 0.0
    for number, file in enumerate(posts.rglob("*")):
        if number >= MAX_FILES:
            break
        if file.suffix.lower() in TEXT and file.is_file():
            size += file.stat().st_size
    return round(size / BYTES_A_WORD)


def forecast(
    machine: dict[str, Any],
    *,
    billions: float,
    words: int,
    installed: bool,
    recipe: str = "",
    busy: float = 0.0,
    speed: float = 1.0,
    elsewhere: bool = False,
) -> dict[str, float]:
    """Seconds of each part of a first run, and when what is there.

    Args:
        machine: as of `model_fit.expect`.
        billions: parameters of the base model.
        words: of the posts.
        installed: nothing is to be installed.
        recipe: as it was named (`model_fit.expect`).
        busy: processes that want a core beside it (`load`).
        speed: of a core (`core_speed`).
        elsewhere: a server of somebody else's answers (`TWIN_MODEL_SERVER_URL`).

    Returns:
        `installation_s`, `first_quotation_s` (after installation), `training_s`, `gate_s`, and
        `ready_s`, their sum with the release; `slower` by what runs beside it.
    """
    cores = machine["cores"]
    slower = 1.0 + (busy / cores if busy >= 0.5 else 0.0)
    scale = billions / REFERENCE_BILLION

    def here(seconds: float) -> float:
        return seconds * slower / speed

    def products(seconds: float) -> float:
        return seconds * slower / min(1.0, speed)

    model = expect(billions, machine, recipe=recipe)
    training = model["training_minutes"] * 60
    # likelihoods are read on a card where there is one; our own server answers on the processor
    if model["on"] == "CPU":
        reading = GATE_READING_CPU_S * (1.0 if machine["bf16"] else READING_WITHOUT_BF16)
        training_s, reading_s = products(training), products(reading * scale / cores)
    else:
        training_s, reading_s = training, READING_GPU_S * max(1.0, scale)
    answers_s = ELSEWHERE_S if elsewhere else products(GATE_ANSWERS_CPU_S * scale / cores)
    gate_s = here(GATE_START_S) + reading_s + answers_s
    reading_words = words / (WORDS_PER_S * cores) + words / (QUOTABLE_WORDS_PER_S * cores)
    parts = {
        "installation_s": 0.0 if installed else here(INSTALL_S),
        "first_quotation_s": here(START_S + reading_words),
        "training_s": training_s,
        "gate_s": gate_s,
    }
    ready = sum(parts.values()) + here(RELEASE_S)
    return {name: float(round(value)) for name, value in parts.items()} | {
        "ready_s": float(round(ready)),
        "slower": round(slower, 1),
    }


def as_lines(seconds: dict[str, float]) -> Sequence[str]:
    """For a person: when what is there, and how long training and gate take."""
    at = seconds["installation_s"]
    installed = f"installed at {_clock(at)}, " if at else ""
    lines = [
        f"  expected: {installed}first quotation at {_clock(at + seconds['first_quotation_s'])}; "
        f"training takes {_clock(seconds['training_s'])}, the gate {_clock(seconds['gate_s'])}: "
        f"the tuned model answers at {_clock(seconds['ready_s'])}, give or take a third"
    ]
    if seconds["slower"] > 1.0:
        lines.append(
            f"  (other programs want the cores: {seconds['slower']:.1f} times as long as alone, as "
            "long as they do)"
        )
    return lines


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
