"""Test each claim about cleaned documents with data that violates it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twin_assets.corpus import boilerplate, bylines, document_claims

PARAGRAPHS = [
    "It's the first paragraph, and it isn't short: it has commas, and full stops. Has it?",
    "Here's the second one; nobody's sure why. It doesn't matter, really, does it?",
    "A third, since three aren't enough! There's a fourth, and that's the last of them.",
    "The fourth paragraph's here. It wasn't easy, but it's done, and that's all, folks.",
]
TEXT = "\n\n".join(PARAGRAPHS)


def measure_documents(
    *texts: str, source: str = TEXT, markup: str = "markdown", kept: bool = True
) -> Any:
    ids = [f"d{number}" for number in range(len(texts))]
    documents = pl.DataFrame(
        {
            "document_id": ids,
            "source_id": ids,
            "title": ["A title" for _ in ids],
            "text": texts,
            "body": texts,
            "kept": [kept for _ in ids],
        }
    )
    sources = pl.DataFrame(
        {
            "source_id": ids,
            "source": ["posts" for _ in ids],
            "author": ["" for _ in ids],
            "text": [source for _ in ids],
            "markup": [markup for _ in ids],
        }
    )
    measures = document_claims.measure(documents, sources)
    return documents.with_columns(source=pl.lit("posts")).join(measures, on="document_id")


def check(name: str, *texts: str, **options: Any) -> document_claims.DocumentClaim:
    return document_claims.check_claims(measure_documents(*texts, **options), ["Ann Lee"])[name]


def test_remaining_buttons_break_the_claim() -> None:
    claim = check("no_platform_boilerplate_left", TEXT, f"{TEXT}\n\nSubscribe now")
    assert not claim.holds
    assert claim.counts["platform_lines"] == 1


def test_a_footer_under_every_post_breaks_the_claim() -> None:
    texts = [
        f"{subject} {TEXT.replace('the', subject)}\n\nAnn builds clocks in Bern and writes letters."
        for subject in (
            *("boats", "lamps", "kites", "bells", "trams", "wheels", "doors", "maps", "nets"),
            *("pens", "cups", "hats", "oars", "keys"),
        )
    ]
    claim = check("no_platform_boilerplate_left", *texts)
    assert not claim.holds
    assert claim.counts["platform_lines"] == 0
    assert claim.counts["documents_with_repeated_lines"] == 14


def test_dropped_documents_break_no_claim() -> None:
    assert check("no_platform_boilerplate_left", "Subscribe now", kept=False).holds


QUOTED = "Somebody else wrote this sentence about clocks, and it is not mine at all."


@pytest.mark.parametrize(
    ("source", "markup"),
    [
        (f"{TEXT}\n\n> {QUOTED}", "markdown"),
        (f"{TEXT}\n\n<blockquote>\n\n{QUOTED}\n\n</blockquote>", "markdown"),
        (f"<p>{TEXT}</p><blockquote>{QUOTED}</blockquote>", "html"),
    ],
)
def test_an_unmarked_quotation_breaks_the_claim(source: str, markup: str) -> None:
    claim = check(
        "quotations_keep_their_mark",
        f"{TEXT}\n\n{QUOTED}",
        f"{TEXT}\n\n> {QUOTED}",
        source=source,
        markup=markup,
    )
    assert claim.violating_ids == {"d0"}
    assert claim.counts == {"documents": 1, "quotations": 2, "unmarked": 1}


PAGE = f"<p>{'</p><p>'.join(PARAGRAPHS)}</p>"


@pytest.mark.parametrize(
    ("source", "markup", "text", "is_broken"),
    [
        (PAGE, "html", TEXT, False),
        (PAGE, "html", "\n\n".join(PARAGRAPHS[:3]), True),
        (PAGE, "html", f"{TEXT}\n\nAnd nine words more that nobody wrote there, ever.", True),
        (f"{PAGE}<p>Please write to ann.lee@clockmail.ch</p>", "html",
         f"{TEXT}\n\nPlease write to [email]", False),
        (f"{PAGE}<p>Discussion about this post</p>", "html", TEXT, False),
        (TEXT, "markdown", PARAGRAPHS[0], False),
    ],
)  # fmt: skip
def test_lost_and_new_words_of_a_page_break_the_claim(
    source: str, markup: str, text: str, is_broken: bool
) -> None:
    claim = check("no_words_lost", text, source=source, markup=markup)
    assert claim.holds is not is_broken
    assert claim.counts["documents"] == is_broken


def test_a_removed_quotation_breaks_no_claim() -> None:
    assert check("quotations_keep_their_mark", TEXT, source=f"{TEXT}\n\n> {QUOTED}").holds


MENU = ("Send this on", "Copy the link", "Facebook", "E-mail", "Mastodon", "Print")


@pytest.mark.parametrize("separator", [" ", "\n\n", "\n* ", " | ", " · "])
def test_a_share_menu_is_found_in_flat_text_and_in_lines(separator: str) -> None:
    text = f"{PARAGRAPHS[0]} {separator.join(MENU)} {PARAGRAPHS[1]}"
    claim = check("no_platform_boilerplate_left", text, TEXT)
    assert claim.violating_ids == {"d0"}


@pytest.mark.parametrize(
    "prose",
    [
        "I left Facebook, Twitter, LinkedIn and e-mail behind, and copy no link any more.",
        "Share it on Facebook, by e-mail, or print it: I don't mind.",
        "The post office appeared first on the map, and the page requires JavaScript to run.",
        "- Mastodon\n- E-mail\n- RSS\n- GitHub",
        "`Copy link Facebook E-mail Print`",
        "```\nCopy link\nFacebook\nE-mail\nPrint\n```",
    ],
)
def test_prose_about_social_networks_is_not_a_share_menu(prose: str) -> None:
    assert check("no_platform_boilerplate_left", f"{TEXT}\n\n{prose}").holds


def test_lines_with_different_figures_are_not_boilerplate() -> None:
    words = ("boats", "lamps", "kites", "bells", "trams", "wheels", "doors", "maps", "nets", "pens")
    posts = [
        "\n\n".join(
            [
                *(f"{word} {paragraph}" for paragraph in PARAGRAPHS),
                f"I ran {n + 3} kilometers in {n + 20} minutes.",
            ]
        )
        for n, word in enumerate(words)
    ]
    assert check("no_platform_boilerplate_left", *posts).holds


def build_signed_documents(*rows: tuple[str, bool]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [f"{number}.md" for number in range(len(rows))],
            "source": ["posts" for _ in rows],
            "kept": [is_kept for _, is_kept in rows],
            "measured_signed": [name for name, _ in rows],
        }
    ).with_columns(
        pl.lit(0 if dtype == pl.Int64 else None, dtype=dtype).alias(name)
        for name, dtype in document_claims.MEASURES.items()
        if name != "measured_signed"
    )


def find_violations(*rows: tuple[str, bool]) -> frozenset[str]:
    documents = build_signed_documents(*rows)
    return document_claims.check_claims(documents, ["Ann Lee"])["no_foreign_byline"].violating_ids


def test_a_kept_post_by_another_author_breaks_the_claim() -> None:
    rows = [("Ann Lee", True), ("Ann Lee", True), ("", True)]
    assert not find_violations(*rows, ("Bo Ek", False))
    assert find_violations(*rows, ("Bo Ek", True)) == {"3.md"}


def test_a_handle_on_most_posts_is_the_authors_own() -> None:
    handles = [("anniebuildsclocks", True)] * 3
    assert find_violations(*handles, ("Bo Ek", True)) == {"3.md"}


def test_another_full_name_is_foreign_under_many_posts() -> None:
    rows = [("Bo Ek", True)] * 3 + [("Ann Lee", True)]
    assert find_violations(*rows) == {"0.md", "1.md", "2.md"}


def test_the_only_signed_post_is_not_the_authors_own() -> None:
    """Many blogs sign only the posts of guests."""
    assert find_violations(*[("", True)] * 3, ("Bo Ek", True)) == {"3.md"}


def test_claims_use_no_detector_of_the_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> Any:
        raise AssertionError("a claim used the cleaning's own detector")

    for name in ("is_platform_line", "remove_platform_lines", "hash_lines", "find_repeated_lines"):
        monkeypatch.setattr(boilerplate, name, refuse)
    for name in ("is_own_byline", "find_foreign_bylines", "find_byline", "is_possible_handle"):
        monkeypatch.setattr(bylines, name, refuse)
    text = f"By Bo Ek\n\n{TEXT}\n\n{' '.join(MENU)}"
    frame = measure_documents(text, source=text)
    claims = document_claims.check_claims(frame, ["Ann Lee"])
    assert [name for name, claim in claims.items() if not claim.holds] == [
        "no_platform_boilerplate_left",
        "no_foreign_byline",
    ]
