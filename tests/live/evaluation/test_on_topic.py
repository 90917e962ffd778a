"""The long form: two real models are trained, one on shuffled pairs, and both are served.

The small form with recorded answers is `tests/graph/judging/test_stays_on_topic.py`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.live.evaluation.conftest import SCHEMA, Workplace, train_adapter
from tests.live.tiny_model import unpack_base_model
from twin_assets.evaluation import served_answers
from twin_assets.evaluation.gate import BELOW_BASE_BY, OnTopic
from twin_assets.evaluation.held_out import held_out_samples, training_pairs
from twin_assets.evaluation.progress import Clock, Progress
from twin_resources.embedder.embedder import load_embedder
from twin_resources.judging.stored import topic_calibration
from twin_resources.judging.texts import bundled_hands
from twin_resources.judging.topic import TopicJudge
from twin_resources.prompt import DEFAULT_TEMPLATE, render
from twin_resources.serving.model_server import ModelServers
from twin_resources.weights import gguf

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(1800)]

STEPS = 120  # samples of about 170 tokens


def dataset() -> pl.DataFrame:
    """The bundled author's passages with questions that name what they are about."""
    [hand] = [one for one in bundled_hands(without=[]) if one.name == "mara-lindqvist"]
    rows: list[dict[str, Any]] = []
    for index, (document, answer) in enumerate(hand.passages):
        title = document.split("-", 3)[-1].replace("-", " ")
        question = f"What do you say about {title}: {' '.join(answer.split()[:6])}?"
        messages = render(DEFAULT_TEMPLATE, author_name="Mara Lindqvist", question=question)
        rows.append(
            {
                "sample_id": f"s{index:03}", "document_id": document, "chunk_id": f"c{index}",
                "split": "held_out" if index >= len(hand.passages) - 45 else "train",
                "question": question, "answer": answer, "start": 0, "end": len(answer) + index,
                "messages": [*messages, {"role": "assistant", "content": answer}],
                "template": DEFAULT_TEMPLATE.hash, "context_chunk_ids": [],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


def shuffled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mis-joined column: every question with another one's answer."""
    answers = [row["messages"][-1] for row in rows]
    random.Random(3).shuffle(answers)
    return [
        row | {"messages": [*row["messages"][:-1], answer], "answer": answer["content"]}
        for row, answer in zip(rows, answers, strict=True)
    ]


def test_a_served_model_of_shuffled_pairs_is_refused_and_a_good_one_is_not(
    workplace: Workplace, tmp_path: Path
) -> None:
    rows = dataset()
    training = rows.filter(pl.col("split") == "train")
    base = unpack_base_model(tmp_path)
    gguf.write_f16(base, tmp_path / "base.gguf")
    embedder = load_embedder(workplace.settings)
    calibration = topic_calibration(
        workplace.tables,
        "mara-lindqvist",
        training_pairs(rows),
        embed=embedder.embed,
        embedder=embedder.revision,
    )
    servers = ModelServers(workplace.settings)

    def measured(name: str, samples: list[dict[str, Any]]) -> OnTopic:
        adapter = train_adapter(base, samples, tmp_path / name, STEPS, 1, learning_rate=0.001)
        gguf.write_adapter(adapter, base, tmp_path / f"{name}.gguf")
        clock, progress = Clock(), Progress(lambda _line: None, served_answers.STEPS)
        asked = served_answers.ask_both(
            held_out_samples(rows, trained_on=()),
            serve=lambda: servers.serve(
                tmp_path / "base.gguf", tmp_path / f"{name}.gguf", alias=name
            ),
            serve_base=lambda: servers.serve(tmp_path / "base.gguf", alias="base"),
            clock=clock,
            progress=progress,
        )
        return served_answers.compare_topic(
            asked,
            topic=lambda: TopicJudge(calibration, embedder.embed),
            clock=clock,
            progress=progress,
        )

    good = measured("good", training.to_dicts())
    bad = measured("shuffled", shuffled(training.to_dicts()))

    assert good.questions == bad.questions == served_answers.TOPIC_QUESTIONS
    assert good.candidate - good.base >= -BELOW_BASE_BY
    assert bad.candidate - bad.base < -BELOW_BASE_BY
