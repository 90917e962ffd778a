"""Test which members of an archive are read, which are rejected and counted, and its limits."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from tests.unit.corpus.export_files import Files, write_folder, write_tar, write_zip
from twin_assets.corpus.importers.archive import (
    MIN_RATIO_BYTES,
    ArchiveLimits,
    MemberError,
    open_archive,
)
from twin_resources.errors import TwinError

Build = Callable[[Path], Path]
PIECE = 1 << 16
UNSAFE = dict.fromkeys(
    ("../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:\\evil.csv"), "x"
)
TAR_KINDS = (
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    tarfile.DIRTYPE,
)
ODD_NAMES = (
    *("./a.csv", "b\\c.csv", "Cafe\u0301/d.csv", ".git/x.csv", "e/.hidden.csv"),
    *("__MACOSX/f.csv", "g//h.csv", "a.csv", "x__MACOSX/i.csv"),
)


def write_members(
    path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]], mode: str = "w"
) -> Path:
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        for member, body in members:
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def build_member(name: str, kind: bytes = tarfile.REGTYPE, modified_at: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mtime, member.linkname = kind, modified_at, "/etc/passwd"
    return member


def write_special_tar(path: Path) -> Path:
    members = [(build_member(f"{kind!r}.csv", kind), b"") for kind in TAR_KINDS]
    return write_members(path, [*members, (build_member("good.csv"), b"y")])


def write_special_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as zip_file:
        zip_file.mkdir("folder")
        for name, mode in (("link.csv", stat.S_IFLNK), ("device.csv", stat.S_IFCHR)):
            member = zipfile.ZipInfo(name)
            member.external_attr = (mode | 0o777) << 16
            zip_file.writestr(member, "/etc/passwd")
        zip_file.writestr("good.csv", "y")
        zip_file.writestr("locked.csv", "z")
        zip_file.getinfo("locked.csv").flag_bits |= 1
    return path


def write_special_folder(path: Path) -> Path:
    names = (".git/a.md", "node_modules/c.md", "good.csv")
    write_folder(dict.fromkeys(names, "y"), path)
    (path / "link.csv").symlink_to("/etc/passwd")
    (path / "out").symlink_to("/etc", target_is_directory=True)
    os.mkfifo(path / "pipe.csv")
    return path


def write_file(path: Path, body: bytes = b"x") -> Path:
    path.write_bytes(body)
    return path


def write_tar_that_ends_in_a_zip(path: Path) -> Path:
    inner_zip = write_zip({"inner.csv": "x"}, path.with_suffix(".zip")).read_bytes()
    return write_members(path, [(build_member("outer.zip"), inner_zip)])


ONE = [(build_member("a.csv"), b"one")]
LISTED: dict[str, tuple[Build, str, list[str], dict[str, int]]] = {
    "unsafe names of a zip": (lambda path: write_zip({**UNSAFE, "good.csv": "y"}, path),
                              "zip", ["good.csv"], {"unsafe_name": 5}),
    "unsafe names of a tar": (lambda path: write_tar({**UNSAFE, "good.csv": "y"}, path),
                              "tar", ["good.csv"], {"unsafe_name": 5}),
    "links and devices of a tar": (write_special_tar, "tar", ["good.csv"],
                                   {"link": 2, "special_file": 3}),
    "links, devices and locked members of a zip": (
        write_special_zip, "zip", ["good.csv"], {"link": 1, "special_file": 1, "encrypted": 1}),
    "links and pipes of a folder, hidden and generated folders": (
        write_special_folder, "folder", ["good.csv"], {"link": 2, "special_file": 1}),
    "odd names": (lambda path: write_zip(dict.fromkeys(ODD_NAMES, "x"), path), "zip",
                  ["Caf\u00e9/d.csv", "a.csv", "b/c.csv", "x__MACOSX/i.csv"],
                  {"unsafe_name": 1, "same_name_twice": 1}),
    **{f"the file {name}": ((lambda path, name=name: write_file(path.with_name(name))), "file",
                            [listed], {})
       for name, listed in ((".posts.csv", "posts.csv"), ("C:a.csv", "C:a.csv"), ("...", "file"))},
    **{f"a tar by {mode}": ((lambda path, mode=mode: write_members(path, ONE, mode)), "tar",
                            ["a.csv"], {}) for mode in ("w", "w:gz", "w:bz2", "w:xz")},
    "a tar whose last member is a zip": (write_tar_that_ends_in_a_zip, "tar", ["outer.zip"], {}),
    **{f"no tar: {body[-9:]!r}": ((lambda path, body=body: write_file(path, body)), "file",
                                  ["export"], {})
       for body in (b"", b"a,b\n" * 200, b"x" * 257 + b"ustar",
                    b"x" * 256 + b"ustar" + b"y" * 300)},
}  # fmt: skip


@pytest.mark.parametrize("case", LISTED)
def test_members_are_listed_or_rejected_and_counted(case: str, tmp_path: Path) -> None:
    build, kind, names, rejections = LISTED[case]
    with open_archive(build(tmp_path / "export")) as archive:
        assert (archive.kind, list(archive.names())) == (kind, names)
        assert archive.rejection_counts == rejections
        assert archive.candidates("nothing") == (tuple(names) if kind == "file" else ())


@pytest.mark.parametrize("pack", [write_folder, write_zip, write_tar])
def test_folders_zips_and_tars_give_the_same_archive(
    pack: Callable[[Files, Path], Path], tmp_path: Path
) -> None:
    long = "a" * PIECE + "b" * PIECE
    path = pack({"a/b.csv": "one", "c.html": long, ".hidden/x": "no"}, tmp_path / "export")
    with open_archive(path, limits=ArchiveLimits(max_member_bytes=2 * PIECE)) as archive:
        assert archive.names() == ("a/b.csv", "c.html")
        assert archive.size("a/b.csv") == 3
        assert archive.read("a/b.csv") == b"one"
        assert archive.read("c.html", max_bytes=2 * PIECE).decode() == long
        assert [len(piece) for piece in archive.pieces("c.html")] == [PIECE, PIECE]
        assert archive.names_matching(r"B\.csv") == ["a/b.csv"]
        assert archive.names_matching(r".\.csv") == ["a/b.csv"]
        assert archive.names_matching(r"\.csv") == []
        assert archive.head("c.html", count=PIECE + 1) == b"a" * PIECE + b"b"
        assert archive.head("a/b.csv") == b"one"
        assert archive.head("gone.csv") == b""
        assert archive.written_at > 0 or archive.kind == "tar"
        with pytest.raises(MemberError, match="missing"):
            archive.size("d")
        for read in (archive.read, lambda *args, **limit: list(archive.pieces(*args, **limit))):
            with pytest.raises(MemberError, match="too_large"):
                read("c.html", max_bytes=2 * PIECE - 1)
    assert path not in {Path(file.path) for file in psutil.Process().open_files()}
    with (
        open_archive(path, limits=ArchiveLimits(max_member_bytes=2 * PIECE - 1)) as archive,
        pytest.raises(MemberError, match="too_large") as excinfo,
    ):
        archive.read("c.html")
    assert (excinfo.value.name, excinfo.value.reason) == ("c.html", "too_large")


def find_tar_end(path: Path) -> int:
    with tarfile.open(write_tar({"a.csv": "x" * 2_000}, path)) as tar:
        [member] = tar.getmembers()
    return member.offset_data + member.size


LIMITS: dict[str, tuple[Build, dict[str, int], dict[str, int], str]] = {
    "members": (lambda path: write_zip({f"{n}.csv": "x" for n in range(10)}, path),
                {"max_members": 10}, {"max_members": 9}, "more than 9 files"),
    "expanded tar": (lambda path: write_tar({"a.csv": "x" * 2_000}, path),
                     {"max_tar_bytes": -1}, {"max_tar_bytes": -2}, "bytes compressed into"),
}  # fmt: skip
"""Limits under which an archive is read, and those one lower; a tar's are added to its end."""


@pytest.mark.parametrize("case", LIMITS)
def test_an_archive_is_read_up_to_its_limits(case: str, tmp_path: Path) -> None:
    build, allowed, refused, message = LIMITS[case]
    path = build(tmp_path / "export.tgz")
    if "max_tar_bytes" in allowed:
        end = find_tar_end(path)
        allowed, refused = {"max_tar_bytes": end}, {"max_tar_bytes": end - 1}
    open_archive(path, limits=ArchiveLimits(**allowed)).close()
    with pytest.raises(TwinError, match=message):
        open_archive(path, limits=ArchiveLimits(**refused))


def test_limits_are_as_documented_and_bound_what_is_read(tmp_path: Path) -> None:
    limits = ArchiveLimits()
    assert (limits.max_members, limits.max_member_bytes) == (200_000, 512 << 20)
    assert (limits.max_read_bytes, limits.max_tar_bytes) == (8 << 30, 32 << 30)
    assert (limits.max_ratio, MIN_RATIO_BYTES) == (200, 16 << 20)
    path = write_zip(dict.fromkeys(("a.csv", "b.csv", "c.csv"), "x" * 500), tmp_path / "a.zip")
    with open_archive(path, limits=ArchiveLimits(max_read_bytes=1_000)) as archive:
        assert archive.read("a.csv") == archive.read("b.csv")
        with pytest.raises(TwinError, match="more than 1,000 bytes of posts"):
            archive.read("c.csv")
    write_file(tmp_path / "long.csv", b"a" * PIECE + b"b")
    limits = ArchiveLimits(max_read_bytes=PIECE)
    with open_archive(tmp_path / "long.csv", limits=limits) as archive:
        assert archive.head("long.csv") == b"a" * PIECE, "more than the limit was read"


def test_bombs_are_rejected_without_memory_and_small_ratios_are_read(tmp_path: Path) -> None:
    bomb = write_zip({"bomb.csv": b"\0" * (64 << 20), "good.csv": "y"}, tmp_path / "bomb.zip")
    with gzip.open(tmp_path / "bomb.tgz", "wb") as stream:
        member = build_member("bomb.csv")
        member.size = 64 << 20
        stream.write(member.tobuf() + bytes(64 << 20) + bytes(1024))
    tracemalloc.start()
    with open_archive(bomb) as archive:
        with pytest.raises(MemberError, match="too_compressed"):
            archive.read("bomb.csv")
        assert archive.read("good.csv") == b"y"
    with pytest.raises(TwinError, match="compressed into"):
        open_archive(tmp_path / "bomb.tgz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    # The ratio applies above 16 MiB.
    zeros = write_zip({"a.csv": b"\0" * MIN_RATIO_BYTES}, tmp_path / "a.zip")
    with open_archive(zeros) as archive:
        assert sum(map(len, archive.pieces("a.csv"))) == MIN_RATIO_BYTES
    body = random.Random(1).randbytes(200_000) + b"\0" * (MIN_RATIO_BYTES + 1)
    for path in (write_zip({"a.csv": body}, zeros), write_tar({"a.csv": body}, tmp_path / "a.tgz")):
        assert 70 < len(body) / path.stat().st_size < 100
        with open_archive(path) as archive:
            assert archive.read("a.csv") == body, "a ratio of 80 was rejected"


def test_damaged_archives_are_rejected(tmp_path: Path) -> None:
    """If one were read as a shorter archive, missing members' posts would count as deleted."""
    files = [(build_member(f"{n}.csv"), b"x" * 2000) for n in range(3)]
    content = write_members(tmp_path / "a.tar", files).read_bytes()
    with_empty_member = content[:5120] + build_member("last.csv").tobuf() + bytes(1024)
    with open_archive(write_file(tmp_path / "whole.tar", with_empty_member)) as archive:
        assert archive.names() == ("0.csv", "1.csv", "last.csv")
    random_zip = write_zip({"a.csv": random.Random(1).randbytes(5_000)}, tmp_path / "a.zip")
    gzipped = gzip.compress(content)
    damaged = [
        *((content[:length], "") for length in (3000, 5120 + 100, 2 * 2560)),
        # Only the end of the archive follows the broken header.
        (with_empty_member[:5130] + b"?" + with_empty_member[5131:], "is incomplete"),
        (gzipped[: len(gzipped) // 2], ""),
        (random_zip.read_bytes()[:3_000], "an incomplete zip"),
    ]
    for body, message in damaged:
        with pytest.raises(TwinError, match=message):
            open_archive(write_file(tmp_path / "damaged", body))
    path = write_zip({"a.csv": "x" * 5000 + "end", "b.csv": "fine"}, tmp_path / "d.zip")
    flipped = bytearray(path.read_bytes())
    flipped[45] ^= 0xFF  # in the compressed bytes of a.csv
    with open_archive(write_file(path, bytes(flipped))) as archive:
        with pytest.raises(MemberError, match="torn"):
            archive.read("a.csv")
        assert archive.read("b.csv") == b"fine"


def test_missing_and_locked_paths_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("missing", "nothing at this path"), ("pipe", "not a regular file")):
        with pytest.raises(TwinError, match=message):
            open_archive(tmp_path / name)
    folder = write_folder(dict.fromkeys(("locked/b.md", "d.md", "z/f.md"), "x"), tmp_path / "f")
    scandir = os.scandir

    def refuse_locked(path: str) -> object:
        if path.endswith("locked"):  # simulated, because root can read every folder
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_locked)
    with open_archive(folder) as archive:
        assert archive.names() == ("d.md", "z/f.md")
        assert archive.rejection_counts == {"unreadable": 1}
        (folder / "d.md").unlink()
        with pytest.raises(MemberError, match="unreadable"):
            archive.read("d.md")
    with pytest.raises(TwinError, match="grant read permission"):
        open_archive(folder / "locked")


def test_an_archive_is_dated_by_its_newest_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        for name, year in (("a.csv", 2020), ("b.csv", 2024), ("c.csv", 2022)):
            zip_file.writestr(zipfile.ZipInfo(name, (year, 1, 2, 3, 4, 6)), "x")
    dates = (("a.csv", 5), ("b.csv", 9), ("c.csv", 7))
    write_members(
        tmp_path / "a.tar", [(build_member(name, modified_at=time), b"x") for name, time in dates]
    )
    for name, newest in (("a.zip", 1_704_164_646.0), ("a.tar", 9.0)):  # 2024-01-02 03:04:06 UTC
        with open_archive(tmp_path / name) as archive:
            assert archive.written_at == newest
