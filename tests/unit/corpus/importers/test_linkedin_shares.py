"""Test that the rows of `Shares.csv` are read in each of LinkedIn's styles of quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import read_export
from tests.unit.corpus.importers.platform_rows import SHARES_HEAD, build_share
from tests.unit.corpus.sample_exports import build_link
from twin_assets.corpus.importers import linkedin
from twin_assets.corpus.importers.linkedin import iter_share_rows

FIRST_ID = 7 << 60


@pytest.mark.parametrize(
    "damage",
    [
        # broken off before its last column
        (",CONNECTIONS\n", ","),
        # a line break, or zeros, that hide its visibility and join it with the next row
        (",CONNECTIONS\n", ",\nCONNECTIONS\n"),
        ("CONNECTIONS\n2023-05-01 12:34:56,https", "CONNECTIONS\n" + "\0" * 25),
        ("CONNECTIONS\n2023-05-01 12:34:56,https://www", "CONNECTIONS\nps://www"),
    ],
)
def test_a_damaged_row_never_gets_the_visibility_of_another(
    damage: tuple[str, str], tmp_path: Path
) -> None:
    private = build_share(FIRST_ID + 1, "SECRET for friends.", "CONNECTIONS")
    text = private + build_share(FIRST_ID + 2, "The clock.") if "2023" in damage[0] else private
    path = write_folder(
        {"Shares.csv": SHARES_HEAD + build_share(FIRST_ID, "First.") + text.replace(*damage)},
        tmp_path,
    )
    result = read_export(path, linkedin.IMPORTER)
    assert "SECRET" not in repr(result.records)
    assert result.records[f"share:{FIRST_ID}"].text.startswith("First.")
    assert result.reason_counts.keys() & {"malformed_row", "unknown_visibility"}


@pytest.mark.parametrize(
    "text",
    [
        "See https://www.linkedin.com/feed/update/urn:li:activity:7, which is mine.",
        "Plain words",
        'He said "yes"',
        '"Yes" is what he said',
    ],
)
def test_quotes_and_addresses_in_prose_are_text(text: str, tmp_path: Path) -> None:
    shares = {"Shares.csv": SHARES_HEAD + build_share(FIRST_ID + 1, text)}
    result = read_export(write_folder(shares, tmp_path), linkedin.IMPORTER)
    assert result.record.text == f"{text}\n\nSecond paragraph."
    assert not result.skip_reasons


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
