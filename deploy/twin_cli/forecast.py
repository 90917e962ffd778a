"""Estimate the duration of a first run on this machine before anything is installed.

Scope: installation, first quotation, training and gate in seconds, and the factors that scale them.
Out of scope: the size of a model (`model_fit.py`), the time left of a running step
(`time_left.py`), imports from outside the standard library, and syntax newer than Python 3.9.

The rule comes from runs of the bundled author on two cores. Elsewhere, without bf16 and with other
work running, installation took 233 s, the first answer 61 s more, and training on 100,000 tokens
783 s. The rule predicts 200, 60 and 780 (546 s for the current 70,000 tokens). Work that runs
during the check is assumed to continue and to share every core. A loop of plain Python measures a
core's speed within a tenth of a second. It covers the clock and the caches, but not the width of a
multiplication; the bf16 check covers that. A core that is faster at Python is therefore not assumed
to multiply faster: a core of speed 1.9 trained at the speed of 1 (a Xeon with AMX, 2026-11-24).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_resources.models.model_fit import REFERENCE_BILLION, estimate_training

# measured on two cores of an EPYC with avx512_bf16, with little other work
INSTALL_S = 200.0  # pip is one process and spends half of the time waiting for the network
START_S = 25.0  # embedder prepared, services up, the import's run started
# per core, from 461 posts of 530,000 words: imported and embedded as chunks, and embedded as the
# sentences that may be quoted
WORDS_PER_S, QUOTABLE_WORDS_PER_S = 1_300.0, 1_300.0
GATE_START_S = 35.0  # loading servers, judges and the reference
GATE_READING_CPU_S, GATE_ANSWERS_CPU_S = 12.0, 125.0
READING_WITHOUT_BF16 = 2.6
# Estimated, not measured: a card reads a passage with the 135M in about .01 s per model; 200
# short answers of a server elsewhere, two at a time, take about .3 s each.
READING_GPU_S, REMOTE_ANSWERS_S = 1.0, 30.0
RELEASE_S = 10.0

BUNDLED_WORDS = 25_700
LOOP_ITERATIONS, LOOP_CPU_S = (
    400_000,
    0.0185,
)  # iterations and seconds of `core_speed`'s loop on such a core
LOAD_SAMPLES, LOAD_SAMPLE_INTERVAL_S = 20, 0.01
TEXT_SUFFIXES = {".md", ".markdown", ".txt", ".html", ".htm", ".rst"}
MAX_FILES = 20_000
BYTES_PER_WORD = 6.0


def core_speed() -> float:
    """Return this core's speed relative to the reference core: 1.0 is equal, from .3 to 2."""
    durations = []
    for _ in range(5):
        started_at, total = time.process_time(), 0
        for number in range(LOOP_ITERATIONS):
            total += number * number % 7
        durations.append(time.process_time() - started_at)
    return min(2.0, max(0.3, LOOP_CPU_S / max(min(durations), 1e-6)))


def count_competing_processes() -> float:
    """Return how many other processes compete for a core, or 0 if the system does not count them.

    The result is the lower of the last minute's mean and the current count: a process that just
    ended (a build, `git clone`) stays in that mean for minutes and will not run beside the
    installation.
    """
    try:
        recent_load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
    current_load = _count_running_processes()
    return recent_load if current_load is None else min(recent_load, current_load)


def _count_running_processes() -> float | None:
    """Return how many other processes run or wait for a core, on average over a fifth of a second.

    The result is None if the system does not report it.
    """
    counts = []
    for _ in range(LOAD_SAMPLES):
        try:
            running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
        except (OSError, IndexError):
            return None
        counts.append(max(0, int(running) - 1))
        time.sleep(LOAD_SAMPLE_INTERVAL_S)
    return sum(counts) / len(counts)


def estimate_words(posts: Path | None) -> int:
    """Estimate the words in a folder of posts from the sizes of its text files.

    An archive counts by its bytes; None means the bundled author.
    """
    if posts is None:
        return BUNDLED_WORDS
    if posts.is_file():
        return round(posts.stat().st_size / BYTES_PER_WORD)
    size = 0.0
    for number, file in enumerate(posts.rglob("*")):
        if number >= MAX_FILES:
            break
        if file.suffix.lower() in TEXT_SUFFIXES and file.is_file():
            size += file.stat().st_size
    return round(size / BYTES_PER_WORD)


def forecast(
    machine: dict[str, Any],
    *,
    billion_parameters: float,
    words: int,
    installed: bool,
    recipe: str = "",
    other_processes: float = 0.0,
    speed: float = 1.0,
    is_remote_server: bool = False,
) -> dict[str, float]:
    """Return the seconds of each part of a first run.

    Args:
        machine: the machine, as for `model_fit.estimate_training`.
        billion_parameters: the base model's parameters, in billions.
        words: the words in the posts.
        installed: whether everything is already installed.
        recipe: the recipe's name (`model_fit.expect`).
        other_processes: the other processes that compete for a core (`count_competing_processes`).
        speed: the speed of a core (`core_speed`).
        is_remote_server: whether a third party's server answers (`TWIN_MODEL_SERVER_URL`).

    Returns:
        `installation_s`, `first_quotation_s` (after installation), `training_s`, `gate_s`, and
        `ready_s`, their sum with the release; `slow_factor`, the factor due to other work.
    """
    cores = machine["cores"]
    slowdown = 1.0 + (other_processes / cores if other_processes >= 0.5 else 0.0)
    scale = billion_parameters / REFERENCE_BILLION

    def scale_single_core(seconds: float) -> float:
        return seconds * slowdown / speed

    def scale_matrix_products(seconds: float) -> float:
        return seconds * slowdown / min(1.0, speed)

    expected = estimate_training(billion_parameters, machine, recipe=recipe)
    training = expected["training_minutes"] * 60
    # likelihoods are read on a card if there is one; this home's server answers on the processor
    if expected["on"] == "CPU":
        reading_cpu_s = GATE_READING_CPU_S * (1.0 if machine["bf16"] else READING_WITHOUT_BF16)
        training_s, reading_s = (
            scale_matrix_products(training),
            scale_matrix_products(reading_cpu_s * scale / cores),
        )
    else:
        training_s, reading_s = training, READING_GPU_S * max(1.0, scale)
    answers_s = (
        REMOTE_ANSWERS_S
        if is_remote_server
        else scale_matrix_products(GATE_ANSWERS_CPU_S * scale / cores)
    )
    gate_s = scale_single_core(GATE_START_S) + reading_s + answers_s
    reading_words = words / (WORDS_PER_S * cores) + words / (QUOTABLE_WORDS_PER_S * cores)
    parts = {
        "installation_s": 0.0 if installed else scale_single_core(INSTALL_S),
        "first_quotation_s": scale_single_core(START_S + reading_words),
        "training_s": training_s,
        "gate_s": gate_s,
    }
    ready_s = sum(parts.values()) + scale_single_core(RELEASE_S)
    return {name: float(round(value)) for name, value in parts.items()} | {
        "ready_s": float(round(ready_s)),
        "slower": round(slowdown, 1),
    }


def format_forecast(seconds: dict[str, float]) -> Sequence[str]:
    """Return the forecast as text: when each part is ready, and how long training and gate take."""
    installed_at_s = seconds["installation_s"]
    installed = f"installed at {_format_duration(installed_at_s)}, " if installed_at_s else ""
    lines = [
        f"  expected: {installed}first quotation at "
        f"{_format_duration(installed_at_s + seconds['first_quotation_s'])}; "
        f"training takes {_format_duration(seconds['training_s'])}, the gate "
        f"{_format_duration(seconds['gate_s'])}: "
        f"the tuned model answers at {_format_duration(seconds['ready_s'])}, give or take a third"
    ]
    if seconds["slower"] > 1.0:
        lines.append(
            f"  (other programs use the cores: {seconds['slower']:.1f} times as long as alone, as "
            "long as they do)"
        )
    return lines


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
