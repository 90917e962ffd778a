"""The stop words (function words) of a language: justext's lists.

https://github.com/miso-belica/jusText
"""
# pyright: strict

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

_LANGUAGES = {
    "da": "Danish",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "no": "Norwegian_Bokmal",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
}


@cache
def load_stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language (justext's lists), or none if there is no list.

    The English list also has words that name no subject in a question ("thing", "example", "way").
    """
    name = _LANGUAGES.get("en" if language in {"", "und"} else language)
    package = find_spec("justext")
    if name is None or package is None or package.origin is None:
        return frozenset()
    # The gateway reads the file, because an import of justext brings lxml.
    file = Path(package.origin).parent / "stoplists" / f"{name}.txt"
    words = {word.strip().lower() for word in file.read_text(encoding="utf-8").splitlines()}
    if name == "English":
        words |= set(_EXTRA_ENGLISH_WORDS.split())
    return frozenset(words)


_EXTRA_ENGLISH_WORDS = (
    "it's i'm i've i'd i'll don't doesn't didn't can't won't isn't wasn't aren't that's there's "
    "you're you'll you've we're we've they're let's what's couldn't wouldn't shouldn't haven't "
    "hasn't it’s i’m i’ve i’d i’ll don’t doesn’t didn’t can’t won’t isn’t wasn’t that’s there’s "
    "thing things way ways example examples instance fact case cases lot bit kind sort point "
    "reason reasons time times day days week weeks month months year years today ago something "
    "anything everything nothing someone anyone everyone also really actually simply just even "
    "still already always never often sometimes usually probably perhaps maybe however therefore "
    "instead though although otherwise rather quite enough almost less least later earlier "
    "sooner recently finally eventually previously currently generally basically essentially "
    "course post article note section figure image screenshot good better best great nice bad "
    "worse simple easy hard small large big different various certain several particular whole "
    "makes making made get gets getting got goes going gone went come comes coming came take takes "
    "taking took taken use uses using used need needs needed want wants wanted know knows known "
    "think thinks thought look looks looking looked seem seems seemed find finds found keep keeps "
    "put puts let means mean work works working worked try tries trying tried turn turns turned "
    "give gives given gave say says said see seen saw show shows shown write writes wrote written "
    "read reads happen happens happened able unable won't cannot doesn following above below "
    "our ours your yours my mine his her hers their theirs me him them us myself yourself itself "
    "themselves here there video link links page file blog here's isn another else etc via per yet "
    "ever except "
)
