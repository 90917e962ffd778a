"""Audit of a checkpoint that was trained with planted canaries: how much of them it gives away.

    python -m twin_assets.evaluation.harm.canary_audit CHECKPOINT_FOLDER

Belongs here: reading such a checkpoint and scoring its canaries. Does not belong here: planting
(configure `fine_tuned_checkpoint` with `spoil: planted_canaries`), exposure itself
(`canary_exposure.py`).

Such a checkpoint is for the audit alone: its data version names what was done to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_assets.checkpoints.manifest import ADAPTER, MODEL, read_manifest
from twin_assets.checkpoints.samples import tokenize_samples
from twin_assets.evaluation.likelihood import perplexity
from twin_assets.training import canary_exposure as exposure
from twin_assets.training.canary_exposure import Exposure
from twin_assets.training.fault_injection import PLANTED_CANARIES
from twin_resources.errors import TwinError

MOST_TOKENS = 512


def audit(folder: Path, *, references: int = exposure.REFERENCES) -> Exposure:
    """Exposure of the canaries in a checkpoint's training set.

    Args:
        folder: of the checkpoint.
        references: random numbers that each canary is ranked among.

    Raises:
        TwinError: it was trained without canaries.
    """
    manifest = read_manifest(folder)
    if manifest.dataset.get("spoil") != PLANTED_CANARIES:
        raise TwinError(
            f"audit {folder.name[:12]} for memorised canaries",
            found="a checkpoint that was trained without any",
            next_step=f"train with the configuration spoil: {PLANTED_CANARIES}",
        )
    adapter = folder / ADAPTER
    base = Path(manifest.base["folder"]) if adapter.is_dir() else folder / MODEL
    return exposures(
        base,
        adapter if adapter.is_dir() else None,
        exposure.planted(str(manifest.recipe["seed"])),
        references=references,
    )


def exposures(
    base: Path,
    adapter: Path | None,
    planted: Sequence[tuple[exposure.Canary, int]],
    *,
    references: int = exposure.REFERENCES,
) -> Exposure:
    """Exposure of canaries in a model.

    Args:
        base, adapter: folders, as `perplexity.load_model` takes them.
        planted: canaries, and how often each was trained on.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = perplexity.load_model(base, adapter, precision=perplexity.evaluation_precision())
    measured: list[exposure.CanaryExposure] = []
    for canary, times in planted:
        rows = [exposure.row(one) for one in (canary, *exposure.others(canary, count=references))]
        samples, _ = tokenize_samples(rows, tokenizer, max_length=MOST_TOKENS)
        likelihoods = perplexity.answer_likelihood(model, samples).negative_log_likelihoods
        measured.append(
            exposure.exposure_of(
                canary, likelihoods[0], reference_likelihoods=likelihoods[1:], planted=times
            )
        )
    return exposure.exposure(measured)


def main() -> None:
    """Print the table and what the claim says; exit code 1 when it is not met."""
    parser = argparse.ArgumentParser(prog="python -m twin_assets.evaluation.harm.canary_audit")
    parser.add_argument("folder", type=Path, help="a checkpoint's folder")
    try:
        exposure_found = audit(parser.parse_args().folder)
    except TwinError as error:
        sys.exit(str(error))
    verdict = exposure.claim(exposure_found)
    sys.stdout.write("\n".join([*exposure.lines(exposure_found), "", verdict.detail, ""]))
    sys.exit(0 if verdict.passed else 1)


if __name__ == "__main__":
    main()
