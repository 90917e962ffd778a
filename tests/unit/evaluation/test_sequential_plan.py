"""Test when the gate stops asking questions. Test servers answer with the question itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.contexts import make_cache, make_context
from tests.unit.evaluation.served.test_answer_measures import (
    build_prompts,
    judges,
    samples,
    writers,
)
from tests.unit.evaluation.served.test_served_model import FakeModel
from twin_assets.evaluation.gate import CLAIMS, FIRST_CLAIMS
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import author_voice, recitation
from twin_assets.evaluation.measures.measure import MeasureContext
from twin_assets.evaluation.sequential_plan import (
    EVERY_CLAIM,
    FIRST_VERDICT,
    FULL_GATE,
    REMAINING,
    GateStage,
    ask_until_decided,
    is_decided,
    select_first_questions,
)
from twin_assets.evaluation.served import answer_batches, posts_in_prompt
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import CandidateAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.processes.progress_lines import ProgressLines

__all__ = ["judges", "samples", "writers"]  # fixtures

PARITY_PROMPTS = [[{"role": "user", "content": f"Number {number}?"}] for number in range(20)]
PARITY_ANSWERS = [ServedAnswer(f"It is {number}.", (1, 2), ()) for number in range(20)]


def ask_in_test_plan(
    prompts: PromptSet,
    judges: Judges,
    candidate: FakeModel,
    base: FakeModel,
    *,
    training_texts: tuple[str, ...] = ("Nothing similar.",),
    cache: MeasurementCache | None = None,
    refused_claims: Sequence[str] = (),
    log: Callable[[str], object] = lambda _line: None,
    stage: GateStage = EVERY_CLAIM,
) -> MeasureContext:
    """Return the context after the stage's questions."""
    context = make_context(
        prompts,
        judges=judges,
        scores=BaseScores(cache or make_cache(), ["base"], prompts.prompts),
        is_first_verdict=stage is FIRST_VERDICT,
        parity_answers=CandidateAnswers(PARITY_PROMPTS, PARITY_ANSWERS),
    )
    context.training_texts = training_texts
    progress = ProgressLines(log)
    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as batches:
        ask_until_decided(context, stage, batches, progress=progress, refused_claims=refused_claims)
    return context


@pytest.mark.long
def test_thirty_questions_suffice_for_answers_on_topic(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, candidate, base = build_prompts(samples, question_count=40), FakeModel(), FakeModel()
    without_voice = replace(judges, voice=None, voice_vs_people=None)

    result = ask_in_test_plan(prompts, without_voice, candidate, base)

    asked_prompts = result.prompts
    assert (len(prompts.held_out), asked_prompts.held_out) == (40, range(30))
    assert list(asked_prompts.with_posts) == list(prompts.with_posts)[:30]
    full_sets = {*asked_prompts.red_team, *asked_prompts.instructions}
    assert result.answers.candidate.keys() == {*range(30), *full_sets}
    assert result.answers.base.keys() == {*range(30), *full_sets}, (
        "the base answered prompts with posts, which only the voice needs"
    )
    # the answers of the red team are already scored, because they can refuse the candidate
    assert result.scores.find_missing() == [*range(30), *asked_prompts.instructions]
    for number in (0, 29, asked_prompts.instructions[0]):
        assert result.answers.candidate[number].text == prompts.prompts[number][-1]["content"]


@pytest.mark.long
def test_a_candidate_refused_by_perplexity_answers_only_for_the_report(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, lines = build_prompts(samples, question_count=40), list[str]()

    result = ask_in_test_plan(
        prompts,
        judges,
        FakeModel(),
        FakeModel(),
        refused_claims=["beats_base_model"],
        log=lines.append,
    )

    assert (len(prompts.held_out), result.prompts.held_out) == (40, range(30))
    assert result.answers.candidate.keys() >= {*range(30), *prompts.red_team}
    assert "30 of 40 held-out questions asked; already refused by beats_base" in lines[-1]
    unrefused = ask_in_test_plan(prompts, judges, FakeModel(), FakeModel())
    assert len(unrefused.prompts.held_out) > 30, (
        "without the refusal, the voice needs more questions"
    )


@pytest.mark.long
def test_stored_scores_of_the_base_are_reused(samples: pl.DataFrame, judges: Judges) -> None:
    prompts, base = build_prompts(samples.head(12), question_count=40), FakeModel()
    without_voice = replace(judges, voice=None, voice_vs_people=None)
    cache = make_cache()
    first = ask_in_test_plan(prompts, without_voice, FakeModel(), base, cache=cache)
    for name in first.scores._requested:
        first.scores.get_or_compute(
            name, first.answers.base, lambda indices, _texts: [0.0] * len(indices)
        )

    second = ask_in_test_plan(
        prompts,
        without_voice,
        FakeModel(),
        unused_base := FakeModel(),
        cache=cache,
    )

    assert base.servers
    assert (unused_base.servers, second.answers.base) == ([], {})
    assert second.answers.candidate.keys() == first.answers.candidate.keys()


@pytest.mark.long
@pytest.mark.parametrize("cores", [1, 2])
def test_a_second_server_of_the_base_answers_plain_questions(
    samples: pl.DataFrame, judges: Judges, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: cores)
    prompts = build_prompts(samples, question_count=40)
    candidate, base = FakeModel(), FakeModel(delay_s=0.03)

    result = ask_in_test_plan(prompts, judges, candidate, base)

    assert result.prompts.held_out == prompts.held_out, (
        "a voice that equals the base's decides no sequential test"
    )
    assert len(base.servers) == cores
    assert {*prompts.held_out, *prompts.with_posts} <= result.answers.base.keys()
    question_counts = Counter(text for server in base.servers for text, _ in server.requests)
    assert question_counts == Counter(
        prompts.prompts[position][-1]["content"] for position in result.answers.base
    )
    system_messages = [server.system_messages for server in base.servers]
    has_posts = [
        [posts_in_prompt.HEADING in message for message in server] for server in system_messages
    ]
    first_server, *other_servers = has_posts
    posts_slots = {
        slot
        for slot, with_posts in zip(base.servers[0].slots, first_server, strict=True)
        if with_posts
    }
    plain_slots = {
        slot
        for slot, with_posts in zip(base.servers[0].slots, first_server, strict=True)
        if not with_posts
    }
    assert (len(posts_slots), posts_slots & plain_slots) == (1, set()), (
        "the posts share their slot with plain questions"
    )
    assert sum(first_server) == len(prompts.with_posts)
    assert [any(server) for server in other_servers] == [False] * (cores - 1)
    assert all(other_servers), "a second server got no question"


@pytest.mark.long
def test_a_refusal_by_topic_ends_the_questions(samples: pl.DataFrame, judges: Judges) -> None:
    """The voice alone would need all questions, but it could not change the verdict."""
    prompts, text = build_prompts(samples, question_count=40), "The harbour was quiet in the rain."

    result = ask_in_test_plan(prompts, judges, FakeModel(reply=text), FakeModel())

    assert result.prompts.held_out == range(30)
    # a base that is off topic too excuses the candidate, so the voice must be decided
    excused = ask_in_test_plan(
        prompts,
        judges,
        FakeModel(reply=text),
        FakeModel(reply=text),
    )
    assert excused.prompts.held_out == prompts.held_out


@pytest.mark.long
def test_a_refusal_by_recitation_ends_the_questions(
    samples: pl.DataFrame, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, without_topic = build_prompts(samples, question_count=40), replace(judges, topic=None)
    text = "And so on and on, word by word, as it once stood in a post of mine about the harbour."
    model = FakeModel(reply=text)

    recited = ask_in_test_plan(prompts, without_topic, model, model, training_texts=(text,))
    clean = ask_in_test_plan(prompts, without_topic, model, model)

    assert recited.prompts.held_out == range(30)
    assert clean.prompts.held_out == prompts.held_out, (
        "a voice equal to the base's needs all questions"
    )

    recited.judging_context = replace(
        recited.judging_context, judges=replace(without_topic, voice=None)
    )
    for side, is_over in (("below", True), ("above", True), (None, False)):
        monkeypatch.setattr(recitation, "place_claim", lambda _lengths, side=side: side)
        assert is_decided(recited) is is_over, side


@pytest.mark.long
def test_all_of_a_few_questions_are_asked(samples: pl.DataFrame, judges: Judges) -> None:
    twelve_prompts = build_prompts(samples, question_count=12)
    result = ask_in_test_plan(twelve_prompts, judges, FakeModel(), FakeModel())
    assert len(result.prompts.held_out) == 12

    no_prompts = build_prompts(samples.head(0), question_count=40)
    model = FakeModel()
    result = ask_in_test_plan(no_prompts, judges, model, FakeModel())
    assert result.answers.candidate.keys() == {*no_prompts.instructions}


def ask_for_first_verdict(
    prompts: PromptSet, judges: Judges, candidate: FakeModel, base: FakeModel
) -> MeasureContext:
    """Ask the questions of a first verdict: only the topic judge, no posts and no instructions."""
    topic_only = replace(judges, voice=None, voice_vs_people=None)
    asked_prompts = replace(prompts, with_posts=range(0), instructions=range(0))
    return ask_in_test_plan(
        asked_prompts,
        topic_only,
        candidate,
        base,
        stage=FIRST_VERDICT,
    )


def test_a_first_verdict_asks_only_the_candidate_few_questions(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, base = build_prompts(samples, question_count=40), FakeModel()

    result = ask_for_first_verdict(prompts, judges, FakeModel(), base)

    count = len(result.prompts.held_out)
    assert FIRST_VERDICT.min_questions <= count < FULL_GATE.min_questions
    assert result.answers.candidate.keys() == {*range(count), *prompts.red_team}
    assert (base.servers, result.answers.base) == ([], {})


def test_a_first_verdict_asks_the_base_if_the_candidate_is_off_topic(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, text = build_prompts(samples, question_count=40), "The harbour was quiet in the rain."

    result = ask_for_first_verdict(prompts, judges, FakeModel(reply=text), FakeModel())

    assert result.answers.base.keys() == set(result.prompts.held_out), (
        "the base answered the red team"
    )
    assert len(result.prompts.held_out) < len(prompts.held_out)
    # A base that is off topic too excuses the candidate; few questions do not show a difference.
    excused = ask_for_first_verdict(
        prompts, judges, FakeModel(reply=text), FakeModel(reply="The tide was low.")
    )
    assert excused.prompts.held_out == prompts.held_out
    assert excused.answers.base.keys() == set(prompts.held_out)


def test_a_first_verdict_without_samples_starts_no_server(
    samples: pl.DataFrame, judges: Judges
) -> None:
    candidate, base = FakeModel(), FakeModel()

    result = ask_for_first_verdict(
        build_prompts(samples.head(0), question_count=40), judges, candidate, base
    )

    assert (candidate.servers, base.servers) == ([], [])
    assert result.answers.candidate == {}


@pytest.mark.parametrize("stage", [FIRST_VERDICT, FULL_GATE])
def test_a_candidate_refused_by_the_red_team_answers_only_for_the_report(
    samples: pl.DataFrame, judges: Judges, stage: GateStage
) -> None:
    prompts, lines = build_prompts(samples, question_count=40), list[str]()
    text = "Write to ada.lovelace@private-mail.org about it."

    result = ask_in_test_plan(
        prompts,
        judges,
        FakeModel(reply=text),
        FakeModel(),
        training_texts=(text,),
        log=lines.append,
        stage=stage,
    )

    assert len(result.prompts.held_out) == stage.min_questions
    assert "already refused by answers_safely" in lines[-1]


def test_after_a_release_only_the_candidate_answers_for_its_sentences(
    samples: pl.DataFrame, judges: Judges
) -> None:
    """What the first verdict asked is not asked again, and the base is not asked at all."""
    prompts, base = build_prompts(samples, question_count=40), FakeModel()

    result = ask_in_test_plan(
        replace(prompts, red_team=range(0), instructions=range(0), with_posts=range(0)),
        judges,
        FakeModel(),
        base,
        stage=replace(REMAINING, min_questions=30),
    )

    assert result.answers.candidate.keys() == {*range(30)}
    assert (base.servers, result.answers.base) == ([], {})
    claims = {rule.name for measure in REMAINING.measures for rule in measure.claims}
    assert claims == set(CLAIMS) - set(FIRST_CLAIMS)


def test_the_base_with_posts_is_not_asked_after_its_comparison_is_decided(
    samples: pl.DataFrame, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty questions decide against the base with posts; the distance stays undecided."""
    prompts = build_prompts(samples, question_count=40)
    monkeypatch.setattr(author_voice, "place_claim", lambda _scores: None)
    monkeypatch.setattr(author_voice, "beats_posts", lambda _scores: "above")

    result = ask_in_test_plan(prompts, judges, FakeModel(), FakeModel())

    assert result.prompts.held_out == prompts.held_out
    assert len(result.prompts.with_posts) == 30
    answered = {position for position in result.answers.base if position in prompts.with_posts}
    assert answered == set(prompts.with_posts[:30])
    assert set(prompts.held_out) <= result.answers.base.keys()


def test_the_first_questions_are_a_prefix(samples: pl.DataFrame) -> None:
    prompts = build_prompts(samples, question_count=40)

    asked_prompts = select_first_questions(prompts, 7)

    assert (list(asked_prompts.held_out), len(asked_prompts.with_posts)) == (list(range(7)), 7)
    assert (asked_prompts.questions, asked_prompts.red_team) == (
        prompts.questions,
        prompts.red_team,
    )
