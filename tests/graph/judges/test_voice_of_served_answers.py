"""Test the voice score of recorded answers of real models, against the posts of their author.

`served_answers.json` has 24 answers of SmolLM2-135M and of the same model tuned on that author.
They are too few for a claim, but enough to show a difference from the base model. A judge trained
only against other people shows no difference (+.14, 95 %: -.03 to +.31).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.evaluation.measures.author_voice import VoiceScores, match_lengths, score_texts
from twin_assets.evaluation.statistics.bootstrap import mean_interval, paired_difference
from twin_assets.instructions.answer_passages import find_passages
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.texts import WriterSample, bundled_writers
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

RECORDED_ANSWERS = Path(__file__).with_name("served_answers.json")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def read_passages(folder: Path, step: int) -> list[tuple[str, str]]:
    """Return passages of every `step`-th post, shuffled, because habits change over the years."""
    files = sorted([*folder.glob("_posts/*.markdown"), *folder.glob("*/*.md")])[::step]
    files.sort(key=lambda path: digest(path.stem))
    bodies = ((path, FRONT_MATTER.sub("", path.read_text(encoding="utf-8"))) for path in files)
    return [
        (path.stem, passage.plain_text)
        for path, body in bodies
        for passage in find_passages(clean_markdown(body))
    ]


@pytest.fixture(scope="module")
def author(shared_posts: Path) -> list[tuple[str, str]]:
    return read_passages(shared_posts / "skeeto", 3)


@pytest.fixture(scope="module")
def other_author(shared_posts: Path) -> list[tuple[str, str]]:
    return read_passages(shared_posts / "jbranchaud-til", 8)


@pytest.mark.long
def test_a_tuned_model_sounds_more_like_the_author_than_another_human(
    author: list[tuple[str, str]], other_author: list[tuple[str, str]]
) -> None:
    recorded = json.loads(RECORDED_ANSWERS.read_text(encoding="utf-8"))
    base, tuned = ([row[name] for row in recorded] for name in ("base", "good"))
    own_texts, other_texts = author[-len(base) :], other_author[-len(base) :]
    own = WriterSample("skeeto", tuple(author[: -len(base)]))
    people = [WriterSample(writer.name, writer.passages) for writer in bundled_writers(exclude=[])]
    people.append(WriterSample("jbranchaud", tuple(other_author[: -len(base)])))
    # A judge trained on one half of the base's answers scores the other half.
    judges = [
        VoiceJudge(
            calibrate_voice(
                own,
                [
                    *people,
                    WriterSample("base model", tuple((text, text) for text in base[half::2])),
                ],
            )
        )
        for half in (1, 0)
    ]

    def score(texts: list[str]) -> list[float]:
        scores_by_half = [score_texts(judge, texts[half::2]) for half, judge in enumerate(judges)]
        return [scores_by_half[number % 2][number // 2] for number in range(len(texts))]

    def compare(answers: list[str]) -> VoiceScores:
        own_scores = score(match_lengths([text for _, text in own_texts], answers))
        documents = [str(number) for number in range(len(base))]
        return VoiceScores(documents, own_scores, score(answers), score(base))

    tuned_voice, base_voice = compare(tuned), compare(base)
    other_author_voice = compare(match_lengths([text for _, text in other_texts], base))

    assert tuned_voice.over(tuned_voice.base).low > 0
    gap = paired_difference(tuned_voice.own, tuned_voice.base)
    assert gap.low > 0, "the tuned model covers a share of this distance"
    assert base_voice.over(base_voice.base).value == 0.0
    assert mean_interval(base_voice.own).low > mean_interval(base_voice.base).high
    other, own_voice = other_author_voice.candidate, other_author_voice.own
    assert mean_interval(other).high < mean_interval(own_voice).low
