"""Test which bylines are the author's own, and which are foreign."""

from __future__ import annotations

import polars as pl
import pytest

from twin_assets.corpus.bylines import (
    extract_author,
    extract_translator,
    find_byline,
    find_foreign_bylines,
    is_co_signed,
    is_named_author,
    is_own_byline,
    is_possible_handle,
)
from twin_assets.corpus.cleaning_verdicts import (
    find_adopted_handles,
    find_foreign_posts,
    find_unclaimed_bylines,
)
from twin_assets.corpus.signatures import find_foreign_signatures, find_signature

NAMES = ("José Núñez", "jnunez", "Pepe N.")


@pytest.mark.parametrize(
    "byline",
    [
        "José Núñez",
        "Jose Nunez",
        "by José Núñez",
        "NÚÑEZ, José",
        "J. Núñez",
        "José",
        "@jnunez",
        "José Núñez <jose@a.example>",
        "José Núñez and Ann Lee",
        "Ann Lee & José Núñez",
        "José María Núñez",
        "Pepe",
        "José Núñez, translated by J. Núñez",
        "translated by José Núñez",
        "admin",
        "Staff",
        "",
        "   ",
    ],
)
def test_variants_of_the_authors_name_are_own_bylines(byline: str) -> None:
    assert is_own_byline(byline, NAMES)


@pytest.mark.parametrize(
    ("names", "bylines", "foreign"),
    [
        (("Farid Zakaria",), ["fzakaria", "FZakaria", "@fzakaria", "Farid Zakaria"], set()),
        (("Farid M. Zakaria",), ["fmzakaria", "fzakaria"], set()),
        (("Farid Zakaria",), ["farid", "jdoe", "zakariah", "gzakaria"],
         {"jdoe", "zakariah", "gzakaria"}),
        # another person of the same posts has the name
        (("Farid Zakaria",), ["fzakaria", "Fatima Zakaria"], {"fzakaria", "Fatima Zakaria"}),
        (("Farid Zakaria",), ["fzakaria", "Ann Lee <fzakaria@a.example>"],
         {"fzakaria", "Ann Lee <fzakaria@a.example>"}),
        # the address before the @, beside the author's name or among the names
        (("Farid Zakaria",), ["Farid Zakaria <fmz@a.example>", "fmz", "amz"], {"amz"}),
        (("Farid Zakaria", "fmz@a.example"), ["fmz", "amz"], {"amz"}),
        (("Farid",), ["fzakaria"], {"fzakaria"}),
    ],
)  # fmt: skip
def test_initials_with_surname_and_the_address_are_the_authors_unless_another_has_them(
    names: tuple[str, ...], bylines: list[str], foreign: set[str]
) -> None:
    assert find_foreign_bylines(bylines, names) == foreign


@pytest.mark.parametrize(
    "byline",
    [
        *("Ann Lee", "Ann Núñez", "A. L.", "José Lee", "Guest Ann Lee", "李", "Nuñezito"),
        *(
            "translated by Ann Lee",
            "José Núñez, translated by Ann Lee",
            "José Núñez (translated by A)",
        ),
        *("Ann Lee, translated by José Núñez",),
    ],
)
def test_other_names_are_foreign_bylines(byline: str) -> None:
    assert not is_own_byline(byline, NAMES)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A title.\n\nby Ann Lee\n\nAnd words.", "Ann Lee"),
        ("A title.\nBy Ann Lee\nAnd words.", "Ann Lee"),
        ("<p>by Ann Lee</p>\n<p>And words.</p>", ""),
        ("The clock that was mended\nby Ann Lee\nstruck again.", ""),
    ],
)
def test_a_wrapped_sentence_is_no_signature(text: str, name: str) -> None:
    assert find_signature(text, "") == name


def test_without_names_no_byline_is_foreign() -> None:
    assert find_foreign_bylines({"Ann Lee"}, ()) == set()
    assert find_foreign_bylines({"Ann Lee", "José", ""}, NAMES) == {"Ann Lee"}


@pytest.mark.parametrize(
    ("byline", "is_handle"),
    [
        ("josebuildsclocks", True),
        ("@jn", True),
        ("clock-mender_42", True),
        ("José Lee", False),
        ("Ann Lee", False),
        ("The clock menders", False),
        ("李明", False),
    ],
)
def test_only_handles_can_be_adopted(byline: str, *, is_handle: bool) -> None:
    assert is_possible_handle(byline) is is_handle


BODY = "A paragraph by itself.\n\nAnother one, by the way.\n\nA third.\n\nA fourth.\n\nA fifth."


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("By Ann Lee", "Ann Lee"),
        ("*By Ann van der Lee*", "Ann van der Lee"),
        ("Written by Ann B. Lee.", "Ann B. Lee"),
        ("Guest post by Ann Lee", "Ann Lee"),
        ("This is a guest post by Ann Lee, who builds clocks.", "Ann Lee"),
        ("*Editor's note: This is a guest article from Ann Lee.*", "Ann Lee"),
        ("The following is a guest post by Ann Lee, he describes clocks:", "Ann Lee"),
        ("**Note:** This is a guest blog post by Ann Lee and Bo Ek from Oslo.", "Ann Lee"),
        ("This is a guest blog post written by Ann Lee, with help from Bo.", "Ann Lee"),
        ("This post was written by Ann Lee.", "Ann Lee"),
        ("This is the second part of a tutorial written by Ann Lee. More words.", "Ann Lee"),
        ("This post was written by hand", ""),
        ("By the river", ""),
        ("By Monday all was done", ""),
        ("Written by hand", ""),
        ("A guest post by a friend", ""),
    ],
)
def test_a_byline_in_the_text_is_extracted(line: str, name: str) -> None:
    assert extract_author(f"{line}\n\n{BODY}") == name
    assert extract_author(f"{BODY}\n\n{line}") == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Translated by Ann Lee", "Ann Lee"),
        ("*(Translated from the German by Ann Lee.)*", "Ann Lee"),
        ("_Translated from German by Ann van der Lee._", "Ann van der Lee"),
        ("*Translation by Ann Lee*.", "Ann Lee"),
        ("Übersetzt von Ann Lee", "Ann Lee"),
        ("It was translated by Ann Lee, and badly", ""),
    ],
)
def test_a_translator_in_the_text_is_extracted(line: str, name: str) -> None:
    assert extract_translator(f"{line}\n\n{BODY}") == name


@pytest.mark.parametrize(
    ("head", "byline", "found"),
    [
        ("> 作者：Ann Lee 译者：Bo Ek", "", "Ann Lee, translated by Bo Ek"),
        ("> - 原文地址：A walk\n> - 原文作者：Ann Lee\n> - 译文出自：A\n> - 译者：boek",
         "Bo Ek", "Ann Lee, translated by boek"),
        ("> 原文：A walk\n> 作者：Ann Lee\n> 翻譯：王小明（@wxm）", "王小明",
         "Ann Lee, translated by 王小明"),
        ("原文作者：Ann Lee", "王小明", "Ann Lee, translated by 王小明"),
        ("作者：李明", "", "李明"),
        ("原文作者：Ann Lee, Cy Moe\n译者：霜羽 Hoarfroster", "",
         "Ann Lee, Cy Moe, translated by 霜羽 Hoarfroster"),
        ("作者：李明", "Ann Lee", "Ann Lee"),  # the fields know better, where nothing is translated
        ("原著者: Ann Lee\n訳者: 山田太郎", "", "Ann Lee, translated by 山田太郎"),
        ("원작자: Ann Lee\n옮긴이: 김철수", "", "Ann Lee, translated by 김철수"),
        ("Originalautorin: Ann Lee\nÜbersetzung: Bo Ek", "Bo Ek",
         "Ann Lee, translated by Bo Ek"),
        ("*Autor original: Ann Lee*\n\n*Traducido por Bo Ek*", "Bo Ek",
         "Ann Lee, translated by Bo Ek"),
        ("Auteur : Ann Lee | Traductrice : Bo Ek", "", "Ann Lee, translated by Bo Ek"),
        ("Автор: Анна Ли\nПеревод: Борис Эк", "", "Анна Ли, translated by Борис Эк"),
        ("Ann Lee wrote it. 作者：Bo Ek", "", ""),
        ("Original: hola\nTranslation: hello", "", ""),
        ("翻译：你好", "", ""),
        ("作者：这本书的作者是一个很有名的人", "", ""),
        ("Autor: yes", "", ""),
        ("书名：活着\n作者：余华\n译者：Bo Ek", "王小明", "王小明"),
        ("Autora: Ann Lee\nTraductor: Bo Ek\nEditorial: Casa", "Cy Moe", "Cy Moe"),
    ],
)  # fmt: skip
def test_credits_at_the_head_name_writer_and_translator(head: str, byline: str, found: str) -> None:
    assert find_byline(f"{head}\n\n{BODY}", byline) == found
    assert find_byline(f"{BODY}\n\nAgain.\n\nAgain.\n\nAgain.\n\n{head}", byline) in (
        {byline, f"{byline}, translated by Bo Ek"}
    )


@pytest.mark.parametrize(
    ("title", "head", "byline", "found"),
    [
        ("A walk", "This is a guest post by Ann Lee.", "Bo Ek", "Ann Lee"),
        ("Guest Post by Ann Lee: A walk", "Words.", "Bo Ek", "Ann Lee"),
        ("A walk – a guest post by Ann Lee", "Words.", "", "Ann Lee"),
        ("Guest Post: Final Encoding in Oslo", "Words.", "Bo Ek", "Bo Ek"),
        ("A walk", "By Ann Lee", "Bo Ek", "Bo Ek"),
        ("散步", "[ 翻译自英文原文：A walk ]", "王小明", "anonymous, translated by 王小明"),
        ("散步", "【本文翻译自 Oslo ,原文链接：https://a.example】", "", "anonymous"),
        ("【译】散步", "春天。", "王小明", "anonymous, translated by 王小明"),
        ("散步", "（译文，原文在此）", "王小明", "anonymous, translated by 王小明"),
        ("【译】散步", "作者：Ann Lee", "王小明", "Ann Lee, translated by 王小明"),
        ("翻译自动化", "翻译自动化的工具。", "王小明", "王小明"),
        ("散步", "编译自己的内核。", "王小明", "王小明"),
        ("散步", "本文译自我的英文博客。", "王小明", "王小明"),
        ("散步（译名）", "译文：春天。", "王小明", "王小明"),
    ],
)
def test_a_guest_or_a_translation_is_not_by_who_published_it(
    title: str, head: str, byline: str, found: str
) -> None:
    assert find_byline(f"{head}\n\n{BODY}", byline, title=title) == found


@pytest.mark.parametrize(
    ("byline", "is_name"),
    [("José Núñez", True), ("jnunez", True), ("admin", False), ("", False), ("Bo", False)],
)
def test_an_empty_byline_is_not_the_authors_name(byline: str, *, is_name: bool) -> None:
    assert is_named_author(byline, NAMES) is is_name


def test_a_name_in_the_middle_or_in_code_is_not_a_byline() -> None:
    middle = BODY.replace("A fourth.", "By Ann Lee")
    assert extract_author(f"{middle}\n\nA sixth.\n\nA seventh.") == ""
    assert extract_author(f"```\nBy Ann Lee\n```\n\n{BODY}") == ""


@pytest.mark.parametrize(
    ("counts", "author", "kept_count", "handles", "unclaimed"),
    [
        ({"Bob Ruiz": 8, "Ana Ruiz": 3}, "Ana Ruiz", 3, [], ["Bob Ruiz"]),
        ({"Bob Ruiz": 8, "": 3}, "Ana Ruiz", 0, [], ["Bob Ruiz"]),
        ({"Bob Ruiz": 2, "": 9}, "Ana Ruiz", 9, [], []),  # an unsigned blog with guests
        ({"Bob Ruiz": 2, "Ana Ruiz": 5, "": 4}, "Ana Ruiz", 5, [], []),
        ({"Bob Ruiz": 1, "Ana Ruiz": 50, "admin": 4}, "Ana Ruiz", 54, [], []),
        ({"Ana Ruiz and Bo Ek": 2, "Ana Ruiz": 5}, "Ana Ruiz", 5, [], []),
        ({"Ana Ruiz and Bo Ek": 1, "Ana Ruiz": 5, "": 40}, "Ana Ruiz", 5, [], []),
        # one of many: not a fiftieth of all
        ({"Ana Ruiz and Bo Ek": 1, "Ana Ruiz": 5, "": 60}, "Ana Ruiz", 65, [], []),
        ({"Anonymous": 2, "aunt@a.example": 1, "Ana Ruiz": 5}, "Ana Ruiz", 5, [], []),
        ({"ana.ruiz@a.example": 2, "info@a.example": 5}, "Ana Ruiz", 7, [], []),
        ({"clockcat": 8, "Ana Ruiz": 3}, "Ana Ruiz", 3, [], ["clockcat"]),
        ({"clockcat": 8, "": 3}, "Ana Ruiz", 11, ["clockcat"], []),
        ({"clockcat": 8, "admin": 3}, "Ana Ruiz", 11, ["clockcat"], []),
        ({"Ana M. Ruiz": 8, "A. Ruiz": 3, "Ruiz, Ana": 1}, "Ana Ruiz", 12, [], []),
        ({"Ana Ruiz, translated by Bo Ek": 105, "Ana Ruiz": 52}, "Ana Ruiz", 52, [], []),
        ({"anonymous, translated by Ana Ruiz": 1, "Ana Ruiz": 15, "": 3}, "Ana Ruiz", 18, [], []),
        ({"translated by Ana Ruiz": 2, "Bo Ek, translated by Ana Ruiz": 9}, "Ana Ruiz", 2, [], []),
    ],
)
def test_posts_of_a_source_are_kept_by_byline(
    counts: dict[str, int], author: str, kept_count: int, handles: list[str], unclaimed: list[str]
) -> None:
    """The document claim, which shares no code with the cleaning, finds nothing in what is kept."""
    bylines = [byline for byline, count in counts.items() for _ in range(count)]
    rows = pl.DataFrame(
        {"source_id": [str(n) for n in range(len(bylines))], "source": "blog", "byline": bylines}
    )
    dropped = find_foreign_posts(rows, [author])
    assert rows.height - dropped.height == kept_count
    assert [*find_adopted_handles(rows, [author])] == handles
    assert [*find_unclaimed_bylines(rows, [author])] == unclaimed
    assert find_foreign_signatures(rows.iter_rows(), [author]) <= frozenset(dropped["source_id"])


@pytest.mark.parametrize(
    ("alias", "kept_count"), [("unsigned", 9), ("co-signed", 7), ("Ana Ruiz and Bo Ek", 7)]
)
def test_posts_that_are_the_authors_all_the_same_are_kept(alias: str, kept_count: int) -> None:
    bylines = ["Bob Ruiz"] * 2 + ["Ana Ruiz"] * 5 + [""] * 4 + ["Ana Ruiz and Bo Ek"] * 2
    rows = pl.DataFrame({"source_id": map(str, range(13)), "source": "blog", "byline": bylines})
    assert find_foreign_posts(rows, ["Ana Ruiz"]).height == 13 - 5
    assert find_foreign_posts(rows, ["Ana Ruiz", alias]).height == 13 - kept_count


@pytest.mark.parametrize(
    ("byline", "is_signed_by_another"),
    [
        ("José Núñez and Ann Lee", True),
        ("José Núñez & Ann", True),
        ("Ann Lee, José Núñez", True),
        ("José Núñez, PhD", False),
        ("Núñez, José", False),
        ("José Núñez und admin", False),
        ("Ann Lee and Bo Ek", False),
    ],
)
def test_a_byline_with_another_person_is_co_signed(byline: str, is_signed_by_another: bool) -> None:
    assert is_co_signed(byline, NAMES) is is_signed_by_another
