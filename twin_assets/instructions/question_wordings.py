"""Define the wordings of questions in each supported language.

Scope: the wordings, and the words that identify questions in a language. Out of scope: choosing
among the questions (`back_translation.py`).

A wording adds few words, because two questions in different splits that share 70 % of their words
count as one (`leakage.QUESTION_SIMILARITY_THRESHOLD`).
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import dataclass

from twin_assets.instructions.similar_keys import split_words

_MAX_WORD_SIMILARITY = (
    0.7  # Jaccard of two questions' words, as `leakage.QUESTION_SIMILARITY_THRESHOLD`
)


@dataclass(frozen=True)
class QuestionWordings:
    """The wordings and closed word classes of one language.

    Attributes:
        title: wordings with `{title}`, in addition to those of `corpus.title_questions`.
        heading: wordings with `{heading}` and `{title}`.
        continuation: wording with `{opening}`, the first words of the answer.
        question_words: words that begin the author's own questions.
        referring_words: words that refer to earlier text.
        first_person_words: words that authors use for themselves.
        empty_headings: headings that name no subject.
    """

    title: tuple[str, ...]
    heading: tuple[str, ...]
    continuation: str
    question_words: frozenset[str]
    referring_words: frozenset[str]
    first_person_words: frozenset[str]
    empty_headings: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDINGS: dict[str, QuestionWordings] = {
    "en": QuestionWordings(
        title=(
            "Can you tell me more about “{title}”?",
            "What is “{title}” about?",
            "What did you write in “{title}”?",
        ),
        heading=(
            "In “{title}”, what do you say about “{heading}”?",
            "I was reading “{title}”. Can you say more about “{heading}”?",
        ),
        continuation="Write on from this beginning: “{opening}”",
        question_words=_words(
            "what why how when where which who whose is are was were do does did can could should "
            "would will has have"
        ),
        referring_words=_words(
            "it its it's it’s this that's that’s these those they them their they're they’re he "
            "him his she her hers such here above below one ones other others another both neither "
            "former latter same there thus therefore"
        ),
        first_person_words=_words(
            "i me my mine myself we us our ours i'm i’m i've i’ve i'd i’d i'll i’ll"
        ),
        empty_headings=_words(
            "introduction conclusion conclusions example examples background summary update "
            "updates results notes note overview intro appendix references discussion motivation "
            "links tldr postscript epilogue prologue addendum footnotes more misc other solution "
            "problem usage installation setup final wrap-up"
        ),
    ),
    "de": QuestionWordings(
        title=("Worum geht es in „{title}“?", "Erzähl mir mehr über „{title}“."),
        heading=(
            "Was schreibst du in „{title}“ unter „{heading}“?",
            "Worum geht es bei „{heading}“ in „{title}“?",
        ),
        continuation="Schreib nach diesem Anfang weiter: „{opening}“",
        question_words=_words(
            "was warum wieso weshalb wie wann wo woher wohin welche welcher welches wer wozu womit "
            "ist sind kann können soll sollte darf muss hat haben gibt"
        ),
        referring_words=_words(
            "er sie es ihm ihn ihr ihnen sein seine seinen ihre ihren dies diese dieser dieses "
            "diesen diesem das dies dort hier davon dazu damit daran dabei darin dafür darum "
            "deshalb solche beide andere anderen letztere so"
        ),
        first_person_words=_words(
            "ich mich mir mein meine meinen meinem meiner wir uns unser unsere unseren"
        ),
        empty_headings=_words(
            "einleitung einführung fazit zusammenfassung beispiel beispiele hintergrund ergebnis "
            "ergebnisse anmerkungen nachtrag update links quellen überblick vorwort schluss"
        ),
    ),
    "fr": QuestionWordings(
        title=("De quoi parle « {title} » ?", "Peux-tu m’en dire plus sur « {title} » ?"),
        heading=(
            "Dans « {title} », que dis-tu sous « {heading} » ?",
            "Que dis-tu de « {heading} » dans « {title} » ?",
        ),
        continuation="Continue à partir de ce début : « {opening} »",
        question_words=_words(
            "que qu'est-ce qu’est-ce quoi pourquoi comment quand où quel quelle quels quelles qui "
            "est-ce combien faut-il peut-on doit-on"
        ),
        referring_words=_words(
            "il elle ils elles lui leur leurs ce cet cette ces cela ça ceci celui celle ceux "
            "celles y en son sa ses ici là autre autres tel telle"
        ),
        first_person_words=_words("je j moi me mon ma mes nous notre nos"),
        empty_headings=_words(
            "introduction conclusion exemple exemples contexte résumé résultats notes annexe "
            "références liens bilan"
        ),
    ),
    "es": QuestionWordings(
        title=("¿De qué trata «{title}»?", "¿Me cuentas más sobre «{title}»?"),
        heading=(
            "En «{title}», ¿qué dices en «{heading}»?",
            "¿Qué cuentas sobre «{heading}» en «{title}»?",
        ),
        continuation="Continúa a partir de este comienzo: «{opening}»",
        question_words=_words(
            "qué por cómo cuándo dónde cuál cuáles quién quiénes cuánto cuánta es son puede hay"
        ),
        referring_words=_words(
            "él ella ellos ellas esto eso aquello este esta estos estas ese esa esos esas aquel "
            "aquella lo le les su sus aquí ahí allí otro otra otros otras mismo misma tal"
        ),
        first_person_words=_words(
            "yo me mi mis mí conmigo nos nosotros nuestro nuestra nuestros nuestras"
        ),
        empty_headings=_words(
            "introducción conclusión conclusiones ejemplo ejemplos contexto resumen resultados "
            "notas referencias enlaces"
        ),
    ),
    "it": QuestionWordings(
        title=("Di che cosa parla «{title}»?", "Mi dici di più su «{title}»?"),
        heading=(
            "In «{title}», che cosa dici in «{heading}»?",
            "Che cosa dici su «{heading}» in «{title}»?",
        ),
        continuation="Continua da questo inizio: «{opening}»",
        question_words=_words(
            "che cosa perché come quando dove quale quali chi quanto quanta è sono può"
        ),
        referring_words=_words(
            "lui lei loro esso essa essi questo questa questi queste quello quella quelli quelle "
            "ciò ne ci lo li suo sua suoi sue qui qua là altro altra altri altre stesso stessa tale"
        ),
        first_person_words=_words("io me mi mio mia miei mie noi nostro nostra nostri nostre"),
        empty_headings=_words(
            "introduzione conclusione conclusioni esempio esempi contesto riassunto risultati note "
            "riferimenti"
        ),
    ),
    "pt": QuestionWordings(
        title=("De que trata “{title}”?", "Pode contar mais sobre “{title}”?"),
        heading=(
            "Em “{title}”, o que você diz em “{heading}”?",
            "O que você conta sobre “{heading}” em “{title}”?",
        ),
        continuation="Continue a partir deste começo: “{opening}”",
        question_words=_words(
            "que por como quando onde qual quais quem quanto quanta é são pode há"
        ),
        referring_words=_words(
            "ele ela eles elas isto isso aquilo este esta estes estas esse essa esses essas aquele "
            "aquela lhe lhes seu sua seus suas dele dela aqui ali lá outro outra outros outras "
            "mesmo mesma tal"
        ),
        first_person_words=_words(
            "eu me meu minha meus minhas mim comigo nós nos nosso nossa nossos nossas"
        ),
        empty_headings=_words(
            "introdução conclusão conclusões exemplo exemplos contexto resumo resultados notas "
            "referências"
        ),
    ),
    "nl": QuestionWordings(
        title=("Waar gaat “{title}” over?", "Kun je meer vertellen over “{title}”?"),
        heading=(
            "Wat schrijf je in “{title}” onder “{heading}”?",
            "Wat bedoel je met “{heading}” in “{title}”?",
        ),
        continuation="Schrijf verder na dit begin: “{opening}”",
        question_words=_words(
            "wat waarom hoe wanneer waar welke welk wie waarmee waarvoor is zijn kan kunnen moet "
            "mag heeft hebben"
        ),
        referring_words=_words(
            "hij zij ze hem haar hun hen het dit deze die dat daar hier ervan erop ermee daarvan "
            "daarom zulke beide andere ander zelfde zo zijn"
        ),
        first_person_words=_words("ik mij me mijn we wij ons onze"),
        empty_headings=_words(
            "inleiding conclusie conclusies voorbeeld voorbeelden achtergrond samenvatting "
            "resultaten noten bronnen links"
        ),
    ),
}
_LANGUAGE_NEUTRAL_WORDINGS = QuestionWordings(
    title=("“{title}”?",),
    heading=("“{title}”: “{heading}”?",),
    continuation="“{opening}” …",
    question_words=frozenset(),
    referring_words=frozenset(),
    first_person_words=frozenset(),
    empty_headings=frozenset(),
)
"""For languages whose grammar is not supported: quoted parts without a sentence around them."""


def find_wordings(language: str) -> QuestionWordings:
    """Return the wordings of an ISO 639-1 language; English for `und` and an empty code."""
    return WORDINGS.get("en" if language in {"", "und"} else language, _LANGUAGE_NEUTRAL_WORDINGS)


def is_distinctive(wording: str, **fields: str) -> bool:
    """Return whether two questions of this wording, filled differently, would count as different.

    Args:
        fields: the values that fill the wording.
    """
    wording_words = set(split_words(re.sub(r"\{\w+\}", " ", wording)))
    inserted_words = {word for value in fields.values() for word in split_words(value)}
    distinct_count = len(inserted_words - wording_words)
    return distinct_count > 0 and len(wording_words) < _MAX_WORD_SIMILARITY * (
        len(wording_words) + 2 * distinct_count
    )
