"""Test the exact limits of an archive, and the names, heads and dates of its members."""

from __future__ import annotations

import io
import os
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import Files, write_folder, write_tar, write_zip
from twin_assets.corpus.importers.archive import (
    MIN_RATIO_BYTES,
    ArchiveLimits,
    MemberError,
    open_archive,
)
from twin_resources.errors import TwinError

PIECE = 1 << 16


def test_limits_are_as_documented(tmp_path: Path) -> None:
    with open_archive(tmp_path) as archive:
        limits = archive.limits
    assert (limits.max_members, limits.max_member_bytes, limits.max_read_bytes) == (
        200_000,
        512 << 20,
        8 << 30,
    )
    assert (limits.max_tar_bytes, limits.max_ratio, MIN_RATIO_BYTES) == (32 << 30, 200, 16 << 20)


def test_the_number_of_members_is_limited(tmp_path: Path) -> None:
    path = write_zip({f"{n}.csv": "x" for n in range(10)}, tmp_path / "a.zip")
    with open_archive(path, limits=ArchiveLimits(max_members=10)) as archive:
        assert len(archive.names()) == 10
    with pytest.raises(TwinError, match="more than 9 files"):
        open_archive(path, limits=ArchiveLimits(max_members=9))


def convert_to_zip64(path: Path) -> None:
    """Move the central directory's offset and size to a zip64 record, as in zips above 4 GiB."""
    content = path.read_bytes()
    end = content.rfind(b"PK\5\6")
    _, _, _, _, count, size, offset, _ = struct.unpack_from("<4s4H2LH", content, end)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    end_record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:end] + record + locator + end_record)


def add_comment(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as zip_file:
        zip_file.comment = b"x" * 65_535


@pytest.mark.parametrize("convert", [None, convert_to_zip64, add_comment])
def test_a_list_of_files_that_is_too_long_is_not_read(
    convert: Callable[[Path], None] | None, tmp_path: Path
) -> None:
    """The list of 20 long names exceeds the 1,024 bytes that a limit of two files allows."""
    names = [f"{n}/{'x' * 200}.csv" for n in range(20)]
    path = write_zip(dict.fromkeys(names, "x"), tmp_path / "a.zip")
    if convert is not None:
        convert(path)
    with pytest.raises(TwinError, match="more than 2 files"):
        open_archive(path, limits=ArchiveLimits(max_members=2))
    with open_archive(path, limits=ArchiveLimits(max_members=20)) as archive:
        assert len(archive.names()) == 20
    two_files = write_zip({f"{n}/{'x' * 600}.csv": "x" for n in range(2)}, tmp_path / "two.zip")
    with pytest.raises(TwinError, match="more than 2 files"):
        open_archive(two_files, limits=ArchiveLimits(max_members=2))


def test_a_tar_with_a_header_of_a_mebibyte_is_rejected(tmp_path: Path) -> None:
    path, longest = tmp_path / "a.tar", (1 << 20) - 1  # plus a zero byte
    for length in (longest, longest + 1):
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            tar.addfile(tarfile.TarInfo("x" * length))
        if length == longest:
            open_archive(path).close()
        else:
            with pytest.raises(TwinError, match="a header of"):
                open_archive(path)


@pytest.mark.parametrize("pack", [write_zip, write_tar, write_folder])
def test_a_member_of_exactly_the_maximum_size_is_read(
    pack: Callable[[Files, Path], Path], tmp_path: Path
) -> None:
    path = pack({"a.csv": "x" * 100_000}, tmp_path / "export")
    with open_archive(path, limits=ArchiveLimits(max_member_bytes=100_000)) as archive:
        assert len(archive.read("a.csv")) == 100_000
        assert [len(piece) for piece in archive.pieces("a.csv")] == [PIECE, 100_000 - PIECE]
        assert len(archive.read("a.csv", max_bytes=100_000)) == 100_000
        with pytest.raises(MemberError, match="too_large"):
            archive.read("a.csv", max_bytes=99_999)
        with pytest.raises(MemberError, match="too_large"):
            list(archive.pieces("a.csv", max_bytes=99_999))
    with (
        open_archive(path, limits=ArchiveLimits(max_member_bytes=99_999)) as archive,
        pytest.raises(MemberError, match="too_large") as excinfo,
    ):
        archive.read("a.csv")
    assert (excinfo.value.name, excinfo.value.reason) == ("a.csv", "too_large")


def test_reading_stops_exactly_at_the_limit(tmp_path: Path) -> None:
    path = write_zip(dict.fromkeys(("a.csv", "b.csv", "c.csv"), "x" * 500), tmp_path / "a.zip")
    with open_archive(path, limits=ArchiveLimits(max_read_bytes=1_000)) as archive:
        assert archive.read("a.csv") == archive.read("b.csv")
        with pytest.raises(TwinError, match="more than 1,000 bytes of posts"):
            archive.read("c.csv")


def test_a_tar_may_expand_to_its_limit(tmp_path: Path) -> None:
    path = write_tar({"a.csv": "x" * 2_000}, tmp_path / "a.tgz")
    with tarfile.open(path) as tar:
        [member] = tar.getmembers()
        end = member.offset_data + member.size
    open_archive(path, limits=ArchiveLimits(max_tar_bytes=end)).close()
    with pytest.raises(TwinError, match=f"{end:,} bytes compressed into"):
        open_archive(path, limits=ArchiveLimits(max_tar_bytes=end - 1))


def test_the_compression_ratio_of_small_members_is_not_limited(tmp_path: Path) -> None:
    """The ratio applies above 16 MiB, so smaller members of zeros are allowed."""
    zip_path = write_zip({"a.csv": b"\0" * MIN_RATIO_BYTES}, tmp_path / "a.zip")
    with open_archive(zip_path) as archive:
        assert archive.size("a.csv") == MIN_RATIO_BYTES
        assert sum(map(len, archive.pieces("a.csv"))) == MIN_RATIO_BYTES
    tar_path = write_tar({"a.csv": b"\0" * (8 << 20)}, tmp_path / "a.tgz")
    with open_archive(tar_path) as archive:
        assert len(archive.read("a.csv")) == 8 << 20
    body = random.Random(1).randbytes(200_000) + b"\0" * (MIN_RATIO_BYTES + 1)
    for path in (write_zip({"a.csv": body}, zip_path), write_tar({"a.csv": body}, tar_path)):
        assert 70 < len(body) / path.stat().st_size < 100
        with open_archive(path) as archive:
            assert archive.read("a.csv") == body, "a ratio of 80 was rejected"


def test_the_head_of_a_member_is_read(tmp_path: Path) -> None:
    text = "a" * PIECE + "b" * PIECE
    folder = write_folder({"a.csv": text, "b.csv": "short"}, tmp_path)
    with open_archive(folder, limits=ArchiveLimits(max_read_bytes=PIECE)) as archive:
        assert archive.head("a.csv") == b"a" * PIECE, "more than the limit was read"
    with open_archive(folder) as archive:
        assert archive.head("a.csv", count=PIECE + 1) == b"a" * PIECE + b"b"
        assert archive.head("b.csv") == b"short"
        assert archive.head("gone.csv") == b""
        (tmp_path / "b.csv").unlink()
        with pytest.raises(MemberError, match="unreadable"):
            archive.read("b.csv")


def test_names_are_normalized_and_hidden_files_omitted(tmp_path: Path) -> None:
    names = (
        *("./a.csv", "b\\c.csv", "Cafe\u0301/d.csv", ".git/x.csv", "e/.hidden.csv"),
        *("__MACOSX/f.csv", "g//h.csv", "a.csv", "x__MACOSX/i.csv"),
    )
    path = write_zip(dict.fromkeys(names, "x"), tmp_path / "a.zip")
    with open_archive(path) as archive:
        assert archive.names() == ("Caf\u00e9/d.csv", "a.csv", "b/c.csv", "x__MACOSX/i.csv")
        assert archive.rejection_counts == {"unsafe_name": 1, "same_name_twice": 1}
        assert archive.candidates("a.csv") == ["a.csv"]
        assert archive.candidates("nothing") == ()


@pytest.mark.parametrize(
    ("name", "listed"), [(".posts.csv", "posts.csv"), ("C:a.csv", "C:a.csv"), ("...", "file")]
)
def test_a_single_file_is_its_own_candidate(name: str, listed: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("x")
    with open_archive(path) as archive:
        assert archive.names() == (listed,)
        assert archive.candidates("nothing") == (listed,)
        assert archive.read(listed) == b"x"


def test_hidden_and_generated_folders_are_skipped_and_locked_ones_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (".git/a.md", "locked/b.md", "node_modules/c.md", "posts/d.md", "e.md", "z/f.md")
    write_folder(dict.fromkeys(names, "x"), tmp_path)
    scandir = os.scandir

    def refuse_locked(folder: str) -> object:
        if folder.endswith("locked"):  # simulated, because root can read every folder
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse_locked)
    with open_archive(tmp_path) as archive:
        assert archive.names() == ("e.md", "posts/d.md", "z/f.md")
        assert archive.rejection_counts == {"unreadable": 1}
    with pytest.raises(TwinError, match="grant read permission"):
        open_archive(tmp_path / "locked")


def test_an_archive_is_dated_by_its_newest_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        for name, year in (("a.csv", 2020), ("b.csv", 2024), ("c.csv", 2022)):
            zip_file.writestr(zipfile.ZipInfo(name, (year, 1, 2, 3, 4, 6)), "x")
    with open_archive(tmp_path / "a.zip") as archive:
        assert archive.written_at == 1_704_164_646.0, "2024-01-02 03:04:06 UTC"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, modified_at in (("a.csv", 5), ("b.csv", 9), ("c.csv", 7)):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 1, modified_at
            tar.addfile(member, io.BytesIO(b"x"))
    with open_archive(tmp_path / "a.tar") as archive:
        assert (archive.kind, archive.written_at) == ("tar", 9.0)
        assert archive.rejection_counts == {}


def test_a_zip_without_its_directory_is_not_a_text_file(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(5_000)
    content = write_zip({"a.csv": body}, tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[:3_000])
    with pytest.raises(TwinError, match="an incomplete zip"):
        open_archive(tmp_path / "cut.zip")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_recognized_by_its_bytes_in_every_compression(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "export.download"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        member = tarfile.TarInfo("a.csv")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"one"))
    with open_archive(path) as archive:
        assert (archive.kind, archive.read("a.csv")) == ("tar", b"one")


def test_other_files_are_not_tars(tmp_path: Path) -> None:
    for body in (b"", b"a,b\n" * 200, b"x" * 257 + b"ustar", b"x" * 256 + b"ustar" + b"y" * 300):
        path = tmp_path / "a.csv"
        path.write_bytes(body)
        with open_archive(path) as archive:
            assert archive.kind == "file"
