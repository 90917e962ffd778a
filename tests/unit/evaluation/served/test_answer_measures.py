"""Test each measure of served answers on one set of prompts."""

from __future__ import annotations

import polars as pl
import pytest

from tests.unit.evaluation.contexts import make_context
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.gate import decide_claims
from twin_assets.evaluation.measures import (
    author_voice,
    instruction_following,
    on_topic,
    recitation,
    red_team,
    sentence_faithfulness,
)
from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.sequential_plan import EVERY_CLAIM, request_base_scores
from twin_assets.evaluation.served.served_answers import (
    PromptAnswers,
    PromptSet,
    build_prompt_set,
    read_red_team_prompts,
)
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.judge_kind import TopicPair
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.texts import WriterSample, bundled_writers
from twin_resources.quality.judges.topic import TopicJudge, calibrate_topic
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice
from twin_resources.registry.moves import GateClaim

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


def make_answered_context(
    prompts: PromptSet, judges: Judges, held_out: list[str], text: str
) -> MeasureContext:
    """Return a context with these answers to held-out questions and `text` to all others."""
    other_count = len(prompts.red_team) + len(prompts.instructions)
    texts = [*held_out, *[text] * other_count]
    base = {position: BASE_ANSWER.format(position) for position in range(len(prompts.prompts))}
    answers = PromptAnswers(dict(enumerate(map(build_answer, texts))), base)
    context = make_context(prompts, judges=judges, answers=answers)
    request_base_scores(context, EVERY_CLAIM)
    return context


def decide(context: MeasureContext, *measures: Measure) -> dict[str, GateClaim]:
    return {claim.name: claim for claim in decide_claims(context, measures)}


def test_the_prompts_of_all_measures_are_one_list(prompts: PromptSet, judges: Judges) -> None:
    assert len(prompts.held_out) == len(prompts.with_posts) == QUESTION_COUNT
    assert len(prompts.red_team) == len(read_red_team_prompts())
    assert len(prompts.instructions) == 50
    for index in prompts.instructions:
        roles = [message["role"] for message in prompts.prompts[index]]
        assert roles == ["user"], "an instruction has the template"
    assert "Another." in prompts.prompts[prompts.with_posts[0]][0]["content"]
    assert "Another." not in prompts.prompts[0][0]["content"]
    context = make_answered_context(prompts, judges, [], "")
    assert context.scores.find_missing() == list(range(len(prompts.prompts)))


def test_all_of_a_few_questions_are_prompts(samples: pl.DataFrame) -> None:
    prompts = build_prompts(samples, question_count=100)

    assert prompts.questions == samples["question"].to_list()
    assert len(prompts.held_out) == len(prompts.with_posts) == samples.height


ANSWER_MEASURES = (
    on_topic.MEASURE, author_voice.MEASURE, red_team.MEASURE, instruction_following.MEASURE,
    recitation.MEASURE,
)  # fmt: skip


def test_the_authors_own_answers_pass_every_measure(prompts: PromptSet, judges: Judges) -> None:
    own = [" ".join(text.split()[:40]) for text in prompts.own_answers]
    context = make_answered_context(prompts, judges, own, "I don't know.")

    claims = decide(context, *ANSWER_MEASURES)

    # the base follows too few instructions: "Certainly! Here …" is neither short nor a list
    instructions = claims.pop("keeps_following_instructions")
    assert instructions.passed is None
    # with only one other writer, the judge against people is weak
    assert claims.pop("sounds_like_this_author").passed is not None
    assert {name: claim.passed for name, claim in claims.items()} == dict.fromkeys(claims, True)
    assert context.scores.find_missing() == [], "a score of the base was not stored"


def test_the_bases_own_answers_and_recited_texts_are_refused(
    prompts: PromptSet, judges: Judges
) -> None:
    recited_text = (
        "The keeper of the lamp wrote down every ship that passed the point in the night."
    )
    base_answers = [BASE_ANSWER.format(position) for position in prompts.held_out]
    context = make_answered_context(prompts, judges, base_answers, recited_text)
    context.training_texts = (f"So: {recited_text}",)

    claims = decide(context, *ANSWER_MEASURES)

    for name in ("sounds_less_like_the_base", "recites_no_training_text"):
        assert claims[name].passed is False
    assert "the base misses the limit too" in claims["stays_on_topic"].detail
    count = prompts.with_posts.start - len(prompts.instructions)
    assert f"36 of {count} (" in claims["recites_no_training_text"].detail


def test_answers_to_other_questions_and_loops_are_not_on_topic(
    prompts: PromptSet, judges: Judges
) -> None:
    """The author's answers are shuffled, or each answer repeats its question."""
    short_answers = [" ".join(text.split()[:40]) for text in prompts.own_answers]
    half = QUESTION_COUNT // 2
    shuffled, looped = (
        make_answered_context(prompts, judges, answers, "")
        for answers in (
            short_answers[half:] + short_answers[:half],
            [f"{question} " * 9 for question in prompts.questions],
        )
    )
    for context in (shuffled, looped):
        context.scores.forget_requests()

    shuffled_claim = decide(shuffled, on_topic.MEASURE)["stays_on_topic"]
    looped_claim = decide(looped, on_topic.MEASURE)["stays_on_topic"]

    assert shuffled_claim.passed is False
    assert shuffled_claim.value == pytest.approx(0.5, abs=0.15)
    assert "base model" not in shuffled_claim.detail, "the base was not asked"
    assert "0.50 (95 %: 0.50 to 0.50)" in looped_claim.detail, (
        "a text without sentences must be equally near to all questions"
    )


def test_a_missing_judge_leaves_its_claims_undecided(prompts: PromptSet) -> None:
    without_judges = Judges(None, None, None, "only 2 pairs", "only 3 texts")
    context = make_answered_context(prompts, without_judges, prompts.own_answers, "I don't know.")

    claims = decide(context, on_topic.MEASURE, author_voice.MEASURE)

    assert claims["stays_on_topic"].detail == "not decided: only 2 pairs"
    for name in (author_voice.LESS_LIKE_BASE, author_voice.LIKE_AUTHOR):
        assert (claims[name].passed, claims[name].detail) == (None, "not decided: only 3 texts")


def test_only_answers_that_the_passages_support_pass_the_sentence_claim(
    prompts: PromptSet, writers: dict[str, WriterSample]
) -> None:
    judge = SentenceSupport(embed, embedder="words")
    judges = Judges(None, None, None, load_sentence_judge=lambda: judge)

    def decide_sentences(answers: list[str], text_count: int = 120) -> GateClaim:
        context = make_answered_context(prompts, judges, answers, "")
        context.own_texts = list(writers["mara-lindqvist"].passages[:text_count])
        return decide(context, sentence_faithfulness.MEASURE)[sentence_faithfulness.CLAIM]

    # as long as a model's answers, so the last sentence is cut off
    own_answers = [" ".join(text.split()[:40]) for text in prompts.own_answers]
    good = decide_sentences(own_answers)
    bad = decide_sentences([BASE_ANSWER.format(position) for position in prompts.held_out])

    assert good.passed is True, good.detail
    assert bad.passed is False
    few_texts = decide_sentences(own_answers, text_count=3)
    assert (few_texts.passed, few_texts.blocks) == (None, "voice")
    assert few_texts.detail == (
        "not decided: fewer than 40 sentences of the author for calibration"
    )
