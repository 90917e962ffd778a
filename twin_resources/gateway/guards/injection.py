"""Sentences that speak to the model instead of asking its author: found by their wording.

Belongs here: the wordings, in English, German and French, and the sentence around one.
Does not belong here: control tokens and imitated passages, which are made text wherever they stand
(`prompt/templates.py`), what is done about a finding (`guard_settings.py`).

Wordings follow the families of published attacks (Perez and Ribeiro 2022, "Ignore previous prompt",
https://arxiv.org/abs/2211.09527; Greshake et al. 2023, https://arxiv.org/abs/2302.12173): undoing
what was said before, asking for the prompt, another role, a forged speaker, no rules, sending
something away. It finds these wordings and no intent: an attack that is said in other words passes.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.prompt.control_marks import FAMILIES

_GAP = r"[^.!?\n]{0,40}?"
_INSTRUCTIONS = (
    r"(?:instruct?ions?|rules?|prompts?|guidelines?|directives?|orders|commands?|programming"
    r"|system ?(?:prompt|message)|persona|everything|context"
    r"|anweisung(?:en)?|regeln?|vorgaben?|befehle?|instruktion(?:en)?|system ?(?:prompt|nachricht)"
    r"|systemanweisung(?:en)?|alles|rolle"
    r"|consignes?|r[eè]gles?|ordres?|tout|invite|message syst[eè]me|r[oô]le)"
)
_BEFORE = (
    r"(?:previous(?:ly)?|prior|preceding|above|earlier|all|any|your|you were"
    r"|you have been|these|those"
    r"|former|original|initial|system|the rules|told"
    r"|vorherige[nrs]?|vorige[nrs]?|bisherige[nrs]?|fr[uü]here[nrs]?|obige[nrs]?|alle"
    r"|deine[nrs]?|ihre"
    r"|diese|davor|vorher|urspr[uü]ngliche[nrs]?|gesagt|zuvor"
    r"|pr[eé]c[eé]dente?s?|ant[eé]rieure?s?|ci-dessus|toutes?|tous|tes|vos|ces|initiale?s?|avant"
    r"|auparavant)"
)
_UNDO = (
    r"(?:ignor(?:e|ing)|disregard|forget|override|overwrite|bypass|skip|drop|discard|do not follow"
    r"|don't follow|stop following|pay no attention to"
    r"|ignorier(?:e|en|t)?|vergiss|vergesst|vergessen sie|missachte|verwirf|[uü]bergehe|umgehe"
    r"|befolge(?: \w+){0,3} nicht|halte? dich nicht"
    r"|ignore[zr]?|oublie[zr]?|n[eé]glige[zr]?|contourne[zr]?|fais abstraction|faites abstraction"
    r"|ne (?:tiens|tenez|suis|suivez|respecte[zr]?)(?: \w+){0,2} (?:pas|plus)(?: compte)?)"
)
_SHOW = (
    r"(?:reveal|show|print|repeat|output|display|tell|give|write|quote|copy|paste|recite|dump|leak"
    r"|summari[sz]e|translate|encode|what (?:is|are|was|were)"
    r"|zeig(?:e|t)?|gib|nenne?|wiederhole?|verrate?|drucke?|schreib(?:e)?|zitiere?|kopiere?"
    r"|wie (?:lautet|lauten)|was (?:ist|sind|steht in)"
    r"|montre[zr]?|affiche[zr]?|r[eé]p[eè]te[zr]?|r[eé]v[eè]le[zr]?|donne[zr]?"
    r"|[eé]cri[st]|recopie[zr]?"
    r"|cite[zr]?|quel(?:le)?s? (?:est|sont))"
)
_PROMPT = (
    r"(?:(?:your|the|its|this) (?:system|hidden|secret|initial|original|full|entire|exact) "
    r"?(?:system )?(?:prompt|instructions?|message|rules)|system prompt|your (?:prompt"
    r"|instructions)"
    r"|(?:text|words|everything|lines?) (?:above|before) (?:this|my|the)"
    r"|dein(?:e|en)? (?:system|versteckten?|geheimen?|urspr[uü]nglichen?|genauen?|internen?)[ -]?"
    r"(?:prompt|anweisung(?:en)?|regeln)|systemprompt|system-prompt|systemanweisung(?:en)?"
    r"|deine (?:anweisungen|instruktionen)|deinen prompt"
    r"|(?:ton|tes|votre|vos) (?:prompt|instructions?|consignes?|message syst[eè]me|r[eè]gles "
    r"(?:internes|cach[eé]es|secr[eè]tes))|prompt (?:syst[eè]me|initial|complet)|invite syst[eè]me)"
)
_SAYS = r"(?:^|[.!?:;,\n]\s*|\b(?:and|then|now|please|und|dann|jetzt|bitte|et|puis) )"
# Not "you are now retired" or "that you are now in Uppsala": a role has a name or an article.
_ROLE = (
    rf"(?:{_SAYS}you(?:'re| are) now (?:an?|the|my|in|free|called|[A-Z]{{3}})\b"
    rf"|{_SAYS}you(?:'re| are) no longer (?:an?|the|this|my|bound)\b"
    r"|from now on,? (?:you|answer|respond|act|speak|your)"
    r"|du bist (?:jetzt|nun|ab (?:jetzt|sofort)|nicht mehr|nicht l[aä]nger) (?:ein|der"
    r"|die|mein|nicht)"
    r"|(?<!\w)ab (?:jetzt|sofort|nun),? (?:bist|antwort|sprich|spiel|verh)"
    r"|sie sind (?:jetzt|ab sofort|nicht mehr) (?:ein|mein)"
    r"|tu (?:es|n'es) (?:maintenant|d[eé]sormais|plus) (?:un|une|l[ae']|le|mon)"
    r"|vous (?:[eê]tes|n'[eê]tes) (?:maintenant|d[eé]sormais|plus) (?:un|une|mon)\b"
    r"|(?:[aà] partir de maintenant|d[eé]sormais),? (?:tu|r[eé]ponds|parle))"
)
_ACT = (
    rf"{_SAYS}(?:act as (?:if you|an? (?:ai|assistant|unrestricted|evil|hacker|different"
    rf"|pirate|\w+ "
    r"(?:without|that|who)))|pretend (?:to be|you(?:'re| are))|role-?play as"
    r"|simulate (?:a|an|being)"
    r"|tu so,? als|spiel(?:e)? die rolle|verhalte dich wie|stell dir vor,? du (?:bist|w[aä]rst)"
    r"|fais (?:comme si|semblant)|joue le r[oô]le|comporte-toi comme|imagine que tu (?:es|n'as))"
)
# "Admin mode" of a radio and a lens "without filters" are no attacks: somebody is told to.
_FREE = (
    r"(?:\bDAN\b|\bdo anything now\b|jail ?break"
    r"|(?:enter|activate|enable|switch (?:in)?to|start|go into|you are in) (?:\w+ ){0,2}"
    r"(?:developer|debug|god|admin|root|maintenance) mode"
    r"|(?:aktiviere|wechsle in|starte|geh in) (?:\w+ ){0,2}(?:entwickler|debug|admin"
    r"|wartungs)-?modus"
    r"|(?:passe[zr]?|active[zr]?|mets-toi|entre[zr]?) (?:\w+ ){0,2}mode (?:d[eé]veloppeur"
    r"|debug|admin)"
    r"|(?:without|no|free of) (?:any |ethical |safety |content )*(?:restrictions"
    r"|guardrails|limitations"
    r"|censorship)\b|(?:disable|turn off|remove) (?:all |your )(?:\w+ )?(?:restrictions|filters?"
    r"|guardrails|safety|limitations|rules)\b|\bun(?:filtered|restricted|censored) (?:chatbot|ai"
    r"|assistant|model|answer|mode)"
    r"|ohne (?:jede |alle |deine )?(?:einschr[aä]nkung(?:en)?|zensur|schranken)|\bungefiltert\b"
    r"|schalte (?:deine |alle )(?:filter|regeln|sicherheit\w*) (?:aus|ab)"
    r"|sans (?:aucune? |tes |aucun )?(?:restrictions?|censure|garde-fous)"
    r"|d[eé]sactive[zr]? (?:tes|tous tes) (?:filtres|restrictions|r[eè]gles|garde-fous))"
)
_FORGED = (
    r"(?:^|\n)\s{0,3}(?:#{1,4} ?|\*\*|\[|<|\()?(?:system|assistant|developer|admin(?:istrator)?"
    r"|syst[eè]me|assistent|entwickler)(?: ?(?:message|prompt|note|override|instruction"
    r"|nachricht))?"
    r"(?:\*\*|\]|>|\))? ?(?::|\n|\]|>)"
    r"|\b(?:new|updated|neue|neuen|nouvelles?) (?:system )?(?:instructions?|rules|prompt"
    r"|anweisung(?:en)?"
    r"|regeln|consignes?|r[eè]gles?) ?:"
    r"|(?:begin|end|start)(?: of)? (?:system|instructions?|prompt)\b"
    r"|</?(?:system|instructions?|passage|context|prompt)>"
)
_AWAY = (
    r"!\[[^\]]{0,80}\]\(https?://[^)\s]{0,200}[?&=][^)\s]{0,200}\)"
    r"|(?:send|post|forward|email|sende|schicke|envoie|transmets)" + _GAP + r"(?:conversation|chat"
    r"|history|messages?|answers?|prompt|gespr[aä]ch|verlauf|unterhaltung|antwort(?:en)?"
    r"|historique|r[eé]ponses?)" + _GAP + r"(?:https?://|\S+@\S+\.\w)"
    r"|do not (?:tell|mention|reveal)" + _GAP + r"(?:this|these) (?:instruction|message|note)"
    r"|(?:an |attention,? )?(?:ai|language) models?(?: reading this)?[,:]"
    + _GAP
    + r"(?:must|should|say|write|recommend|include|answer)"
)
_INJECTION = re.compile(
    "|".join(
        (
            rf"\b{_UNDO}\b{_GAP}\b{_BEFORE}\b{_GAP}\b{_INSTRUCTIONS}\b",
            rf"\b{_UNDO}\b{_GAP}\b{_INSTRUCTIONS}\b{_GAP}\b{_BEFORE}\b",
            rf"\b{_SHOW}\b{_GAP}{_PROMPT}\b",
            rf"\b{_ROLE}\b",
            _ACT,
            _FREE,
            _FORGED,
            _AWAY,
        )
    ),
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?…。](?=\s|$)|\n")
_ENDS_IN_JSON = re.compile(rf'{_SENTENCE_END.pattern}|(?<!\\)(?:\\\\)*"')
_LONGEST_SENTENCE = 300


def find_injections(text: str, *, as_json: bool = False) -> list[tuple[int, int]]:
    """(begin, end) of each sentence that holds such a wording, or a control token of a model.

    Args:
        as_json: a sentence ends where a string of the document does.
    """
    ends = _ENDS_IN_JSON if as_json else _SENTENCE_END
    folded = FAMILIES.escaped(text)
    places = [match.span() for match in _INJECTION.finditer(text)]
    if folded is not text:
        first = next(
            (at for at, (one, other) in enumerate(zip(text, folded, strict=False)) if one != other),
            len(text),
        )
        places.append((max(first - 1, 0), first))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(_sentence(text, *place, ends=ends) for place in places):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _sentence(text: str, begin: int, end: int, *, ends: re.Pattern[str]) -> tuple[int, int]:
    earliest = max(0, begin - _LONGEST_SENTENCE)
    before = [match.end() for match in ends.finditer(text, earliest, begin)]
    after = ends.search(text, end, end + _LONGEST_SENTENCE)
    start = before[-1] if before else earliest
    while start < begin and text[start].isspace():
        start += 1
    if after is None:
        return start, min(len(text), end + _LONGEST_SENTENCE)
    return start, after.end() - (text[after.end() - 1] in '\n"')
