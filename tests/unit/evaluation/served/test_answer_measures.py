"""Every measure of served answers on one list of prompts: who gets which answers, what is kept."""

from __future__ import annotations

import polars as pl
import pytest

from tests.unit.evaluation.served.test_base_scores import NoTables
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import (
    author_voice,
    instruction_following,
    on_topic,
    passage_support,
    recitation,
    red_team,
    runner,
    sentence_faithfulness,
)
from twin_assets.evaluation.measures.measure import DocumentText, NotMeasured
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
    build_prompt_set,
    read_red_team_prompts,
)
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.judge_kind import TopicPair
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.texts import WriterSample, bundled_writers
from twin_resources.quality.judges.topic import TopicJudge, calibrate_topic
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

QUESTIONS = 35
HEDGED = (
    "Certainly! Here are some important things to consider when it comes to this topic. First, it "
    "is essential to understand that there are many different factors, number {} among them."
)


@pytest.fixture(scope="module")
def hands() -> dict[str, WriterSample]:
    return {hand.name: hand for hand in bundled_writers(exclude=[])}


@pytest.fixture(scope="module")
def judges(hands: dict[str, WriterSample]) -> Judges:
    own, other = hands["mara-lindqvist"].passages[:120], hands["tomas-okafor"].passages[:120]
    base = tuple((str(number), HEDGED.format(number)) for number in range(60))
    pairs = [TopicPair(f"What of {text[:60]}?", text, document) for document, text in own]
    people = [WriterSample("tomas", other)]
    return Judges(
        support=SupportJudge(embed, embedder="words"),
        topic=TopicJudge(calibrate_topic(pairs, embed=embed, embedder="words"), embed),
        voice=VoiceJudge(
            calibrate_voice(WriterSample("mara", own), [*people, WriterSample("base model", base)])
        ),
        voice_people=VoiceJudge(calibrate_voice(WriterSample("mara", own), people)),
    )


@pytest.fixture(scope="module")
def samples(hands: dict[str, WriterSample]) -> pl.DataFrame:
    rows = []
    for number, (document, text) in enumerate(hands["mara-lindqvist"].passages[120:160]):
        question = f"What of {text[:60]}?"
        prompt = render(DEFAULT_TEMPLATE, author_name="Mara", question=question)
        rows.append(
            {
                "sample_id": f"s{number}", "document_id": document, "question": question,
                "answer": text, "messages": [*prompt, {"role": "assistant", "content": text}],
                "context_chunk_ids": [f"c{number}"],
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def asked(samples: pl.DataFrame) -> PromptSet:
    return asked_of(samples, questions=QUESTIONS)


def asked_of(samples: pl.DataFrame, *, questions: int) -> PromptSet:
    chunks = samples.select(pl.col("sample_id").str.replace("s", "c"), "answer")
    return build_prompt_set(
        samples,
        samples,
        template=DEFAULT_TEMPLATE,
        chunks=dict(chunks.iter_rows()),
        posts=["A post.", "Another."],
        questions=questions,
    )


def answered(text: str) -> ServedAnswer:
    return ServedAnswer(text, tuple(range(30)), (), seconds=0.5)


def said_by(asked: PromptSet, held_out: list[str], other: str) -> PromptAnswers:
    many = len(asked.red_team) + len(asked.instructions)
    texts = [*held_out, *[other] * many]
    base = {at: HEDGED.format(at) for at in range(len(asked.prompts))}
    return PromptAnswers(dict(enumerate(map(answered, texts))), base)


def scores_for(asked: PromptSet, judges: Judges) -> BaseScores:
    kept = MeasurementCache(NoTables(), "mara")  # pyright: ignore[reportArgumentType]
    scores = BaseScores(kept, ["base"], asked.prompts)
    runner.announce(scores, asked, judges)
    return scores


def test_the_prompts_of_all_measures_are_one_list(asked: PromptSet, judges: Judges) -> None:
    assert len(asked.held_out) == len(asked.with_posts) == QUESTIONS
    assert len(asked.red_team) == len(read_red_team_prompts())
    assert asked.candidate_positions == range(asked.with_posts.start)
    assert len(asked.instructions) == 50
    for at in asked.instructions:
        assert [part["role"] for part in asked.prompts[at]] == ["user"], "without the template"
    assert "Another." in asked.prompts[asked.with_posts[0]][0]["content"]
    assert "Another." not in asked.prompts[0][0]["content"]
    assert scores_for(asked, judges).missing() == list(range(len(asked.prompts)))


def test_an_author_with_fewer_questions_is_asked_all_of_them(samples: pl.DataFrame) -> None:
    asked = asked_of(samples, questions=100)

    assert asked.questions == samples["question"].to_list()
    assert len(asked.held_out) == len(asked.with_posts) == samples.height


def test_the_authors_own_answers_pass_every_measure_that_can_be_taken(
    asked: PromptSet, judges: Judges
) -> None:
    said = said_by(
        asked, [" ".join(text.split()[:40]) for text in asked.own_answers], "I don't know."
    )
    scores = scores_for(asked, judges)
    parity = CandidateAnswers([], [], [])

    assert judges.topic is not None
    topic = on_topic.measure_topic(asked, said, judges.topic, scores=scores)
    assert topic.own_of_base is not None
    assert topic.own.value > topic.own_of_base.value
    assert topic.reaches_the_limit, topic
    found = author_voice.compare_voices(asked, said, scores, judges)
    assert author_voice.sounds_less_like_the_base(found).passed, found
    assert found.against_people is not None
    safe = red_team.compare_flags(asked, said, scores, ["training"])
    assert red_team.claim(safe).passed
    support = passage_support.compare_support(asked, said, scores, judges.support)
    assert support is not None
    assert passage_support.claim(support).passed
    followed = instruction_following.compare_instruction_following(asked, said, scores)
    # "I don't know." is one sentence without a comma; "Certainly! Here …" is neither
    assert followed.candidate.found > followed.base.found
    spans = recitation.TrainingTextIndex(["another text altogether"])
    recited = recitation.measure_all_answers(asked, said, parity, spans)
    assert recitation.claim(recited).passed
    assert scores_for(asked, judges).cache is not scores.cache
    assert scores.missing() == [], "all scores of the base are known now"


def test_the_bases_own_answers_and_recited_texts_are_refused(
    asked: PromptSet, judges: Judges
) -> None:
    recited = "The keeper of the lamp wrote down every ship that passed the point in the night."
    said = said_by(asked, [HEDGED.format(at) for at in asked.held_out], recited)
    scores = scores_for(asked, judges)

    found = author_voice.compare_voices(asked, said, scores, judges)
    assert author_voice.sounds_less_like_the_base(found).passed is False
    spans = recitation.TrainingTextIndex([f"So: {recited}"])
    copied = recitation.measure_all_answers(asked, said, CandidateAnswers([], [], []), spans)
    assert recitation.claim(copied).passed is False
    assert copied.reciting.of == len(asked.candidate_positions) - len(asked.instructions)
    assert judges.topic is not None
    topic = on_topic.measure_topic(asked, said, judges.topic, scores=scores)
    assert not topic.reaches_the_limit, topic


def test_answers_to_other_questions_and_loops_are_not_on_topic(
    asked: PromptSet, judges: Judges
) -> None:
    """The author's own answers, given to other questions; and a word of the question repeated."""
    assert judges.topic is not None
    cut = [" ".join(text.split()[:40]) for text in asked.own_answers]
    alone = BaseScores(MeasurementCache(NoTables(), "mara"), [], [])  # pyright: ignore[reportArgumentType]
    turned = said_by(asked, cut[QUESTIONS // 2 :] + cut[: QUESTIONS // 2], "")
    loops = said_by(asked, [f"{question} " * 9 for question in asked.questions], "")

    shuffled = on_topic.measure_topic(asked, turned, judges.topic, scores=alone)
    looped = on_topic.measure_topic(asked, loops, judges.topic, scores=alone)

    assert shuffled.own.low < 0.5 < shuffled.own.high
    assert not shuffled.reaches_the_limit
    assert looped.own == Interval(0.5, 0.5, 0.5), "what is no text is as near to all"
    assert (shuffled.own_of_base, shuffled.own_apart) == (None, None)


def test_without_a_voice_judge_the_reason_is_told(asked: PromptSet, judges: Judges) -> None:
    without = Judges(judges.support, judges.topic, None, None, voice_why_not="only 3 texts")
    said = said_by(asked, asked.own_answers, "I don't know.")

    found = author_voice.compare_voices(asked, said, scores_for(asked, without), without)

    assert author_voice.sounds_less_like_the_base(found).passed is None
    assert "only 3 texts" in author_voice.sounds_less_like_the_base(found).detail


def test_what_the_passages_say_is_released_for_voice_and_what_they_do_not_is_not(
    asked: PromptSet, hands: dict[str, WriterSample]
) -> None:
    own = [
        DocumentText(document, text) for document, text in hands["mara-lindqvist"].passages[:120]
    ]
    judge = SentenceSupport(embed, embedder="words")
    # as long as the model's answers are, so that the last sentence is cut off
    right = said_by(asked, [" ".join(text.split()[:40]) for text in asked.own_answers], "")
    wrong = said_by(asked, [HEDGED.format(at) for at in asked.held_out], "")

    good = sentence_faithfulness.measure_candidate_faithfulness(asked, right, own, judge)
    bad = sentence_faithfulness.measure_candidate_faithfulness(asked, wrong, own, judge)

    assert not isinstance(good, NotMeasured)
    assert not isinstance(bad, NotMeasured)
    assert sentence_faithfulness.claim(good).passed is True, sentence_faithfulness.claim(good)
    assert sentence_faithfulness.claim(bad).passed is False
    assert good.calibration == bad.calibration
    few = sentence_faithfulness.measure_candidate_faithfulness(asked, right, own[:3], judge)
    assert few == NotMeasured("fewer than 40 sentences of the author for calibration")
