"""Read a post's writers and translators from its own fields.

Scope: the fields that name writers and translators, joined into one line.
Out of scope: whether they are the author (`twin_assets/corpus/bylines.py`), and other fields
(`front_matter`).

A translation contains the writer's thoughts in the translator's words. Such a post is therefore the
author's only if both names are the author's.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twin_assets.corpus.importers.front_matter import get_text_field
from twin_assets.corpus.importers.visibility_rules import NESTED_TABLES, normalize_key

_WRITER_FIELDS = (
    *("author", "authors", "byline", "by", "writer", "writers", "writtenby", "postedby"),
    *("guestauthor", "guestauthors", "originalauthor", "authorname", "authornames", "postauthor"),
    *("articleauthor", "creator", "createdby", "sender", "autor", "autora", "autorin", "autoren"),
    *("autores", "autore", "autrice", "auteur", "auteurs", "auteure", "verfasser", "verfasserin"),
    *("автор", "авторы", "作者", "著者", "筆者", "原作者", "原文作者", "저자", "글쓴이"),
)
"""Contributors, editors and reviewers are no writers: such a field is no byline."""
_TRANSLATOR_FIELDS = (
    *("translator", "translators", "translatedby", "translationby", "translationauthor"),
    *("traductor", "traducteur", "traductrice", "traduttore", "tradutor", "übersetzer"),
    *("übersetzerin", "übersetzung", "vertaler", "переводчик", "译者", "譯者", "訳者", "翻訳者"),
)
TRANSLATED_BY = "translated by"


def read_byline(fields: Mapping[str, Any]) -> str:
    """Return the post's named writers and translators: "Ann Lee, translated by Bo Ek".

    A field contains a name, a list of names, or a list of mappings with a `name`.

    Args:
        fields: fields with keys in any spelling; the first writer field with a name is used, the
            post's own before those in a table such as Zola's `[extra]` or `[taxonomies]`.
    """
    given: dict[str, Any] = {}
    for name in (*NESTED_TABLES, "taxonomies"):
        if isinstance(table := fields.get(name), dict):
            members = cast("dict[str, Any]", table)
            given |= {normalize_key(key): value for key, value in members.items()}
    given |= {normalize_key(key): value for key, value in fields.items()}
    writers, translators = (
        next(filter(None, (_join_names(given[name]) for name in names if name in given)), "")
        for names in (_WRITER_FIELDS, _TRANSLATOR_FIELDS)
    )
    if not translators:
        return writers
    return (
        f"{writers}, {TRANSLATED_BY} {translators}" if writers else f"{TRANSLATED_BY} {translators}"
    )


def _join_names(value: object) -> str:
    people: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    names: list[str] = []
    for person in people:
        if isinstance(person, dict):
            names.append(get_text_field(cast("dict[str, Any]", person), "name", "display_name"))
        else:
            names.append(get_text_field({"name": person}, "name"))
    return ", ".join(name for name in names if name)
