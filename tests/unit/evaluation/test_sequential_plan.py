"""Test when the gate stops asking questions. Test servers answer with the question itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.served.test_answer_measures import (
    build_prompts,
    judges,
    samples,
    writers,
)
from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.evaluation.served.test_served_model import FakeModel
from tests.unit.evaluation.test_evaluation_spec import SPEC
from tests.unit.evaluation.test_gate import VOICE as GOOD_VOICE
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import JudgingContext
from twin_assets.evaluation.gate import CLAIMS, FIRST_CLAIMS
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import author_voice, voice_scores
from twin_assets.evaluation.measures.voice_scores import Voice, VoiceScores, decide_early
from twin_assets.evaluation.sequential_plan import (
    EVERY_CLAIM,
    FIRST_VERDICT,
    FULL_GATE,
    REMAINING,
    AnsweredPrompts,
    GateStage,
    ask_until_decided,
    is_decided,
    select_first_questions,
)
from twin_assets.evaluation.served import answer_batches, posts_in_prompt
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.served_answers import CandidateAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.processes.progress_lines import ProgressLines

__all__ = ["judges", "samples", "writers"]  # fixtures

PARITY = CandidateAnswers(
    [[{"role": "user", "content": f"Number {number}?"}] for number in range(20)],
    [ServedAnswer(f"It is {number}.", (1, 2), ()) for number in range(20)],
    [],
)


def ask_in_test_plan(
    prompts: PromptSet,
    judges: Judges,
    candidate: FakeModel,
    base: FakeModel,
    *,
    training_texts: list[str],
    cache: MeasurementCache | None = None,
    refused_claims: Sequence[str] = (),
    log: Callable[[str], object] = lambda _line: None,
    stage: GateStage = EVERY_CLAIM,
) -> AnsweredPrompts:
    cache = cache or MeasurementCache(EmptyTables(), "mara")  # pyright: ignore[reportArgumentType]

    judging_context = JudgingContext(judges, writer_samples=(), chunk_texts={}, base_answers=())
    build_base_scores = measurement._make_base_scores_builder(
        SPEC,
        judging_context,
        cache,
        training_texts,
        engine="echo",
        stage=stage,
    )
    progress = ProgressLines(log)
    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as batches:
        return ask_until_decided(
            prompts,
            judging_context,
            stage,
            batches,
            parity_answers=PARITY,
            training_texts=training_texts,
            build_base_scores=build_base_scores,
            progress=progress,
            refused_claims=refused_claims,
        )


@pytest.mark.long
def test_thirty_questions_suffice_for_answers_on_topic(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, candidate, base = build_prompts(samples, question_count=40), FakeModel(), FakeModel()
    without_voice = replace(judges, voice=None, voice_vs_people=None)

    result = ask_in_test_plan(
        prompts, without_voice, candidate, base, training_texts=["Nothing similar."]
    )

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
        training_texts=["No."],
        refused_claims=["beats_base_model"],
        log=lines.append,
    )

    assert (len(prompts.held_out), result.prompts.held_out) == (40, range(30))
    assert result.answers.candidate.keys() >= {*range(30), *prompts.red_team}
    assert "30 of 40 held-out questions asked; already refused by beats_base" in lines[-1]
    unrefused = ask_in_test_plan(prompts, judges, FakeModel(), FakeModel(), training_texts=["No."])
    assert len(unrefused.prompts.held_out) > 30, (
        "without the refusal, the voice needs more questions"
    )


@pytest.mark.long
def test_stored_scores_of_the_base_are_reused(samples: pl.DataFrame, judges: Judges) -> None:
    prompts, base = build_prompts(samples.head(12), question_count=40), FakeModel()
    without_voice = replace(judges, voice=None, voice_vs_people=None)
    cache = MeasurementCache(EmptyTables(), "mara")  # pyright: ignore[reportArgumentType]
    first = ask_in_test_plan(
        prompts, without_voice, FakeModel(), base, training_texts=["No."], cache=cache
    )
    for name in first.scores._requested:
        first.scores.get_or_compute(
            name, first.answers.base, lambda indices, _texts: [0.0] * len(indices)
        )

    second = ask_in_test_plan(
        prompts,
        without_voice,
        FakeModel(),
        unused_base := FakeModel(),
        training_texts=["No."],
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

    result = ask_in_test_plan(prompts, judges, candidate, base, training_texts=["Nothing similar."])

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

    result = ask_in_test_plan(
        prompts, judges, FakeModel(reply=text), FakeModel(), training_texts=["No."]
    )

    assert result.prompts.held_out == range(30)
    # a base that is off topic too excuses the candidate, so the voice must be decided
    excused = ask_in_test_plan(
        prompts,
        judges,
        FakeModel(reply=text),
        FakeModel(reply=text),
        training_texts=["Nothing similar."],
    )
    assert excused.prompts.held_out == prompts.held_out


@pytest.mark.long
def test_a_refusal_by_recitation_ends_the_questions(samples: pl.DataFrame, judges: Judges) -> None:
    prompts, without_topic = build_prompts(samples, question_count=40), replace(judges, topic=None)
    text = "And so on and on, word by word, as it once stood in a post of mine about the harbour."
    model = FakeModel(reply=text)

    recited = ask_in_test_plan(prompts, without_topic, model, model, training_texts=[text])
    clean = ask_in_test_plan(
        prompts, without_topic, model, model, training_texts=["Nothing similar."]
    )

    assert recited.prompts.held_out == range(30)
    assert clean.prompts.held_out == prompts.held_out, (
        "a voice equal to the base's needs all questions"
    )

    judging_context = JudgingContext(
        replace(without_topic, voice=None), writer_samples=[], chunk_texts={}, base_answers=[]
    )
    for side, is_over in (("below", True), ("above", True), (None, False)):
        arguments = {"scores": recited.scores, "recitation_side": side, "voice": GOOD_VOICE}
        assert is_decided(prompts, recited.answers, judging_context, **arguments) is is_over, side


@pytest.mark.long
def test_all_of_a_few_questions_are_asked(samples: pl.DataFrame, judges: Judges) -> None:
    twelve_prompts = build_prompts(samples, question_count=12)
    result = ask_in_test_plan(
        twelve_prompts, judges, FakeModel(), FakeModel(), training_texts=["Nothing similar."]
    )
    assert len(result.prompts.held_out) == 12

    no_prompts = build_prompts(samples.head(0), question_count=40)
    model = FakeModel()
    result = ask_in_test_plan(no_prompts, judges, model, FakeModel(), training_texts=[])
    assert result.answers.candidate.keys() == {*no_prompts.instructions}


def ask_for_first_verdict(
    prompts: PromptSet, judges: Judges, candidate: FakeModel, base: FakeModel
) -> AnsweredPrompts:
    """Ask the questions of a first verdict: only the topic judge, no posts and no instructions."""
    topic_only = replace(judges, voice=None, voice_vs_people=None)
    asked_prompts = replace(prompts, with_posts=range(0), instructions=range(0))
    return ask_in_test_plan(
        asked_prompts,
        topic_only,
        candidate,
        base,
        training_texts=["Nothing similar."],
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
        training_texts=[text],
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
        training_texts=["Nothing similar."],
        stage=replace(REMAINING, min_questions=30),
    )

    assert result.answers.candidate.keys() == {*range(30)}
    assert (base.servers, result.answers.base) == ([], {})
    claims = {rule.name for measure in REMAINING.measures for rule in measure.claims}
    assert claims == set(CLAIMS) - set(FIRST_CLAIMS)


def make_voice(
    rise: float, *, rise_over_posts: float = 0.0, count: int = 40, questions_per_post: int = 1
) -> Voice:
    """Return the comparison of a candidate that scores `rise` above the base on each prompt."""
    candidate = [0.5 + rise] * count
    scores = VoiceScores(
        candidate, candidate, [0.5] * count, [0.5 + rise - rise_over_posts] * count
    )
    documents = [f"d{number // questions_per_post}" for number in range(count)]
    side = decide_early(documents, scores, base_only=False)
    compared = replace(GOOD_VOICE, stopped=side)
    return Voice(count, compared, replace(GOOD_VOICE, stopped=None))


@pytest.mark.parametrize(("rise", "rise_over_posts", "side"), [
    (0.4, 0.2, "above"), (-0.4, 0.2, "below"), (0.4, -0.4, "below"), (0.0, 0.0, None),
    (0.4, -0.02, None),
])  # fmt: skip
def test_both_limits_decide_the_voice(
    rise: float, rise_over_posts: float, side: str | None
) -> None:
    voice_result = make_voice(rise, rise_over_posts=rise_over_posts)

    assert voice_result.against_all is not None
    assert voice_result.against_all.stopped == side
    assert voice_scores.is_decided(voice_result) is (side is not None)
    if side is not None:
        claim = author_voice.decide_less_like_base(voice_result)
        assert claim.passed is (side == "above")
        assert f"a sequential test decided: {side} these limits" in claim.detail


def test_the_base_with_posts_is_not_asked_after_its_comparison_is_decided(
    samples: pl.DataFrame, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty questions decide against the base with posts; the distance stays undecided."""
    prompts, open_voice = (
        build_prompts(samples, question_count=40),
        make_voice(0.0, rise_over_posts=0.0),
    )
    assert open_voice.against_all is not None
    posts_decided = replace(
        open_voice, against_all=replace(open_voice.against_all, stopped=None, posts_stopped="above")
    )
    monkeypatch.setattr(author_voice, "compare_voices", lambda *_args: posts_decided)

    result = ask_in_test_plan(
        prompts, judges, FakeModel(), FakeModel(), training_texts=["Nothing similar."]
    )

    assert result.prompts.held_out == prompts.held_out
    assert len(result.prompts.with_posts) == 30
    answered = {position for position in result.answers.base if position in prompts.with_posts}
    assert answered == set(prompts.with_posts[:30])
    assert set(prompts.held_out) <= result.answers.base.keys()


def test_a_decision_on_the_first_prompts_stays() -> None:
    """The base has forty answers without posts, but only thirty with posts."""
    documents = [f"d{number}" for number in range(40)]
    scores = VoiceScores([0.6] * 40, [0.5] * 40, [0.48] * 40, [0.1] * 30)

    assert voice_scores.decide_against_posts(documents, scores) == "above"
    assert decide_early(documents, scores, base_only=False) is None
    assert (
        voice_scores.decide_against_posts(documents, replace(scores, base_with_posts=[0.1] * 3))
        is None
    )
    shorter = replace(
        GOOD_VOICE, over_posts=Interval(0.0, -0.1, 0.1), posts_stopped="above", posts_prompts=30
    )
    assert shorter.is_less_like_the_base
    assert not replace(shorter, posts_stopped=None).is_less_like_the_base
    text = author_voice.decide_less_like_base(Voice(40, shorter, None)).detail
    assert "found above the limit after the first 30 questions" in text


@pytest.mark.parametrize(("share", "side"), [(0.0, "below"), (0.1, "below"), (0.2, None),
                                            (0.5, "above"), (1.2, "above")])  # fmt: skip
def test_a_voice_must_cover_a_share_of_the_distance_to_the_author(
    share: float, side: str | None
) -> None:
    """Each candidate beats the base with posts, and each but the first beats the base."""
    base = [0.1] * 100
    scores = VoiceScores([0.8] * 100, [0.1 + 0.7 * share] * 100, base, [0.0] * 100)
    documents = [str(number) for number in range(100)]

    assert decide_early(documents, scores, base_only=False) == side
    assert decide_early(documents, scores, base_only=True) == ("above" if share else None)


def test_questions_about_one_post_are_one_observation() -> None:
    assert make_voice(0.4, rise_over_posts=0.4).against_all.stopped == "above"  # pyright: ignore[reportOptionalMemberAccess]
    assert make_voice(0.4, rise_over_posts=0.4, questions_per_post=10).against_all.stopped is None  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.long
def test_chance_decides_no_more_often_than_the_level() -> None:
    """A thousand candidates equal their base; each is tested after 30, 35, … 100 questions."""
    rng = random.Random(11)
    win_count = 0
    for _ in range(1000):
        base = [rng.betavariate(0.5, 1.5) for _ in range(100)]
        candidate = [rng.betavariate(0.5, 1.5) for _ in range(100)]
        documents = [str(number) for number in range(100)]
        win_count += any(
            decide_early(
                documents[:end], VoiceScores([], candidate[:end], base[:end]), base_only=True
            )
            == "above"
            for end in range(30, 101, 5)
        )
    assert win_count / 1000 <= voice_scores.BET_LEVEL + 0.008


def test_the_first_questions_are_a_prefix(samples: pl.DataFrame) -> None:
    prompts = build_prompts(samples, question_count=40)

    asked_prompts = select_first_questions(prompts, 7)

    assert (list(asked_prompts.held_out), len(asked_prompts.with_posts)) == (list(range(7)), 7)
    assert (asked_prompts.questions, asked_prompts.red_team) == (
        prompts.questions,
        prompts.red_team,
    )
