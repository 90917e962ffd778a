"""Test the dates of posts from fields and paths, in many spellings."""

from __future__ import annotations

from datetime import date

import pytest

from twin_assets.corpus.importers.post_dates import (
    CREATED_FIELDS,
    MONTH_LANGUAGES,
    UPDATED_FIELDS,
    find_field_date,
    parse_date,
    split_date_and_title,
)
from twin_assets.corpus.importers.posts import read_post


def parse_day(value: object, language: str = "") -> tuple[date | None, bool]:
    post_date = parse_date(value, language=lambda: language)
    return (post_date.utc_time.date(), post_date.is_ambiguous) if post_date else (None, False)


@pytest.mark.parametrize(
    "field",
    [
        *("date", "pubDate", "pubDatetime", "publishedAt", "published_at", "publishDate"),
        *("published", "datetime", "created", "date created", "dateCreated", "Fecha"),
    ],
)
def test_a_field_dates_a_post(field: str) -> None:
    post = read_post(f"---\n{field}: 2020-03-05\n---\nText\n".encode(), source_id="a.md")
    assert (f"{post.created_at:%F}", post.kind) == ("2020-03-05", "post")


def test_the_first_field_with_a_valid_date_is_used() -> None:
    fields = {"date": "soon", "created": "2019-01-02", "publishedat": "2020-03-05"}
    created = find_field_date(fields, CREATED_FIELDS, language=str)
    assert created is not None
    assert f"{created.utc_time:%F}" == "2020-03-05"
    updated = find_field_date({"last_update": {"date": "2021-01-02"}}, UPDATED_FIELDS, language=str)
    assert updated is not None
    assert f"{updated.utc_time:%F}" == "2021-01-02"


@pytest.mark.parametrize(
    ("path", "day", "title"),
    [
        ("2019/12-28-slug.md", "2019-12-28", "Slug"),
        ("2019/12/28-slug.md", "2019-12-28", "Slug"),
        ("2019/12/28/slug.md", "2019-12-28", "Slug"),
        ("blog/2019/12/28/slug/index.md", "2019-12-28", "Slug"),
        ("2019-12/28 a walk.md", "2019-12-28", "A walk"),
        ("20191228-slug.md", "2019-12-28", "Slug"),
        ("201912281030 a walk.md", "2019-12-28", "A walk"),
        ("2019.12.28 a walk.md", "2019-12-28", "A walk"),
        ("2019_12_28_slug.md", "2019-12-28", "Slug"),
        ("a walk 2019-12-28.md", "2019-12-28", "A walk"),
        ("2019/7/9/slug.rst", "2019-07-09", "Slug"),
        ("2019/7/9/slug/index.md", "2019-07-09", "Slug"),
        ("2019/7/29.md", "2019-07-29", "29"),
        ("2019/12/5-things.md", "", "5 things"),
        ("2013-08-13-Two-words.md", "2013-08-13", "Two words"),
        ("20130813T1030-Two-words.md", "2013-08-13", "Two words"),
        ("2013-08-13T10-30-00 Two words.md", "2013-08-13", "Two words"),
        ("2013-08-13-T-shirts.md", "2013-08-13", "T shirts"),
        ("2019/12/slug.md", "", "Slug"),
        ("2019/slug.md", "", "Slug"),
        ("2019/13-28-slug.md", "", "13 28 slug"),
        ("12345678-slug.md", "", "12345678 slug"),
        ("100 ways.md", "", "100 ways"),
    ],
)
def test_a_path_dates_a_post(path: str, day: str, title: str) -> None:
    assert split_date_and_title(path) == (day, title)


PAGE = "<html><body><h1>A</h1>{}<p>Along the river.</p></body></html>"


@pytest.mark.parametrize(
    ("name", "text", "day"),
    [
        # The address names the day where nothing else does.
        ("a.md", '+++\npath = "2021/04/14/a"\n+++\nText', "2021-04-14"),
        ("a.md", "---\npermalink: https://a.example/2021/4/14/a/?b\n---\nText", "2021-04-14"),
        ("2020-01-02-a.md", "---\nurl: /2021/04/14/a/\n---\nText", "2020-01-02"),
        ("a.md", "---\npath: src/pages/a\nslug: 5-things\n---\nText", ""),
        # What the page states goes before the name of its file.
        ("2020-01-02-a.html", PAGE.format("<time datetime='2019-05-06'>May</time>"), "2019-05-06"),
        ("2020-01-02-a.html", PAGE.format("<p>On <time>May 6, 2019</time></p>"), "2019-05-06"),
        (
            "2020-01-02-a.html",
            PAGE.format("<time>2018-01-01</time><time class='dt-published'>2019-05-06</time>"),
            "2019-05-06",
        ),
        (
            "2020-01-02-a.html",
            PAGE.format(
                '<script type="application/ld+json">{"datePublished":"2019-05-06"}</script>'
            ),
            "2019-05-06",
        ),
        ("2020-01-02-a.html", PAGE.format("<i>2019-05-06</i>"), "2020-01-02"),
        (
            "2020-01-02-a.html",
            PAGE.format("<time>2018-01-01</time> and <time>2019-05-06</time>"),
            "2020-01-02",
        ),
        (
            "2020-01-02-a.html",
            PAGE.format("<p>We met on <time>2019-05-06</time> and went along it at noon.</p>"),
            "2020-01-02",
        ),
        ("2020-01-02-a.md", "# A\n\n*Posted on May 6, 2019*\n\nText", "2019-05-06"),
        ("2020-01-02-a.md", "6. Mai 2019\n\n# A\n\nText", "2019-05-06"),
        ("2020-01-02-a.md", "# A\n\nIt was May 6, 2019.\n\nText", "2020-01-02"),
        ("2020-01-02-a.md", "# 2019-05-06\n\nText", "2020-01-02"),
    ],
)
def test_the_stated_day_goes_before_the_files_name_and_that_before_the_address(
    name: str, text: str, day: str
) -> None:
    post = read_post(text.encode(), source_id=name)
    assert (f"{post.local_time:%F}" if post.local_time else "") == day


@pytest.mark.parametrize(
    ("value", "language", "day", "is_ambiguous"),
    [
        ("05.03.2020", "de", date(2020, 3, 5), False),
        ("05.03.2020", "en", date(2020, 3, 5), False),
        ("5.3.20", "", date(2020, 3, 5), False),
        ("05/03/2020", "fr", date(2020, 3, 5), False),
        ("05/03/2020", "en-GB", date(2020, 3, 5), False),
        ("05/03/2020", "en-US", date(2020, 5, 3), False),
        ("05/03/2020", "en", date(2020, 5, 3), True),
        ("05/03/2020", "", date(2020, 5, 3), True),
        ("25/03/2020", "en-US", date(2020, 3, 25), False),
        ("03/25/2020", "fr", date(2020, 3, 25), False),
        ("05/05/2020", "", date(2020, 5, 5), False),
        ("05.03.2020 10:30", "", date(2020, 3, 5), False),
        ("2020年3月5日", "", date(2020, 3, 5), False),
        ("2020년 3월 5일", "", date(2020, 3, 5), False),
        ("March 5, 2020", "", date(2020, 3, 5), False),
        ("5 March 2020", "de", date(2020, 3, 5), False),
        ("2020-03-05T10:30:00Z", "", date(2020, 3, 5), False),
        ("March 2020", "", None, False),
        ("2020", "", None, False),
        ("2020-03", "", None, False),
        ("45/45/2020", "", None, False),
        ("soon", "", None, False),
        (True, "", None, False),
    ],
)
def test_numeric_and_written_dates_are_parsed(
    value: object, language: str, day: date | None, is_ambiguous: bool
) -> None:
    assert parse_day(value, language) == (day, is_ambiguous)


DATES_IN_WORDS = {
    "de": ("12. März 2020", "12. Mär. 2020"),
    "fr": ("12 mars 2020", "jeudi 12 mars 2020"),
    "es": ("12 de marzo de 2020", "12 mar 2020"),
    "pt": ("12 de março de 2020", "12º de março de 2020"),
    "it": ("12 marzo 2020", "giovedì 12 marzo 2020"),
    "nl": ("12 maart 2020", "donderdag 12 maart 2020"),
    "sv": ("12 mars 2020", "den 12 mars 2020"),
    "da": ("12. marts 2020", "torsdag 12. marts 2020"),
    "nb": ("12. mars 2020", "torsdag 12. mars 2020"),
    "fi": ("12. maaliskuuta 2020",),
    "pl": ("12 marca 2020", "czwartek, 12 marca 2020"),
    "cs": ("12. března 2020",),
    "sk": ("12. marca 2020",),
    "hu": ("2020. március 12.",),
    "ro": ("12 martie 2020",),
    "bg": ("12 март 2020",),
    "ru": ("12 марта 2020", "12 марта 2020 г."),
    "uk": ("12 березня 2020",),
    "el": ("12 Μαρτίου 2020",),
    "tr": ("12 Mart 2020",),
    "hr": ("12. ožujka 2020.",),
    "sl": ("12. marec 2020",),
    "et": ("12. märts 2020",),
    "lv": ("12. marts 2020", "2020. gada 12. marts"),
    "lt": ("2020 m. kovo 12 d.", "2020 kovo 12"),
    "ca": ("12 de març de 2020",),
}


@pytest.mark.parametrize(
    ("language", "value"),
    [(name, value) for name, values in DATES_IN_WORDS.items() for value in values],
)
def test_month_names_in_26_languages_are_parsed(language: str, value: str) -> None:
    assert parse_day(value, language) == (date(2020, 3, 12), False)
    assert parse_day(value, f"{language}-XX")[0] == date(2020, 3, 12)
    assert parse_day(value, "")[0] == date(2020, 3, 12)


def test_every_language_has_an_example() -> None:
    assert set(DATES_IN_WORDS) == set(MONTH_LANGUAGES)


def test_ambiguous_month_names_are_reported() -> None:
    assert parse_day("5. listopada 2020", "pl") == (date(2020, 11, 5), False)
    assert parse_day("5. listopada 2020", "hr") == (date(2020, 10, 5), False)
    assert parse_day("5. listopada 2020", "") == (date(2020, 11, 5), True)
    assert parse_day("12 mars 2020", "") == (date(2020, 3, 12), False)


@pytest.mark.parametrize(
    "value",
    [
        *("gestern", "vor 2 Tagen", "März 2020", "12. März", "demain", "il y a 3 jours en 2020"),
        *("Kapitel 12, Ausgabe 2020", "12 amis en 2020", "wird 2020 am 45. Mai fertig"),
    ],
)
def test_text_without_a_full_date_has_no_date(value: str) -> None:
    for language in ("", "de", "fr"):
        assert parse_day(value, language) == (None, False)


def test_a_french_date_in_front_matter_is_parsed() -> None:
    text = "Le long du fleuve il marchait longtemps, et sur l'autre rive il y avait des saules.\n"
    post = read_post(f"---\ndate: 1er août 2021 à 14:30\n---\n{text}".encode(), source_id="a.md")
    assert (f"{post.created_at:%F %R}", post.kind, post.remark) == ("2021-08-01 14:30", "post", "")


def test_the_language_of_the_text_determines_the_order_of_day_and_month() -> None:
    text = "Am Fluss entlang ging es lange, und am anderen Ufer standen die alten Weiden.\n"
    german = read_post(f"---\ndate: 05/03/2020\n---\n{text}".encode(), source_id="a.md")
    assert (f"{german.created_at:%F}", german.remark) == ("2020-03-05", "")
    words = "Along the river it went on for long, and on the other bank stood the old willows.\n"
    english = read_post(f"---\ndate: 05/03/2020\n---\n{words}".encode(), source_id="a.md")
    assert (f"{english.created_at:%F}", english.remark) == ("2020-05-03", "ambiguous_date")
