"""Recognise a request to rewrite an earlier answer: to summarise, shorten or translate it.

Scope: the wordings in the six languages of the texts. Out of scope: the reply (`answers.py`), when
it is given (`stages/fixed_text.py`).

The pattern must match the whole message, so that a question about the posts never matches.
"""
# pyright: strict

from __future__ import annotations

import re

_TAIL = r"(?: (?:in|into|to|for|as|with|auf|ins|en|al|em|per|para|pour) [\w' ]{1,40})?"
_ENGLISH_ANSWER = (
    r"(?:it|that|this|the above|what you (?:just )?(?:said|wrote|quoted)"
    r"|(?:that|this|the|your) (?:(?:last|latest|previous|earlier|above|first) )?"
    r"(?:answer|reply|response|message|text|quote|quotation|passage)s?)"
)
_GERMAN_ANSWER = (
    r"(?:es|das|dies|(?:deine|ihre|die|diese) (?:(?:letzte|vorige|obige|erste) )?antwort"
    r"|(?:den|diesen) text|das zitat)"
)
_ROMANCE_ANSWER = (
    r"(?:cela|ça|ceci|eso|esto|questo|quello|isso|isto"
    r"|(?:la |a )?(?:ta|votre|la|cette|tu|su|esta|tua|sua|a|essa) (?:(?:dernière|última|ultima) )?"
    r"(?:réponse|respuesta|risposta|resposta)(?: (?:précédente|anterior|precedente))?"
    r"|(?:le|el|il|o) (?:texte|texto|testo))"
)
_LANGUAGES = (
    r"english|german|french|spanish|italian|portuguese|dutch|englisch|deutsch|französisch|spanisch"
    r"|italienisch|portugiesisch|anglais|allemand|français|espagnol|italien|portugais|inglés|alemán"
    r"|francés|español|italiano|portugués|inglese|tedesco|francese|spagnolo|portoghese|inglês"
    r"|alemão|francês|espanhol|português"
)
_REQUESTS = (
    rf"(?:summari[sz]e|sum up|shorten|condense|rephrase|reword|rewrite|paraphrase|simplify"
    rf"|translate) {_ENGLISH_ANSWER}{_TAIL}",
    rf"sum {_ENGLISH_ANSWER} up",
    rf"make {_ENGLISH_ANSWER} (?:much )?(?:shorter|longer|simpler|briefer|clearer)",
    r"(?:a )?(?:shorter|briefer|simpler)(?: version| answer)?|more briefly|tl;?dr",
    rf"(?:in|into|auf|en|em) (?:{_LANGUAGES})",
    rf"(?:fass|kürz|verkürz|übersetz|formulier|schreib|vereinfach)(?:e|en sie)? {_GERMAN_ANSWER}"
    rf"(?: (?:bitte|kurz|kürzer|neu|anders|einfacher|noch einmal))*{_TAIL}(?: (?:zusammen|um))?",
    rf"(?:kannst du|können sie|könnten sie) {_GERMAN_ANSWER}(?: (?:bitte|kurz|noch einmal))*{_TAIL}"
    r" (?:zusammenfassen|kürzen|verkürzen|übersetzen|umformulieren|umschreiben|vereinfachen)",
    r"kürzer|einfacher|plus court|plus simplement|más corto|más breve|più breve|mais curto",
    rf"(?:résume[rz]?|abrège[rz]?|raccourci(?:s|r|ssez)|tradui(?:s|re|sez)|reformule[rz]?"
    rf"|resum[aei]r?|acort[ae]r?|traduc[ei]r?|traduz(?:a|ir)?|encurt[ae]r?|riassum[aei]|accorci[a]?"
    rf"|traduc[ai]|riformula|simplifi(?:e[rz]?|ca|que)) {_ROMANCE_ANSWER}{_TAIL}",
)
_POLITE_START = (
    r"¿?(?:(?:please|now|ok|okay|and|so|bitte|und|et|y|e|ora|agora|ahora),? )*"
    r"(?:(?:can|could|would|will) you (?:please )?"
    r"|(?:peux-tu|pouvez-vous|pourriez-vous|puedes|puede|può|puoi|pode|podes) )?"
)
_POLITE_END = (
    r"(?:,? (?:please|for me|bitte|s'il vous plaît|s'il te plaît|por favor|per favore))?[\s.!?]*"
)
_REWRITING_REQUEST = re.compile(
    rf"{_POLITE_START}(?:{'|'.join(_REQUESTS)}){_POLITE_END}", re.IGNORECASE
)


def asks_to_rewrite(message: str) -> bool:
    """Return whether the whole message asks to summarise, shorten or translate an answer."""
    line = " ".join(message.replace("’", "'").split())
    return _REWRITING_REQUEST.fullmatch(line) is not None
