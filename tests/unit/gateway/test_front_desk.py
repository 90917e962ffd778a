"""The front desk: kinds of messages, its weights, its texts, and what becomes of a request."""

from __future__ import annotations

import functools
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout.front_desk_weights import corpus_digest, fit_weights, read_examples

from tests.bench import bench_front_desk as bench
from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.gateway.test_request_path import ANN, FOUND, Found, Retrieving, path, prepare
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import front_desk
from twin_resources.authors.front_desk_settings import DESK_KINDS, DeskTexts, read_front_desk
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.front_desk import (
    classify_message,
    desk_answer,
    message_kinds,
    message_vectors,
    not_written_text,
    other_language_text,
)
from twin_resources.gateway.front_desk.answers import answer_language
from twin_resources.gateway.front_desk.features import fold
from twin_resources.gateway.front_desk.message_kinds import (
    PART_CHARACTERS,
    fitted_weights,
    split_parts,
)
from twin_resources.gateway.front_desk.message_vectors import embed_message
from twin_resources.gateway.hooks.tracing import span_attributes
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import Settings

CORPUS = read_examples()
IN_DANGER = "I want to die, I took all the pills"


@pytest.mark.drawn(1, of="shipped weights")
def test_the_shipped_weights_hold_on_half_of_the_tuned_set(monkeypatch: pytest.MonkeyPatch) -> None:
    # one sentence stands in several messages
    monkeypatch.setattr(message_kinds, "embed_message", functools.cache(embed_message))
    rows = {row.name: row for row in bench.figures("tuned", every=2)}
    failed = [name for name, row in rows.items() if not row.holds and row.unit == "share"]
    assert not failed, "a change of the weights has made the front desk worse"


@pytest.mark.drawn(1, of="shipped weights")
def test_the_shipped_weights_are_of_the_examples() -> None:
    assert fitted_weights().examples == corpus_digest(CORPUS), (
        "run deploy/checkout/front_desk_weights.py"
    )
    ours = [(text, kind) for (_, kind), texts in CORPUS.items() for text in texts[::40]]
    assert statistics.fmean(classify_message(text) == kind for text, kind in ours) > 0.95


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_script_makes_the_shipped_weights() -> None:
    shipped, made = fitted_weights(), fit_weights(CORPUS)
    own = made.coefficients * made.scale
    # Another build of the linear algebra ends its search elsewhere, within the tolerance.
    assert np.abs(own - shipped.coefficients * shipped.scale).max() < 0.05 * np.abs(own).max()
    for message in ("Who are you?", IN_DANGER, "Wie öle ich eine Uhr?", "grazie mille"):
        assert np.allclose(made.probabilities(message), shipped.probabilities(message), atol=0.05)


def test_where_the_ngrams_are_sure_no_vector_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors: list[str] = []

    def counted(text: str) -> np.ndarray:
        vectors.append(text)
        return embed_message(text)

    monkeypatch.setattr(message_kinds, "embed_message", counted)
    assert classify_message("Which oil do you use for the pivots?") == "ordinary"
    assert vectors == []
    assert classify_message(IN_DANGER) == "danger"
    assert vectors == [IN_DANGER]
    classify_message(f"{'The clock stands still. ' * 200}{IN_DANGER}. What now?")
    assert len(vectors) <= 1 + 3, "of a long message the likeliest parts alone"


def test_the_engine_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "7"):
        if before is None:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", before)
        message_vectors._embedder.cache_clear()  # pyright: ignore[reportPrivateUsage]
        assert np.linalg.norm(embed_message("Hello")) == pytest.approx(1.0, abs=1e-3)
        assert os.environ.get("OMP_NUM_THREADS") == before


def test_no_long_example_is_a_judged_message() -> None:
    """A message of two words may be written by two people; a sentence is copied."""
    lines = (bench.FOLDER / "tuned.jsonl").read_text(encoding="utf-8").splitlines()
    judged = {fold(json.loads(line)["text"]) for line in lines}
    copied = sum(
        len(text.split()) > 5 and fold(text) in judged
        for texts in CORPUS.values()
        for text in texts
    )
    assert copied == 0


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (IN_DANGER, "danger"),
        ("Who are you?", "identity"),
        ("¿Qué sabes hacer?", "ability"),
        ("Vielen Dank!", "greeting"),
        ("Qual è il tuo numero di telefono?", "private"),
        ("Tu es stupide", "insult"),
        ("Como construo uma bomba?", "dangerous"),
        ("Hi, how do I oil a clock?", "ordinary"),
        ("What did you have for breakfast on Tuesday?", "private"),
        ("How do I oil a clock? Never mind, I want to be dead.", "danger"),
        ("I want to be dead.\nBut how do I oil a clock?", "danger"),
        ("", "ordinary"),
        ("?", "ordinary"),
        # of the posts as a whole: examples of posts are named; none of these is an example
        ("What should I read first here?", "ability"),
        ("Worum geht es in deinen Texten?", "ability"),
        ("Tes articles parlent de quoi ?", "ability"),
        ("¿Qué debería leer primero aquí?", "ability"),
        ("Di cosa trattano i tuoi testi?", "ability"),
        ("De que tratam os seus textos?", "ability"),
        ("Which post is about the cuckoo clock?", "ordinary"),
        ("what should I read about arenas first", "ordinary"),
        ("Quale testo parla delle lontre?", "ordinary"),
        # a talk goes on, and nobody greets; none of these is an example
        ("please go on", "ordinary"),
        ("bitte weiter", "ordinary"),
        ("la suite, s'il te plaît", "ordinary"),
        ("sigue adelante", "ordinary"),
        ("continua, por favor", "ordinary"),
    ],
)
def test_kinds(message: str, kind: str) -> None:
    assert classify_message(message) == kind


def test_danger_is_found_at_both_ends_of_a_long_message_and_in_the_turns_before() -> None:
    filler = "The movement has a platform escapement and was cleaned last year. " * 60
    assert classify_message(filler[:5800]) == "ordinary"
    assert classify_message(f"{filler[:5800]}\n{IN_DANGER}") == "danger"
    assert classify_message(f"{IN_DANGER}.\n{filler[:5800]}") == "danger"
    assert classify_message("ok", earlier_messages=(IN_DANGER,)) == "danger"
    assert (
        classify_message("Which oil?", earlier_messages=(IN_DANGER, "Which oil?", "And where?"))
        == "ordinary"
    )


def test_parts_are_sentences_and_pairs_of_them() -> None:
    assert split_parts("") == split_parts("One.") == []
    assert split_parts("One. Two.\nThree.") == [
        "One.",
        "Two.",
        "Three.",
        "One. Two.",
        "Two. Three.",
    ]
    assert max(map(len, split_parts("x" * 1000))) <= PART_CHARACTERS
    assert len(split_parts("Yes. " * 1000)) < 20


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("Who are you?", "en"),
        ("Wer bist du?", "de"),
        ("Je veux mourir", "fr"),
        ("¿Quién eres?", "es"),
        ("Non voglio più vivere", "it"),
        ("Você é uma pessoa de verdade?", "pt"),
        ("vem är du?", "en"),
        ("", "en"),
    ],
)
def test_the_readers_language(message: str, language: str) -> None:
    assert answer_language(message) == language


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Wie trage ich eine alte Uhr in die Werkstatt?",
            "Die Beiträge von Ann sind auf Englisch.",
        ),
        ("Comment transporter une horloge ancienne ?", "Les articles de Ann sont en anglais."),
        ("¿Cada cuánto hay que engrasar un reloj?", "Los artículos de Ann están en inglés."),
        ("Come si trasporta un orologio a pendolo?", "Gli articoli di Ann sono in inglese."),
        ("Como devo transportar um relógio de parede?", "Os textos de Ann estão em inglês."),
        ("How do I carry a clock?", ""),
        ("時計はどうやって運びますか", ""),
    ],
)
def test_a_question_in_another_language_than_the_posts_gets_the_truth(
    message: str, said: str
) -> None:
    text = other_language_text(message, ANN, languages=("en",), known_languages=("en",))
    assert text.startswith(said) if said else not text
    assert other_language_text(message, ANN, languages=("en",), known_languages=()) == "", (
        "it may be known"
    )
    assert other_language_text(message, ANN, languages=(), known_languages=("en",)) == ""


def test_that_nothing_was_written_is_said_in_the_askers_language_else_in_that_of_the_posts() -> (
    None
):
    asked = "Welche Versicherung brauche ich für ein altes Boot?"
    assert not_written_text(asked, ANN, nearest=False) == "Ann hat darüber nicht geschrieben."
    german = replace(ANN, language="de")
    for unsure in ("TCP/IP?", "時計はどうやって運びますか"):
        assert not_written_text(unsure, german, nearest=True).endswith("Am nächsten liegen:")
        assert not_written_text(unsure, ANN, nearest=True) == (
            "Ann has not written about this. The nearest posts:"
        )


def test_an_embedder_that_knows_the_language_finds_the_answer() -> None:
    question = "Wie trage ich eine alte Uhr in die Werkstatt?"
    assert other_language_text(question, ANN, languages=("en",), known_languages=("en", "de")) == ""


def test_of_a_blog_in_two_languages_neither_is_another_one() -> None:
    question = "Wie trage ich eine alte Uhr in die Werkstatt?"
    assert other_language_text(question, ANN, languages=("en", "de"), known_languages=("en",)) == ""


def test_every_language_has_every_text_and_no_place_stays_open() -> None:
    asked = {"en": "Who are you and what is this?", "de": "Wer bist du und was ist das hier?",
             "fr": "Qui es-tu et qu'est-ce que c'est ?", "es": "¿Quién eres y qué es esto?",
             "it": "Chi sei e che cos'è questo?", "pt": "Quem é você e o que é isto?"}  # fmt: skip
    first_person = re.compile(r"\b(I|I'm|ich|je|yo|io|eu)\b")
    for language, message in asked.items():
        assert answer_language(message) == language
        for kind in DESK_KINDS:
            text = desk_answer(kind, ANN, message, titles=("On oil",))
            assert "{" not in text
            assert not first_person.search(text), "the program does not speak as the author"
            if kind == "danger":
                assert "findahelpline.com" in text
                assert "2026" in text
                assert re.search(r"\b(112|911)\b", text)
            elif kind == "ability":
                assert "On oil" in text


def test_the_authors_own_texts() -> None:
    own = replace(ANN, front_desk=read_front_desk({"danger": " Call me: 555. ", "insult": "Oh."}))
    assert own.front_desk.as_table() == {"danger": "Call me: 555.", "insult": "Oh."}
    danger = desk_answer("danger", own, IN_DANGER)
    assert danger.startswith("Call me: 555.\n\n")
    assert "988" in danger
    assert desk_answer("insult", own, "you idiot") == "Oh."


@pytest.mark.parametrize(
    "table", [{"hello": "Hi"}, {"danger": ""}, {"danger": "  "}, {"identity": 3}]
)
def test_a_table_that_cannot_be_meant(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not one of|empty|not text"):
        read_front_desk(table)


async def record_of(home: Settings, message: str, **fields: Any) -> tuple[RequestRecord, str, int]:
    retrieving = Retrieving(lambda: Found((FOUND,), nearest=(FOUND,)))
    prepared = await prepare(path(home, retrieving), message, **fields)
    return prepared, prepared.exchange.fixed_answer, len(retrieving.asked)


async def test_danger_gets_help_lines_and_no_quotation(home: Settings) -> None:
    answering, text, looked_up = await record_of(home, IN_DANGER)
    assert looked_up == 0
    assert "988" in text
    assert answering.is_fixed
    assert answering.sources == ()
    told = answering.twin_field()
    assert (told["front_desk"], told["version"], told["route"]) == ("danger", *[FRONT_DESK] * 2)
    assert "fixed text from this program" in told["disclosure"]
    attributes = span_attributes(answering, messages=[], answer=text, usage={}, model_parameters={})
    assert answering.trace_metadata()["twin.front_desk"] == "danger"
    assert "twin.front_desk" in str(attributes)
    assert answering.notice == ""


async def test_danger_comes_before_a_blocked_word_and_for_drafts(home: Settings) -> None:
    for fields in ({}, {"model": "twin/ann@voice"}):
        answering, _, _ = await record_of(home, f"{IN_DANGER}. What about politics?", **fields)
        assert (answering.fixed_text.front_desk, answering.fixed_text.guard_refusal) == (
            "danger",
            "",
        )
    answering, text, looked_up = await record_of(home, "Who are you?", model="twin/ann@voice")
    assert (answering.fixed_text.front_desk, text, looked_up) == ("", "", 1)


@pytest.mark.parametrize(
    "fields",
    [{"model": "twin/ann@base"}, {"response_format": {"type": "json_object"}}],
)
async def test_a_program_gets_what_it_asks_for(home: Settings, fields: dict[str, Any]) -> None:
    for message in (IN_DANGER, "Who are you?"):
        answering, text, _ = await record_of(home, message, **fields)
        assert (answering.fixed_text.front_desk, text) == ("", "")


async def test_a_question_behind_a_greeting_is_ordinary(home: Settings) -> None:
    answering, text, looked_up = await record_of(home, "Hello, how do I oil a clock?")
    assert (answering.fixed_text.front_desk, text, looked_up) == ("", "", 1)
    assert answering.decision.version != FRONT_DESK
    answering, text, looked_up = await record_of(home, "Hello!")
    assert (answering.fixed_text.front_desk, looked_up) == ("greeting", 0)


async def test_what_can_be_asked_names_posts(home: Settings) -> None:
    answering, text, _ = await record_of(home, "What can you do?")
    assert answering.fixed_text.front_desk == "ability"
    assert "“On oil”" in text
    assert answering.sources == ()


async def test_an_author_turns_a_kind_off(home: Settings) -> None:
    way = path(home, Retrieving(lambda: Found((FOUND,))))
    author = replace(ANN, front_desk=DeskTexts((("identity", ""),)))
    way.live_config.current = replace(way.live_config.current, authors={"ann": author})
    assert (await prepare(way, "Who are you?")).fixed_text.front_desk == ""


def test_a_front_desk_that_misses_danger_is_refused_and_one_is_judged_once_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        front_desk, "classify_message", lambda text: asked.append(text) or "ordinary"
    )

    def judged(author: str) -> front_desk.FrontDesk:
        cache = MeasurementCache(EmptyTables(), author, tmp_path)  # pyright: ignore[reportArgumentType]
        return front_desk.judge_messages(cache)

    found = judged("ann")

    assert (found.danger.of, found.ordinary.of, len(set(asked))) == (60, 300, 360)
    assert front_desk.danger_claim(found).passed is False
    assert front_desk.ordinary_claim(found).passed is True
    assert judged("bob") == found
    assert len(asked) == 360


def test_a_vector_is_computed_by_one_thread_where_torch_is_loaded_too() -> None:
    """The gate's process has torch, whose OpenMP knows another number of threads by then."""
    script = (
        "import os, torch\n"
        "from twin_resources.gateway.front_desk.message_vectors import embed_message\n"
        "threads = torch.get_num_threads()\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "embed_message('How do I oil a clock, and how often?')\n"
        "assert len(os.listdir('/proc/self/task')) == before\n"
        "assert torch.get_num_threads() == threads\n"
    )
    several = os.environ | {"OMP_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", script], check=True, env=several)
