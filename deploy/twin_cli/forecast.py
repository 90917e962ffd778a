"""Estimate the duration of a first run on this machine before anything is installed.

Scope: the durations of installation, first quotation, training and gate, and the factors that scale
them.
Out of scope: the size of a model (`model_fit.py`), the time left in a running step
(`time_left.py`), imports from outside the standard library, and syntax newer than Python 3.9.

The formula is fitted to runs of the bundled author on two cores. On another machine, without bf16
and with other work running, installation took 233 s, the first answer 61 s more, and training on
100,000 tokens 783 s. The formula predicts 200, 60 and 780 s (546 s for the current 70,000 tokens).
It does not consider what else runs on the machine. A loop of plain Python measures a core's speed
in a tenth of a second. The loop reflects the clock rate and the caches, but not the width of the
multiplication units, which only the bf16 check reflects. A core that is faster at Python is
therefore not assumed to multiply faster. For example, a core with speed 1.9 trained as slowly as
one with speed 1 (a Xeon with AMX, 2026-11-24).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twin_resources.models.model_fit import REFERENCE_BILLIONS, estimate_training
from twin_resources.processes.wording import format_duration

# Measured on two cores of an EPYC with avx512_bf16 and little other work.
INSTALL_S = 200.0  # pip is a single process that spends half its time waiting for the network
START_S = 25.0  # prepare the embedder, start services, start the import run
# Per core, measured on 461 posts with 530,000 words: importing and embedding chunks, and embedding
# the quotable sentences.
IMPORT_WORDS_PER_S, QUOTABLE_WORDS_PER_S = 1_300.0, 1_300.0
GATE_START_S = 35.0  # loading servers, judges and the reference
GATE_LIKELIHOOD_CPU_S, GATE_ANSWERS_CPU_S = 12.0, 125.0
LIKELIHOOD_SLOWDOWN_WITHOUT_BF16 = 2.6
# Estimated, not measured: a graphics card computes a passage's likelihood in about .01 s for each
# 135M model. A remote server takes about .3 s for each of 200 short answers, two at a time.
LIKELIHOOD_GPU_S, REMOTE_ANSWERS_S = 1.0, 30.0
RELEASE_S = 10.0

BUNDLED_WORD_COUNT = 25_700
LOOP_ITERATIONS, LOOP_CPU_S = 400_000, 0.0185  # of `measure_core_speed` on the reference core
TEXT_SUFFIXES = {".md", ".markdown", ".txt", ".html", ".htm", ".rst"}
MAX_FILES = 20_000
BYTES_PER_WORD = 6.0


def measure_core_speed() -> float:
    """Return this core's speed relative to the reference core (1.0), limited to .3 to 2."""
    durations = []
    for _ in range(5):
        started_at, total = time.process_time(), 0
        for number in range(LOOP_ITERATIONS):
            total += number * number % 7
        durations.append(time.process_time() - started_at)
    return min(2.0, max(0.3, LOOP_CPU_S / max(min(durations), 1e-6)))


def estimate_word_count(posts: Path | None) -> int:
    """Estimate the number of words in a folder of posts from the sizes of its text files.

    For a single file, such as an archive, the file's own size is used. None means the bundled
    author.
    """
    if posts is None:
        return BUNDLED_WORD_COUNT
    if posts.is_file():
        return round(posts.stat().st_size / BYTES_PER_WORD)
    total_bytes = 0
    for number, file in enumerate(posts.rglob("*")):
        if number >= MAX_FILES:
            break
        if file.suffix.lower() in TEXT_SUFFIXES and file.is_file():
            total_bytes += file.stat().st_size
    return round(total_bytes / BYTES_PER_WORD)


def forecast_durations(
    machine: dict[str, Any],
    *,
    billion_parameters: float,
    word_count: int,
    is_installed: bool,
    recipe: str = "",
    core_speed: float = 1.0,
    uses_remote_server: bool = False,
) -> dict[str, float]:
    """Estimate the duration of each part of a first run, in seconds.

    Args:
        machine: the machine, as for `model_fit.estimate_training`.
        billion_parameters: the base model's number of parameters, in billions.
        word_count: the number of words in the posts.
        is_installed: whether all packages are already installed.
        recipe: the recipe's name, as for `model_fit.estimate_training`.
        core_speed: the result of `measure_core_speed`.
        uses_remote_server: whether `TWIN_MODEL_SERVER_URL` names the model server.

    Returns:
        `installation_s`, `first_quotation_s` (after installation), `training_s`, `gate_s`
        and `ready_s` (their sum plus the release).
    """
    core_count = machine["cores"]
    scale = billion_parameters / REFERENCE_BILLIONS
    matmul_speed = min(1.0, core_speed)

    estimate = estimate_training(billion_parameters, machine, recipe=recipe)
    training_estimate_s = estimate["training_minutes"] * 60
    # A GPU, if present, computes the likelihoods; the local model server still runs on the CPU.
    if estimate["on"] == "CPU":
        likelihood_cpu_s = GATE_LIKELIHOOD_CPU_S * (
            1.0 if machine["bf16"] else LIKELIHOOD_SLOWDOWN_WITHOUT_BF16
        )
        training_s = training_estimate_s / matmul_speed
        likelihood_s = likelihood_cpu_s * scale / core_count / matmul_speed
    else:
        training_s, likelihood_s = training_estimate_s, LIKELIHOOD_GPU_S * max(1.0, scale)
    answers_s = (
        REMOTE_ANSWERS_S
        if uses_remote_server
        else GATE_ANSWERS_CPU_S * scale / core_count / matmul_speed
    )
    indexing_s = word_count / core_count * (1 / IMPORT_WORDS_PER_S + 1 / QUOTABLE_WORDS_PER_S)
    part_seconds = {
        "installation_s": 0.0 if is_installed else INSTALL_S / core_speed,
        "first_quotation_s": (START_S + indexing_s) / core_speed,
        "training_s": training_s,
        "gate_s": GATE_START_S / core_speed + likelihood_s + answers_s,
    }
    part_seconds["ready_s"] = sum(part_seconds.values()) + RELEASE_S / core_speed
    return {name: float(round(value)) for name, value in part_seconds.items()}


def format_forecast(seconds: dict[str, float]) -> str:
    """Return the forecast as one line: when each part is ready, and how long training takes."""
    installed_at_s = seconds["installation_s"]
    installed_text = f"installed at {format_duration(installed_at_s)}, " if installed_at_s else ""
    return (
        f"  expected: {installed_text}first quotation at "
        f"{format_duration(installed_at_s + seconds['first_quotation_s'])}; "
        f"training takes {format_duration(seconds['training_s'])}, the gate "
        f"{format_duration(seconds['gate_s'])}: "
        f"the tuned model answers at {format_duration(seconds['ready_s'])}, plus or minus a third"
    )
