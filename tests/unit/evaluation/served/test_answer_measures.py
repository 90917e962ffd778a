"""Test each measure of served answers on one set of prompts."""

from __future__ import annotations

import polars as pl
import pytest

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import (
    MEASURES,
    author_voice,
    instruction_following,
    on_topic,
    recitation,
    red_team,
    runner,
    sentence_faithfulness,
)
from twin_assets.evaluation.measures.measure import DocumentText, NotMeasured
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
    build_prompt_set,
    read_red_team_prompts,
)
from twin_assets.evaluation.served.served_judges import Judges
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.judge_kind import TopicPair
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.texts import WriterSample, bundled_writers
from twin_resources.quality.judges.topic import TopicJudge, calibrate_topic
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

QUESTION_COUNT = 35
BASE_ANSWER = (
    "Certainly! Here are some important things to consider when it comes to this topic. First, it "
    "is essential to understand that there are many different factors, number {} among them."
)


@pytest.fixture(scope="module")
def writers() -> dict[str, WriterSample]:
    return {writer.name: writer for writer in bundled_writers(exclude=[])}


@pytest.fixture(scope="module")
def judges(writers: dict[str, WriterSample]) -> Judges:
    own_passages, other_passages = (
        writers["mara-lindqvist"].passages[:120],
        writers["tomas-okafor"].passages[:120],
    )
    base = tuple((str(number), BASE_ANSWER.format(number)) for number in range(60))
    pairs = [TopicPair(f"What of {text[:60]}?", text, document) for document, text in own_passages]
    other_writers = [WriterSample("tomas", other_passages)]
    return Judges(
        topic=TopicJudge(calibrate_topic(pairs, embed=embed, embedder="words"), embed),
        voice=VoiceJudge(
            calibrate_voice(
                WriterSample("mara", own_passages),
                [*other_writers, WriterSample("base model", base)],
            )
        ),
        voice_vs_people=VoiceJudge(
            calibrate_voice(WriterSample("mara", own_passages), other_writers)
        ),
    )


@pytest.fixture(scope="module")
def samples(writers: dict[str, WriterSample]) -> pl.DataFrame:
    rows = []
    for number, (document, text) in enumerate(writers["mara-lindqvist"].passages[120:160]):
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
def prompts(samples: pl.DataFrame) -> PromptSet:
    return build_prompts(samples, question_count=QUESTION_COUNT)


def build_prompts(samples: pl.DataFrame, *, question_count: int) -> PromptSet:
    chunks = samples.select(pl.col("sample_id").str.replace("s", "c"), "answer")
    return build_prompt_set(
        samples,
        samples,
        template=DEFAULT_TEMPLATE,
        chunk_texts=dict(chunks.iter_rows()),
        posts=["A post.", "Another."],
        max_questions=question_count,
    )


def build_answer(text: str) -> ServedAnswer:
    return ServedAnswer(text, tuple(range(30)), (), seconds=0.5)


def build_answers(prompts: PromptSet, held_out: list[str], text: str) -> PromptAnswers:
    other_count = len(prompts.red_team) + len(prompts.instructions)
    texts = [*held_out, *[text] * other_count]
    base = {position: BASE_ANSWER.format(position) for position in range(len(prompts.prompts))}
    return PromptAnswers(dict(enumerate(map(build_answer, texts))), base)


def request_scores(prompts: PromptSet, judges: Judges) -> BaseScores:
    cache = MeasurementCache(EmptyTables(), "mara")  # pyright: ignore[reportArgumentType]
    scores = BaseScores(cache, ["base"], prompts.prompts)
    runner.request_base_scores(scores, prompts, judges, MEASURES)
    return scores


def test_the_prompts_of_all_measures_are_one_list(prompts: PromptSet, judges: Judges) -> None:
    assert len(prompts.held_out) == len(prompts.with_posts) == QUESTION_COUNT
    assert len(prompts.red_team) == len(read_red_team_prompts())
    assert len(prompts.instructions) == 50
    for index in prompts.instructions:
        roles = [message["role"] for message in prompts.prompts[index]]
        assert roles == ["user"], "an instruction has the template"
    assert "Another." in prompts.prompts[prompts.with_posts[0]][0]["content"]
    assert "Another." not in prompts.prompts[0][0]["content"]
    assert request_scores(prompts, judges).find_missing() == list(range(len(prompts.prompts)))


def test_all_of_a_few_questions_are_prompts(samples: pl.DataFrame) -> None:
    prompts = build_prompts(samples, question_count=100)

    assert prompts.questions == samples["question"].to_list()
    assert len(prompts.held_out) == len(prompts.with_posts) == samples.height


def test_the_authors_own_answers_pass_every_measure(prompts: PromptSet, judges: Judges) -> None:
    answers = build_answers(
        prompts, [" ".join(text.split()[:40]) for text in prompts.own_answers], "I don't know."
    )
    scores = request_scores(prompts, judges)
    parity = CandidateAnswers([], [], [])

    assert judges.topic is not None
    topic = on_topic.measure_topic(prompts, answers, judges.topic, scores=scores)
    assert topic.own_of_base is not None
    assert topic.own.value > topic.own_of_base.value
    assert topic.has_reached_limit, topic
    voice = author_voice.compare_voices(prompts, answers, scores, judges)
    assert author_voice.decide_less_like_base(voice).passed, voice
    assert voice.against_people is not None
    flags = red_team.compare_flags(prompts, answers, scores, ["training"])
    assert red_team.decide_claim(flags).passed
    instructions_followed = instruction_following.compare_instruction_following(
        prompts, answers, scores
    )
    # "I don't know." is one sentence without a comma; "Certainly! Here …" is neither
    assert instructions_followed.candidate.found > instructions_followed.base.found
    index = recitation.TrainingTextIndex(["another text altogether"])
    recited = recitation.measure_all_answers(prompts, answers, parity, index)
    assert recitation.decide_claim(recited).passed
    assert request_scores(prompts, judges).cache is not scores.cache
    assert scores.find_missing() == [], "a score of the base was not stored"


def test_the_bases_own_answers_and_recited_texts_are_refused(
    prompts: PromptSet, judges: Judges
) -> None:
    recited_text = (
        "The keeper of the lamp wrote down every ship that passed the point in the night."
    )
    answers = build_answers(
        prompts, [BASE_ANSWER.format(position) for position in prompts.held_out], recited_text
    )
    scores = request_scores(prompts, judges)

    voice = author_voice.compare_voices(prompts, answers, scores, judges)
    assert author_voice.decide_less_like_base(voice).passed is False
    index = recitation.TrainingTextIndex([f"So: {recited_text}"])
    recited = recitation.measure_all_answers(prompts, answers, CandidateAnswers([], [], []), index)
    assert recitation.decide_claim(recited).passed is False
    assert recited.reciting.of == prompts.with_posts.start - len(prompts.instructions)
    assert judges.topic is not None
    topic = on_topic.measure_topic(prompts, answers, judges.topic, scores=scores)
    assert not topic.has_reached_limit, topic


def test_answers_to_other_questions_and_loops_are_not_on_topic(
    prompts: PromptSet, judges: Judges
) -> None:
    """The author's answers are shuffled, or each answer repeats its question."""
    assert judges.topic is not None
    short_answers = [" ".join(text.split()[:40]) for text in prompts.own_answers]
    scores = BaseScores(MeasurementCache(EmptyTables(), "mara"), [], [])  # pyright: ignore[reportArgumentType]
    shuffled_answers = build_answers(
        prompts, short_answers[QUESTION_COUNT // 2 :] + short_answers[: QUESTION_COUNT // 2], ""
    )
    loops = build_answers(prompts, [f"{question} " * 9 for question in prompts.questions], "")

    shuffled = on_topic.measure_topic(prompts, shuffled_answers, judges.topic, scores=scores)
    looped = on_topic.measure_topic(prompts, loops, judges.topic, scores=scores)

    assert shuffled.own.low < 0.5 < shuffled.own.high
    assert not shuffled.has_reached_limit
    assert looped.own == Interval(0.5, 0.5, 0.5), (
        "a text without sentences must be equally near to all questions"
    )
    assert (shuffled.own_of_base, shuffled.own_apart) == (None, None)


def test_a_missing_voice_judge_leaves_the_claim_undecided(
    prompts: PromptSet, judges: Judges
) -> None:
    without_voice = Judges(judges.topic, None, None, voice_missing_reason="only 3 texts")
    answers = build_answers(prompts, prompts.own_answers, "I don't know.")

    voice = author_voice.compare_voices(
        prompts, answers, request_scores(prompts, without_voice), without_voice
    )

    assert author_voice.decide_less_like_base(voice).passed is None
    assert "only 3 texts" in author_voice.decide_less_like_base(voice).detail


def test_only_answers_that_the_passages_support_pass_the_sentence_claim(
    prompts: PromptSet, writers: dict[str, WriterSample]
) -> None:
    texts = [
        DocumentText(document, text) for document, text in writers["mara-lindqvist"].passages[:120]
    ]
    judge = SentenceSupport(embed, embedder="words")
    # as long as a model's answers, so the last sentence is cut off
    supported = build_answers(
        prompts, [" ".join(text.split()[:40]) for text in prompts.own_answers], ""
    )
    unsupported = build_answers(
        prompts, [BASE_ANSWER.format(position) for position in prompts.held_out], ""
    )

    good = sentence_faithfulness.measure_candidate_faithfulness(prompts, supported, texts, judge)
    bad = sentence_faithfulness.measure_candidate_faithfulness(prompts, unsupported, texts, judge)

    assert not isinstance(good, NotMeasured)
    assert not isinstance(bad, NotMeasured)
    assert sentence_faithfulness.decide_claim(good).passed is True, (
        sentence_faithfulness.decide_claim(good)
    )
    assert sentence_faithfulness.decide_claim(bad).passed is False
    assert good.calibration == bad.calibration
    few_texts = sentence_faithfulness.measure_candidate_faithfulness(
        prompts, supported, texts[:3], judge
    )
    assert few_texts == NotMeasured("fewer than 40 sentences of the author for calibration")
