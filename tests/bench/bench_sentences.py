"""Judges of sentences: how well they tell an author's own sentences from wrong ones.

    python tests/bench/bench_sentences.py --quick|--full [--nli FOLDER_OR_ID] [--json FILE]

The author's own sentences, three of four reworded, against the same with a negation, another number
or name, and sentences of other posts; the threshold comes from half of the posts, the figures from
the other half, as in the gate. `--quick` takes one bundled author, `--full` all three. The peer is
the support score without the rules for numbers, names and negations. With `--nli` an entailment
model is measured as well; none comes with this project.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, tell
from twin_assets.evaluation.measures.sentence_faithfulness import (
    APART,
    OWN_SENTENCES,
    SentenceCalibration,
    calibrated,
)
from twin_resources.errors import TwinError
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.embedder.preparation import prepare
from twin_resources.quality.judges.judge import embed_once
from twin_resources.quality.judges.named import NamedJudges
from twin_resources.quality.judges.planted_sentences import PlantedSentence, plant_sentences
from twin_resources.quality.judges.sentence_support import SentenceJudge, SentenceSupport
from twin_resources.quality.judges.support import SUPPORT_VERSION, sentences, support_by_sentence
from twin_resources.quality.judges.texts import WriterSample, bundled_hands
from twin_resources.settings import load_settings


class SupportAlone:
    """The support score of single sentences, without the rules."""

    name = "support alone"
    revision = SUPPORT_VERSION

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def score(self, held: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        texts = [sentence for sentence, _ in held]
        texts += [part for _, passages in held for text in passages for part in sentences(text)]
        vectors = embed_once(self._embedder.embed, texts)
        return [support_by_sentence([one], passages, vectors)[0] for one, passages in held]


def calibration_of(
    judge: SentenceJudge, planted: Sequence[PlantedSentence]
) -> tuple[SentenceCalibration, float]:
    """A judge's error rates, and the CPU seconds of its scores."""
    began = time.process_time()
    scores = judge.score([(one.sentence, one.passages) for one in planted])
    spent = time.process_time() - began
    found = calibrated(judge.name, judge.revision, planted, scores)
    if found is None:
        raise TwinError(
            f"calibrate {judge.name}",
            found=f"{len(planted)} planted sentences, too few in one half",
            next_step="give it an author with more posts",
        )
    return found, spent


def rows_of(hand: WriterSample, judges: Sequence[SentenceJudge]) -> list[Row]:
    """The figures of one author; the first judge is the gate's, the others are its peers."""
    planted = plant_sentences(hand.passages, most=OWN_SENTENCES)
    found = {judge.name: calibration_of(judge, planted) for judge in judges}
    (mine, spent), *_ = found.values()
    peers = {name: one for name, (one, _) in found.items() if one is not mine}
    rows = [
        Row(
            f"{hand.name}: wrong − right flagged, lower end of 95 %", mine.apart.low, "share",
            APART, mine.can_tell, {name: one.apart.low for name, one in peers.items()},
        ),
        Row(
            f"{hand.name}: right ones flagged, of {mine.false_alarms.of}",
            mine.false_alarms.share, "share",
            peers={name: one.false_alarms.share for name, one in peers.items()},
        ),
    ]  # fmt: skip
    rows += [
        Row(
            f"{hand.name}: {one.kind}: flagged, of {one.flagged.of}", one.flagged.share, "share",
            peers={
                name: other.flagged.share
                for name, peer in peers.items()
                for other in peer.kinds
                if other.kind == one.kind
            },
        )
        for one in mine.kinds
    ]  # fmt: skip
    return [*rows, Row(f"{hand.name}: {len(planted)} sentences scored, CPU", spent, "s")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true")
    form.add_argument("--full", action="store_true")
    parser.add_argument("--nli", default="", help="an entailment model: folder or hub id")
    parser.add_argument("--home", type=Path, default=None, help="a home with the embedder")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.pop("TWIN_EMBEDDER", None)  # the figures are of the one that comes with it
        settings = load_settings(options.home or Path(scratch))
        prepare(settings)
        embedder = load_embedder(settings)
        judges: list[SentenceJudge] = [
            SentenceSupport(embedder.embed, embedder=embedder.revision),
            SupportAlone(embedder),
        ]
        if options.nli:
            named = NamedJudges(entailment=options.nli, folder=settings.weights_dir / "entailment")
            judges.append(named.load_entailment())
        hands = bundled_hands(without=())
        rows = [
            row for hand in (hands if options.full else hands[:1]) for row in rows_of(hand, judges)
        ]
    return tell(rows, options.json, sign=lambda _: "≥")


if __name__ == "__main__":
    sys.exit(main())
