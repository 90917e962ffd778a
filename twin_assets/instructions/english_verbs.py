"""Which English words are verbs, as far as a list of common ones says.

Belongs here: the list and its forms. Does not belong here: what follows from it.
"""
# pyright: strict

from __future__ import annotations

from functools import cache


def is_verb(word: str) -> bool:
    """Whether it is a form of a common verb; many of them are nouns as well."""
    return word.lower() in _forms()


def is_base_verb(word: str) -> bool:
    """Whether it is a common verb as it stands after "to"."""
    return word.lower() in _bases()


@cache
def _bases() -> frozenset[str]:
    return frozenset(_BASES.split())


@cache
def _forms() -> frozenset[str]:
    forms: set[str] = set()
    for verb in _bases():
        stem = verb.removesuffix("e")
        forms |= {verb, f"{verb}s", f"{verb}es", f"{stem}ed", f"{stem}ing"}
        forms |= {f"{verb}{verb[-1]}ed", f"{verb}{verb[-1]}ing"}
        if verb.endswith("y"):
            forms |= {f"{verb[:-1]}ies", f"{verb[:-1]}ied"}
    return frozenset(forms | set(_IRREGULAR.split()))


_BASES = (
    "accept access add adjust agree allocate allow answer appear apply ask assign avoid become "
    "begin believe belong bend bite blow boil break breathe bring build burn buy call care carry "
    "catch cause check choose clamp clean clear climb close combine come compare compile complain "
    "complete compute configure connect consider contain continue convert cook copy cost count "
    "cover create cross cry cut dance deal debug decide define delete depend deploy describe "
    "detect determine die dig disable display download draw dream drink drive drop dry eat edit "
    "enable encode end enjoy enter execute expect explain export extract fail fall feed feel "
    "fetch fight fill filter find finish fit fix flow fly fold follow force forget format freeze "
    "gain generate get give glue go grasp grow guess hammer handle hang happen hate hear help "
    "hide hit hold hope hurt implement import include increase insert inspect install invent "
    "invoke iterate join jump keep kick kill knock know lack land last laugh launch lay lead lean "
    "learn leave lend let lie lift light like limit list listen live load look loop loosen lose "
    "love make manage map mark match matter mean measure meet melt mend mention mind miss mix "
    "mock modify move navigate need notice offer oil open optimize order output override own "
    "paint park parse pass pay pick place plant play point polish pour prefer prepare press "
    "prevent print process produce promise protect prove provide pull push put query raise reach "
    "read realise realize receive record redirect reduce reference refuse regulate remain "
    "remember remove rename render repair repeat replace request require reset resolve rest "
    "restart restore retrieve return reverse ride ring rise roll rub run sand save say scale "
    "search see seem select sell send serve set shake share sharpen shine shoot show shut "
    "simulate sing sink sit skip sleep slide smell smile solve sort sound speak specify spell "
    "spend spin split spread stand start stay steal stick stop store strike strip study submit "
    "suffer suggest suit support suppose surprise swap swim swing switch sync take talk taste "
    "teach tear tell tend test thank think throw tie tighten toggle touch trace track transfer "
    "transform translate trigger trust try turn understand undo update upgrade use validate "
    "verify view visit wait wake walk want warm warn wash waste watch wear weigh win wind wish "
    "wonder work worry wrap write"
)
_IRREGULAR = (
    "ate became began bent bit blew bought broke broken brought built burnt came caught chose "
    "chosen cost cut dealt done drank drew driven drove dug eaten fallen fed fell felt fit flew "
    "forgot fought found froze gave given gone got grew grown heard held hid hit hung hurt kept "
    "knew known laid lay led left lent let lit lost made meant met paid put ran rang read rode "
    "rose said sang sank sat saw seen sent set shone shook shot showed shown shut slept slid sold "
    "spent split spoke spread spun stole stood struck stuck swam swung taken taught thought threw "
    "told took tore understood went woke won wore wound written wrote"
)
