"""Test that damaged rows of `Shares.csv` never get the visibility of another row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import SHARES_HEAD, build_share
from tests.unit.corpus.sample_exports import build_link
from twin_assets.corpus.importers import linkedin
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.linkedin import iter_share_rows
from twin_assets.corpus.importers.record import ExportRecord, SkippedItem

SENTENCE = 'The clock says "no" at five.'
FIRST_ID = 7 << 60


PRIVATE = build_share(FIRST_ID + 1, "SECRET for friends.", "CONNECTIONS")
PUBLIC = build_share(FIRST_ID + 2, SENTENCE)


def read(text: str, folder: Path) -> ImporterOutcomes:
    return read_export(write_folder({"Shares.csv": SHARES_HEAD + text}, folder), linkedin.IMPORTER)


def read_records(text: str, folder: Path) -> list[ExportRecord]:
    """Read the records of a file that may contain a post more than once."""
    with open_archive(write_folder({"Shares.csv": SHARES_HEAD + text}, folder)) as archive:
        outcomes = list(linkedin.IMPORTER.read(archive, include=frozenset()))
    return [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]


def list_indexes(row: str, last_text: str) -> list[int]:
    """Return every index of a row from its commentary to the end of `last_text`."""
    return list(range(row.index(',"') + 2, row.index(last_text) + len(last_text) + 1))


@pytest.mark.parametrize("end", list_indexes(PRIVATE, "CONNECTIONS")[::3])
def test_repeated_pieces_reveal_no_private_post(end: int, tmp_path: Path) -> None:
    for start in range(0, len(PUBLIC), 7):
        text = PUBLIC + PRIVATE[:end] + (PUBLIC[start:] + PRIVATE[:end]) * 3 + PRIVATE[end:]
        records = read_records(text + build_share(FIRST_ID + 3, "The last."), tmp_path)
        texts = [record.text for record in records if record.visibility == "public"]
        assert "SECRET" not in "\n".join(texts), start
        assert any("The last." in record for record in texts), start


@pytest.mark.parametrize(
    "commentary",
    [
        # a complete commentary, then the rest of another row
        '"SECRET."ttps://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A7059,"A clock."',
        '"SECRET."0391289856,"A clock."',
        '"SECRET."-01 12:34:56,https://www.linkedin.com/feed/update/urn:li:share:7,"A clock."',
        # a truncated commentary, then another
        '"SECRET for fr0391289856,"A clock."',
        '"SECRET for fr\n""\n"Second paragraph.',
        "SECRET for fr,,,CONNEA clock.",
        # two styles of quotes
        '"SECRET "bare" and ""doubled"" words."',
    ],
)
def test_an_ambiguous_row_is_malformed(commentary: str) -> None:
    address = "https://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A7"
    assert list(
        iter_share_rows(f"{SHARES_HEAD}2023-05-01 12:34:56,{address},{commentary},,,PUBLIC\n")
    ) == [None]


@pytest.mark.parametrize(
    "text",
    [
        "See https://www.linkedin.com/feed/update/urn:li:activity:7, which is mine.",
        "Plain words",
        'He said "yes"',
        '"Yes" is what he said',
    ],
)
def test_quotes_and_addresses_in_prose_are_not_ambiguous(text: str, tmp_path: Path) -> None:
    result = read(build_share(FIRST_ID + 1, text), tmp_path)
    assert result.record.text == f"{text}\n\nSecond paragraph."
    assert not result.skip_reasons


def test_rows_that_disagree_about_visibility_are_private(tmp_path: Path) -> None:
    text = (
        build_share(FIRST_ID + 1, "SECRET once.")
        + build_share(FIRST_ID + 1, "SECRET twice.", "CONNECTIONS")
        + PUBLIC
    )
    visibilities = [(record.text[:6], record.visibility) for record in read_records(text, tmp_path)]
    assert visibilities == [("SECRET", "private"), ("SECRET", "private"), ("The cl", "public")]


def test_a_row_that_breaks_off_before_its_last_column_is_malformed(tmp_path: Path) -> None:
    result = read(PUBLIC + PRIVATE.removesuffix("CONNECTIONS\n"), tmp_path)
    assert result.reason_counts == {"malformed_row": 1}
    assert "SECRET" not in result.record.text


def test_an_intact_row_precedes_the_rest_of_a_damaged_row(tmp_path: Path) -> None:
    row_remainder = build_share(FIRST_ID + 3, "Lost.")[40:]  # from the middle of its address
    result = read(PUBLIC + row_remainder, tmp_path)
    assert result.record.text.startswith(SENTENCE)
    assert result.reason_counts == {"malformed_row": 1}
    # A line break within the row hides its visibility.
    result = read(PUBLIC + PRIVATE.replace(",CONNECTIONS", ",\nCONNECTIONS"), tmp_path)
    assert "SECRET" not in result.record.text


@pytest.mark.parametrize(
    "head",
    [
        SHARES_HEAD.replace("SharedUrl,", ""),
        SHARES_HEAD.replace("SharedUrl", "Shar\nedUrl"),
    ],
)
def test_a_file_whose_header_fits_no_row_is_torn(head: str, tmp_path: Path) -> None:
    with open_archive(write_folder({"Shares.csv": head + PUBLIC + PRIVATE}, tmp_path)) as archive:
        outcomes = list(linkedin.IMPORTER.read(archive, include=frozenset()))
    assert outcomes[0] == SkippedItem("Shares.csv", "torn")
    assert {outcome.reason for outcome in outcomes[1:] if isinstance(outcome, SkippedItem)} == {
        "malformed_row"
    }
    assert not [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]


@pytest.mark.parametrize(
    ("commentary", "text"),
    [
        ('"First."\n""\n"Third ""q"" end."', 'First.\n\nThird "q" end.'),
        ('"First."\n""\n"Third."\n', "First.\n\nThird."),
        ('"First.""\n""""\n""Third."', "First.\n\nThird."),
        ('"First\n\nThird ""q"" end."', 'First\n\nThird "q" end.'),
        ('"He said ""yes""\n""No"" was it."', 'He said "yes"\n"No" was it.'),
        ('"A "bare" quote, and a comma."', 'A "bare" quote, and a comma.'),
        ("Plain words", "Plain words"),
        ("", ""),
    ],
)
def test_commentaries_are_unquoted(commentary: str, text: str) -> None:
    line = f"2023-05-01 12:34:56,{'https://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A7'},{commentary},https://x.y/?a,,MEMBER_NETWORK\n"
    for csv_text in (SHARES_HEAD + line, SHARES_HEAD + line + line):
        for row in iter_share_rows(csv_text):
            assert row is not None
            assert row["ShareCommentary"] == text
            assert (row["SharedUrl"], row["Visibility"]) == ("https://x.y/?a", "MEMBER_NETWORK")


def test_columns_are_found_by_name() -> None:
    csv_header = "Date,ShareLink,Visibility,ShareCommentary,MediaUrl\n"
    [row] = iter_share_rows(f'{csv_header}2023-05-01 12:34:56,{build_link(7)},PUBLIC,"a"\n"b",\n')
    assert row is not None
    assert (row["ShareCommentary"], row["Visibility"]) == ("a\nb", "PUBLIC")
