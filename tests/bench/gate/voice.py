"""Voice of the candidate on a hundred held-out prompts: beside the base, and the base with posts.

Belongs here: asking the three, judging what they say, the rows. Does not belong here: the score
(`twin_resources/quality/judges/voice.py`), its comparison
(`twin_assets/evaluation/measures/voice_scores.py`).

The gate tells this author apart from two of the bundled ones and the base; here all of these and
the other shared author take part, as in an instance that has both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tests.bench.gate.forms import Form
from tests.bench.gate.gated import Gated, gated
from tests.bench.rows import Row
from tests.bench.training.material import POSTS, SHARED_AUTHORS
from tests.bench.training.rows import row
from twin_assets.evaluation.judged.judge_material import BASE_ANSWERS, DATASET
from twin_assets.evaluation.likelihood import held_out
from twin_assets.evaluation.measures import voice_scores
from twin_assets.evaluation.measures.voice_scores import Scores, Voice, VoiceCompared
from twin_assets.evaluation.served import posts_in_prompt
from twin_assets.evaluation.served.served_answers import ANSWER_TOKENS
from twin_assets.instructions.instruction_tables import OF_THE_AUTHOR
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.serving.model_server_process import servers_at_once
from twin_resources.models.serving.served_model import Serve
from twin_resources.quality.judges.texts import WriterSample, bundled_hands, passages_of
from twin_resources.quality.judges.voice import BASE_MODEL, VoiceJudge, WriterTexts, calibrate_voice
from twin_resources.statistics.bootstrap import Interval

MOST_OF_THE_OTHER = 300  # passages, as of another author of the instance


def voice_of_candidate(form: Form) -> list[Row]:
    """Rows of the voice scores, told apart from everybody and from people alone."""
    found = gated(form)
    dataset = found.tables().read(DATASET, found.author, where=OF_THE_AUTHOR)
    trained = dataset.filter(pl.col("split") == "train")["document_id"].unique().to_list()
    held = held_out.held_out_samples(dataset, trained_on=trained).head(form.voice_prompts)
    if held.height < form.voice_prompts:
        raise SystemExit(f"{held.height} held-out prompts, {form.voice_prompts} are needed")
    said = _said(found, dataset, held)
    own = voice_scores.as_long_as(held["answer"].to_list(), said["candidate"])
    judges = _judges(found, dataset)

    def scored(judge: VoiceJudge) -> tuple[VoiceJudge, Scores]:
        scores = {name: voice_scores.scores_of(judge, texts) for name, texts in said.items()}
        return judge, Scores(
            own=voice_scores.scores_of(judge, own),
            candidate=scores["candidate"],
            base=scores["base"],
            base_with_posts=scores["base with posts"],
        )

    compared = voice_scores.measure_voice(
        held["document_id"].to_list(),
        against_all=scored(judges["everybody"]),
        against_people=scored(judges["people"]),
    )
    return rows(compared, goals=not form.training.tiny)


def rows(found: Voice, *, goals: bool) -> list[Row]:
    """The table: a goal is for the lower end of the interval, as the gate's is.

    Args:
        goals: whether the claims' limits are goals; a model of random weights has no voice.
    """
    made: list[Row] = []
    kinds = (("everybody", found.against_all), ("people alone", found.against_people))
    for kind, compared in kinds:
        if compared is None:
            continue
        decides = goals and kind == "everybody"
        where = f"{found.prompts} prompts of {found.documents} posts, against {kind}"
        over_base, over_posts = compared.over_base, compared.over_posts
        made.append(
            row(
                f"voice, candidate − base: low end, {where}",
                over_base.low,
                "score",
                at_least=0.0 if decides else None,
                peers=_ends(over_base) | _means(compared),
            )
        )
        if over_posts is not None:
            made.append(
                row(
                    "voice, candidate − base with posts: low end",
                    over_posts.low,
                    "score",
                    at_least=-voice_scores.BELOW_POSTS_BY if decides else None,
                    peers=_ends(over_posts),
                )
            )
        if compared.gap_closed is not None:
            closed = compared.gap_closed
            name = f"way from base to author, against {kind}"
            made.append(row(name, closed.value, "share", peers=_ends(closed)))
    return made


def _ends(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _means(found: VoiceCompared) -> dict[str, float]:
    means = {"author": found.own, "candidate": found.candidate, "base": found.base}
    told = {name: interval.value for name, interval in means.items()}
    if found.base_with_posts is not None:
        told["base with posts"] = found.base_with_posts.value
    return told | {"AUC": found.auc}


def _said(found: Gated, dataset: pl.DataFrame, held: pl.DataFrame) -> dict[str, list[str]]:
    prompts = held_out.prompts_of(held)
    posts = posts_in_prompt.posts_for_prompt(held_out.training_pairs(dataset))
    servers = ModelServers(found.settings)
    base, whole = found.manifest.base["gguf"], found.folder / "model.gguf"
    adapter = found.folder / "adapter.gguf"

    def candidate() -> Any:
        if adapter.is_file():
            return servers.serve(base, adapter, alias="candidate")
        return servers.serve(whole, alias="candidate")

    def alone() -> Any:
        return servers.serve(base, alias=servers.base_alias)

    asked: dict[str, tuple[Serve, list[Any]]] = {
        "candidate": (candidate, prompts),
        "base": (alone, prompts),
        "base with posts": (alone, [posts_in_prompt.with_posts(one, posts) for one in prompts]),
    }
    return {name: _answers(name, *one) for name, one in asked.items()}


def _answers(name: str, serve: Serve, prompts: Sequence[Any]) -> list[str]:
    done = 0

    def advance(answers: int) -> None:
        nonlocal done
        done += answers
        if done % 10 == 0 or done == len(prompts):
            sys.stderr.write(f"  answers of {name}: {done} of {len(prompts)}\n")

    said = served_model.ask_several(
        serve,
        prompts,
        servers=servers_at_once(),
        max_tokens=ANSWER_TOKENS,
        frequency_penalty=FREQUENCY_PENALTY,
        advance=advance,
    )
    return [one.text for one in said]


def _judges(found: Gated, dataset: pl.DataFrame) -> dict[str, VoiceJudge]:
    """Trained on training samples alone; the base's answers are those that the gate asked for."""
    pairs = held_out.training_pairs(dataset)
    own = WriterTexts(found.author, tuple((pair.document_id, pair.answer) for pair in pairs))
    hands = [*bundled_hands(without=[]), *others_of(found.author)]
    people = [WriterTexts(hand.name, hand.passages) for hand in hands]
    answers = (
        found.tables().read(BASE_ANSWERS, found.author, columns=["answer"])["answer"].to_list()
    )
    base = WriterTexts(
        BASE_MODEL, tuple((str(at), text) for at, text in enumerate(answers) if text)
    )
    return {
        "everybody": VoiceJudge(calibrate_voice(own, [*people, base])),
        "people": VoiceJudge(calibrate_voice(own, people)),
    }


def others_of(author: str) -> list[WriterSample]:
    """The other shared authors."""
    return [other_hand(POSTS / slug) for slug in SHARED_AUTHORS if slug != author]


def other_hand(folder: Path) -> WriterSample:
    """The other shared author's passages, spread over all posts."""
    passages = [
        (str(path.relative_to(folder)), passage)
        for path in sorted(folder.rglob("*.md"))
        for passage in passages_of(path.read_text(encoding="utf-8"))
    ]
    step = max(1, len(passages) // MOST_OF_THE_OTHER)
    return WriterSample(folder.name, tuple(passages[::step][:MOST_OF_THE_OTHER]))
