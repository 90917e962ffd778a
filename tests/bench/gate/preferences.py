"""What preference tuning gains: the author's answers against the base's own, judged as candidates.

Belongs here: the pairs, their home, the rows. Does not belong here: pairs and asking
(`twin_assets/instructions`), the loss (`twin_assets/training/losses.py`).

The supervised candidate is tuned on by DPO, and the gate judges the result in a home of its own.
The rejected texts are what the base answers to training prompts, because the production path asks
a stable version and the first candidate has none before it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, replace
from typing import Any

import yaml

from tests.bench.gate.forms import Form
from tests.bench.gate.gated import Gated, copied, gated, judged_in, rows, timed_in
from tests.bench.rows import Row
from tests.bench.training.processes import NotMeasured
from tests.bench.training.rows import row
from twin_assets.checkpoints.recipe import PreferenceRecipe, Recipe
from twin_assets.evaluation.measures import author_voice, on_topic
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.instructions.model_answers import AnswerSampling
from twin_assets.instructions.preference_building import update_preferences
from twin_resources.authors import read_author, write_author
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import Settings, load_settings

ANSWER_TOKENS = 128


def preference_tuned(form: Form) -> list[Row]:
    """Rows of the supervised candidate, and of each that was tuned on from it.

    Raises:
        NotMeasured: the form trains every weight, and preferences are learnt by adapters.
    """
    if form.whole_model:
        raise NotMeasured("preferences are learnt by adapters; the quick form has none")
    found = gated(form)
    made = _named("supervised", form, found)
    return made + _named("DPO", form, _tuned(form, found))


def _named(name: str, form: Form, found: Gated) -> list[Row]:
    pairs = found.manifest.preferences.get("pairs", 0)
    measured = found.evaluation.measured
    said = [*rows(form, measured, found.verdict.claims), *_answers(measured)]
    for one in said:
        one.name = f"{name}: {one.name}"
        one.goal, one.holds = None, True  # of the supervised candidate alone, in "time"
    return [row(f"{name}: pairs trained on", pairs, "pairs"), *said]


def _answers(measured: Measurements) -> list[Row]:
    """Topic and voice, which are of answers and not of likelihoods."""
    made: list[Row] = []
    topic = measured.of(on_topic.MEASURE)
    if topic is not None and topic.own is not None:
        ends = {"low": topic.own.low, "high": topic.own.high, "questions": float(topic.questions)}
        made.append(row("topic, permutation AUC", topic.own.value, "score", peers=ends))
    voice = measured.of(author_voice.MEASURE)
    if voice is not None and voice.against_all is not None:
        over = voice.against_all.over_base
        ends = {"low": over.low, "high": over.high, "prompts": float(voice.prompts)}
        made.append(row("voice, candidate − base", over.value, "score", peers=ends))
    return made


def _tuned(form: Form, found: Gated) -> Gated:
    """The candidate that is tuned on; kept as `gated` is."""
    home = found.settings.home.with_name(f"{found.settings.home.name}-dpo")
    if not (home / "cost.json").is_file():
        shutil.rmtree(home, ignore_errors=True)
        settings = copied(found, home)
        _write_recipe(found, settings, budget=form.tokens)
        _pair_with_base(found, settings, answers=form.preference_answers)
        (home / "cost.json").write_text(json.dumps(asdict(timed_in(settings))), "utf-8")
    return judged_in(load_settings(home), form.author)


def _write_recipe(found: Gated, settings: Settings, *, budget: int) -> None:
    values: dict[str, Any] = {**found.manifest.recipe}
    section = PreferenceRecipe(
        beta=0.1,
        learning_rate=0.00002,
        token_budget=min(budget, 40_000),
        fewest_pairs=8,
        answers=0,
        answer_tokens=ANSWER_TOKENS,
    )
    recipe = Recipe.model_validate({**values, "preference": section.model_dump()})
    path = settings.home / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"})), "utf-8")
    author = read_author(settings, found.author)
    write_author(settings, replace(author, recipe=str(path)))


def _pair_with_base(found: Gated, settings: Settings, *, answers: int) -> None:
    servers = ModelServers(settings)
    base = found.manifest.base
    made = update_preferences(
        replace(found, settings=settings).tables(),
        read_author(settings, found.author),
        answering=AnswerSampling(
            checkpoint=base["revision"],
            serve=lambda: servers.serve(base["gguf"], alias=servers.base_alias),
            answers=answers,
            answer_tokens=ANSWER_TOKENS,
        ),
        log=lambda line: sys.stderr.write(f"  {line}\n"),
    )
    sys.stderr.write(f"  pairs: {dict(made.sources)}, left out {dict(made.left_out)}\n")
