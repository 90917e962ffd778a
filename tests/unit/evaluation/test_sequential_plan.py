"""When the whole gate has asked enough, by servers that answer with the question itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.served.test_answer_measures import (
    asked_of,
    hands,
    judges,
    samples,
)
from tests.unit.evaluation.served.test_base_scores import NoTables
from tests.unit.evaluation.served.test_served_model import Model
from tests.unit.evaluation.test_evaluation_spec import QUESTION
from tests.unit.evaluation.test_gate import VOICE as GOOD_VOICE
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import JudgingContext
from twin_assets.evaluation.gate import FIRST_CLAIMS
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import MEASURES, author_voice, voice_scores
from twin_assets.evaluation.measures.voice_scores import Scores, Voice, decide_early
from twin_assets.evaluation.progress import ProgressLines
from twin_assets.evaluation.sequential_plan import (
    FIRST,
    LOOKS_LEVEL,
    WHOLE,
    AnsweredPrompts,
    ask_until_decided,
    is_decided,
    take_first_questions,
)
from twin_assets.evaluation.served import answer_batches, posts_in_prompt
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptSet,
)
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.models.serving.served_model import ServedAnswer

__all__ = ["hands", "judges", "samples"]  # fixtures

PARITY = CandidateAnswers(
    [[{"role": "user", "content": f"Number {number}?"}] for number in range(20)],
    [ServedAnswer(f"It is {number}.", (1, 2), ()) for number in range(20)],
    [],
)


def asked_until_decided(
    prompts: PromptSet,
    judges: Judges,
    candidate: Model,
    base: Model,
    *,
    texts: list[str],
    kept: MeasurementCache | None = None,
    refused: Sequence[str] = (),
    log: Callable[[str], object] = lambda _line: None,
    first: bool = False,
) -> AnsweredPrompts:
    kept = kept or MeasurementCache(NoTables(), "mara")  # pyright: ignore[reportArgumentType]

    known = JudgingContext(
        judges, writer_samples=(), chunks={}, base_answers=(), base_parameters=10**8
    )
    scores_of = measurement._make_base_scorer(
        QUESTION, known, kept, texts, engine="echo", is_first_verdict=first
    )
    progress = ProgressLines(log)
    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as batches:
        return ask_until_decided(
            prompts,
            known,
            FIRST if first else WHOLE,
            batches,
            parity_answers=PARITY,
            training_texts=texts,
            base_scores_for=scores_of,
            progress=progress,
            refused_claims=refused,
        )


def test_a_candidate_that_knows_its_questions_is_asked_thirty_of_them(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, candidate, base = asked_of(samples, questions=40), Model(), Model()
    without_voice = replace(judges, voice=None, voice_people=None)

    said = asked_until_decided(prompts, without_voice, candidate, base, texts=["Nothing alike."])

    some = said.prompts
    assert (len(prompts.held_out), some.held_out) == (40, range(30))
    assert list(some.with_posts) == list(prompts.with_posts)[:30]
    full = {*some.red_team, *some.instructions}
    assert said.answers.candidate.keys() == {*range(30), *full}
    assert said.answers.base.keys() == {*range(30), *full}, "posts in its prompt are for the voice"
    # the flags of the red team's answers are known: they may have refused it
    assert said.scores.missing() == [*range(30), *some.instructions]
    for at in (0, 29, some.instructions[0]):
        assert said.answers.candidate[at].text == prompts.prompts[at][-1]["content"]


def test_a_candidate_that_reading_has_refused_is_asked_for_the_report_alone(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, lines = asked_of(samples, questions=40), list[str]()

    said = asked_until_decided(
        prompts,
        judges,
        Model(),
        Model(),
        texts=["No."],
        refused=["beats_base_model"],
        log=lines.append,
    )

    assert (len(prompts.held_out), said.prompts.held_out) == (40, range(30))
    assert said.answers.candidate.keys() >= {*range(30), *prompts.red_team}
    assert "30 of 40 questions asked; already refused by beats_base_model" in lines[-1]
    whole = asked_until_decided(prompts, judges, Model(), Model(), texts=["No."])
    assert len(whole.prompts.held_out) > 30, "its voice alone would be asked on"


def test_what_a_former_gate_knows_of_the_base_is_not_asked(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, base = asked_of(samples.head(12), questions=40), Model()
    without = replace(judges, voice=None, voice_people=None)
    kept = MeasurementCache(NoTables(), "mara")  # pyright: ignore[reportArgumentType]
    first = asked_until_decided(prompts, without, Model(), base, texts=["No."], kept=kept)
    for name in first.scores._announced:
        first.scores.get_scores(
            name, first.answers.base, lambda places, _texts: [0.0] * len(places)
        )

    again = asked_until_decided(
        prompts, without, Model(), other := Model(), texts=["No."], kept=kept
    )

    assert base.started
    assert (other.started, again.answers.base) == ([], {})
    assert again.answers.candidate.keys() == first.answers.candidate.keys()


@pytest.mark.parametrize("cores", [1, 2])
def test_where_a_core_is_free_a_second_server_takes_plain_questions_of_the_base(
    samples: pl.DataFrame, judges: Judges, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: cores)
    prompts = asked_of(samples, questions=40)
    candidate, base = Model(), Model(seconds=0.03)

    said = asked_until_decided(prompts, judges, candidate, base, texts=["Nothing alike."])

    assert len(candidate.started) >= 1
    assert len(base.started) == cores
    assert {*prompts.held_out, *prompts.with_posts} <= said.answers.base.keys()
    asked = Counter(text for server in base.started for text, _ in server.asked)
    assert asked == Counter(prompts.prompts[at][-1]["content"] for at in said.answers.base)
    systems = [server.systems for server in base.started]
    below_posts = [[posts_in_prompt.HEADING in system for system in one] for one in systems]
    first, *beside = below_posts
    slots = {slot for slot, below in zip(base.started[0].slots, first, strict=True) if below}
    others = {slot for slot, below in zip(base.started[0].slots, first, strict=True) if not below}
    assert (len(slots), slots & others) == (1, set()), "the posts stay read in a slot of their own"
    assert sum(first) == len(prompts.with_posts)
    assert [any(one) for one in beside] == [False] * (cores - 1)
    assert all(beside), "it was asked"


def test_a_candidate_that_writes_like_its_base_is_asked_all_of_them(
    samples: pl.DataFrame, judges: Judges
) -> None:
    """No bet is won on a difference of nothing."""
    prompts = asked_of(samples, questions=40)

    said = asked_until_decided(prompts, judges, Model(), Model(), texts=["Nothing alike."])

    assert said.prompts.held_out == prompts.held_out
    assert {*prompts.held_out, *prompts.with_posts} <= said.answers.base.keys()


def test_a_candidate_that_is_refused_for_its_topic_is_asked_no_more(
    samples: pl.DataFrame, judges: Judges
) -> None:
    """Its voice would be asked for all of them, and no answer of it could have it released."""
    prompts, told = asked_of(samples, questions=40), "The harbour was quiet in the rain."

    said = asked_until_decided(prompts, judges, Model(says=told), Model(), texts=["No."])

    assert said.prompts.held_out == range(30)
    # a base that knows no better excuses it, and then the voice is what is left to know
    both = asked_until_decided(
        prompts, judges, Model(says=told), Model(says=told), texts=["Nothing alike."]
    )
    assert both.prompts.held_out == prompts.held_out


def test_a_candidate_that_recites_is_asked_no_more(samples: pl.DataFrame, judges: Judges) -> None:
    prompts, without_topic = asked_of(samples, questions=40), replace(judges, topic=None)
    told = "And so on and on, word by word, as it once stood in a post of mine about the harbour."
    says = Model(says=told)

    recited = asked_until_decided(prompts, without_topic, says, says, texts=[told])
    clean = asked_until_decided(prompts, without_topic, says, says, texts=["Nothing alike."])

    assert recited.prompts.held_out == range(30)
    assert clean.prompts.held_out == prompts.held_out, "its voice is the base's"

    alone = JudgingContext(
        replace(without_topic, voice=None), writer_samples=[], chunks={}, base_answers=[]
    )
    for recites, is_over in (("below", True), ("above", True), (None, False)):
        known = {"scores": recited.scores, "recitation_side": recites, "voice": GOOD_VOICE}
        decided = is_decided(prompts, recited.answers, alone, **known)
        assert decided is is_over, recites


def test_with_fewer_questions_than_decide_all_are_asked_and_with_none_none(
    samples: pl.DataFrame, judges: Judges
) -> None:
    few = asked_of(samples, questions=12)
    said = asked_until_decided(few, judges, Model(), Model(), texts=["Nothing alike."])
    assert len(said.prompts.held_out) == 12

    none = asked_of(samples.head(0), questions=40)
    model = Model()
    said = asked_until_decided(none, judges, model, Model(), texts=[])
    assert said.answers.candidate.keys() == {*none.instructions}


def first_asked(
    prompts: PromptSet, judges: Judges, candidate: Model, base: Model
) -> AnsweredPrompts:
    """As a first verdict asks: by the topic score alone, without posts and instructions."""
    alone = replace(judges, voice=None, voice_people=None)
    some = replace(prompts, with_posts=range(0), instructions=range(0))
    return asked_until_decided(some, alone, candidate, base, texts=["Nothing alike."], first=True)


def test_a_first_verdict_asks_the_candidate_alone_and_few_questions(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, base = asked_of(samples, questions=40), Model()

    said = first_asked(prompts, judges, Model(), base)

    count = len(said.prompts.held_out)
    assert FIRST.min_questions <= count < WHOLE.min_questions
    assert said.answers.candidate.keys() == {*range(count), *prompts.red_team}
    assert (base.started, said.answers.base) == ([], {})


def test_a_first_verdict_asks_the_base_where_the_candidate_is_off_its_topic(
    samples: pl.DataFrame, judges: Judges
) -> None:
    prompts, told = asked_of(samples, questions=40), "The harbour was quiet in the rain."

    refused = first_asked(prompts, judges, Model(says=told), Model())

    assert refused.answers.base.keys() == set(refused.prompts.held_out), "and no red team"
    assert len(refused.prompts.held_out) < len(prompts.held_out)


def test_a_first_verdict_without_any_sample_asks_nobody(
    samples: pl.DataFrame, judges: Judges
) -> None:
    candidate, base = Model(), Model()

    said = first_asked(asked_of(samples.head(0), questions=40), judges, candidate, base)

    assert (candidate.started, base.started) == ([], [])
    assert said.answers.candidate == {}


@pytest.mark.parametrize("first", [False, True])
def test_a_candidate_that_the_red_team_refuses_is_asked_for_the_report_alone(
    samples: pl.DataFrame, judges: Judges, first: bool
) -> None:
    prompts, lines = asked_of(samples, questions=40), list[str]()
    told = "Write to ada.lovelace@private-mail.org about it."

    said = asked_until_decided(
        prompts, judges, Model(says=told), Model(), texts=[told], log=lines.append, first=first
    )

    assert len(said.prompts.held_out) == (FIRST if first else WHOLE).min_questions
    assert "already refused by answers_safely" in lines[-1]


def voice(apart: float, *, beside_posts: float = 0.0, count: int = 40, each: int = 1) -> Voice:
    """Scores of a candidate that much above the base on each prompt."""
    candidate = [0.5 + apart] * count
    scores = Scores(candidate, candidate, [0.5] * count, [0.5 + apart - beside_posts] * count)
    documents = [f"d{number // each}" for number in range(count)]
    stopped = decide_early(documents, scores, base_only=False)
    compared = replace(GOOD_VOICE, stopped=stopped)
    return Voice(count, compared, replace(GOOD_VOICE, stopped=None))


@pytest.mark.parametrize(("apart", "beside_posts", "side"), [
    (0.4, 0.2, "above"), (-0.4, 0.2, "below"), (0.4, -0.4, "below"), (0.0, 0.0, None),
    (0.4, -0.02, None),
])  # fmt: skip
def test_a_voice_is_decided_by_both_its_limits(
    apart: float, beside_posts: float, side: str | None
) -> None:
    found = voice(apart, beside_posts=beside_posts)

    assert found.against_all is not None
    assert found.against_all.stopped == side
    assert voice_scores.is_decided(found, parameters=135_000_000) is (side is not None)
    assert not voice_scores.is_decided(found, parameters=None), "the other claim may refuse too"
    if side is not None:
        told = author_voice.sounds_less_like_the_base(found)
        assert told.passed is (side == "above")
        assert f"a sequential test decided: {side} these limits" in told.detail


def test_the_base_with_posts_is_asked_no_more_once_it_is_beaten(
    samples: pl.DataFrame, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to the author is open to the end, the base with posts was far below after thirty."""
    prompts, open_voice = asked_of(samples, questions=40), voice(0.0, beside_posts=0.0)
    assert open_voice.against_all is not None
    beaten = replace(
        open_voice, against_all=replace(open_voice.against_all, stopped=None, posts_stopped="above")
    )
    monkeypatch.setattr(author_voice, "compare_voices", lambda *_args: beaten)

    said = asked_until_decided(prompts, judges, Model(), Model(), texts=["Nothing alike."])

    assert said.prompts.held_out == prompts.held_out
    assert len(said.prompts.with_posts) == 30
    below_posts = {at for at in said.answers.base if at in prompts.with_posts}
    assert below_posts == set(prompts.with_posts[:30])
    assert set(prompts.held_out) <= said.answers.base.keys()


def test_a_bet_that_is_won_on_the_first_prompts_stays_won() -> None:
    """Thirty prompts below posts, forty others: the candidate is above the former by its bet."""
    documents = [f"d{number}" for number in range(40)]
    scores = Scores([0.6] * 40, [0.5] * 40, [0.48] * 40, [0.1] * 30)

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
    told = author_voice.sounds_less_like_the_base(Voice(40, shorter, None)).detail
    assert "decided as above the limit on the first 30 questions" in told


@pytest.mark.parametrize(("gone", "side"), [(0.0, "below"), (0.1, "below"), (0.2, None),
                                            (0.5, "above"), (1.2, "above")])  # fmt: skip
def test_a_voice_must_have_gone_a_part_of_the_way_to_the_author(
    gone: float, side: str | None
) -> None:
    """Each is far above the base with posts, and all but the first above the base."""
    base = [0.1] * 100
    scores = Scores([0.8] * 100, [0.1 + 0.7 * gone] * 100, base, [0.0] * 100)
    names = [str(number) for number in range(100)]

    assert decide_early(names, scores, base_only=False) == side
    assert decide_early(names, scores, base_only=True) == ("above" if gone else None)


def test_questions_of_one_post_are_one_observation_of_a_bet() -> None:
    assert voice(0.4, beside_posts=0.4).against_all.stopped == "above"  # pyright: ignore[reportOptionalMemberAccess]
    assert voice(0.4, beside_posts=0.4, each=10).against_all.stopped is None  # pyright: ignore[reportOptionalMemberAccess]


def test_no_bet_is_won_by_chance_more_often_than_its_level_says() -> None:
    """A thousand candidates like their base, looked at after 30 and every 5 more of 100."""
    chance = random.Random(11)
    won = 0
    for _ in range(1000):
        base = [chance.betavariate(0.5, 1.5) for _ in range(100)]
        mine = [chance.betavariate(0.5, 1.5) for _ in range(100)]
        names = [str(number) for number in range(100)]
        won += any(
            decide_early(names[:end], Scores([], mine[:end], base[:end]), base_only=True) == "above"
            for end in range(30, 101, 5)
        )
    assert won / 1000 <= voice_scores.BET_LEVEL + 0.008


def test_the_first_questions_are_those_that_were_drawn_first(samples: pl.DataFrame) -> None:
    prompts = asked_of(samples, questions=40)

    some = take_first_questions(prompts, 7)

    assert (list(some.held_out), len(some.with_posts)) == (list(range(7)), 7)
    assert (some.questions, some.red_team) == (prompts.questions, prompts.red_team)
    assert (FIRST.looks, FIRST.min_questions, FIRST.questions_per_step) == ((15, 30), 8, 4)
    assert (WHOLE.looks, WHOLE.min_questions, WHOLE.questions_per_step) == ((30, 60), 30, 5)
    assert LOOKS_LEVEL == 0.05
    of_first = {rule.name for measure in FIRST.measures for rule in measure.claims}
    assert of_first >= set(FIRST_CLAIMS)
    assert WHOLE.measures == MEASURES
