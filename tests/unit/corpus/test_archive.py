"""Test that unsafe members of archives and zip bombs are rejected, and everything else is read."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.unit.corpus.export_files import Files, write_folder, write_tar, write_zip
from twin_assets.corpus.importers.archive import MemberError, open_archive
from twin_resources.errors import TwinError


def build_tar_member(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info


@pytest.mark.parametrize("pack", [write_folder, write_zip, write_tar])
def test_folders_zips_and_tars_give_the_same_archive(
    pack: Callable[[Files, Path], Path], tmp_path: Path
) -> None:
    files: Files = {"a/b.csv": "one", "c.html": b"two", ".hidden/x": "no"}
    path = pack(files, tmp_path / "export")
    with open_archive(path) as archive:
        assert archive.names() == ("a/b.csv", "c.html")
        assert archive.size("a/b.csv") == 3
        assert archive.read("c.html") == b"two"
        assert archive.read("a/b.csv") == b"one"
        assert archive.names_matching(r"B\.csv") == ["a/b.csv"]
        assert archive.names_matching(r".\.csv") == ["a/b.csv"]
        assert archive.names_matching(r"\.csv") == []
        assert archive.head("c.html", count=2) == b"tw"
        assert archive.written_at > 0 or archive.kind == "tar"
        with pytest.raises(MemberError, match="missing"):
            archive.size("d")
        with pytest.raises(MemberError, match="too_large"):
            archive.read("c.html", max_bytes=2)
    assert path not in {Path(file.path) for file in psutil.Process().open_files()}


UNSAFE_NAMES = ("../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:\\evil.csv")


def test_unsafe_names_are_rejected_and_counted(tmp_path: Path) -> None:
    for archive_path in (
        write_zip(dict.fromkeys(UNSAFE_NAMES, "x") | {"good.csv": "y"}, tmp_path / "a.zip"),
        write_tar(dict.fromkeys(UNSAFE_NAMES, "x") | {"good.csv": "y"}, tmp_path / "a.tgz"),
    ):
        with open_archive(archive_path) as archive:
            assert archive.names() == ("good.csv",)
            assert archive.rejection_counts == {"unsafe_name": len(UNSAFE_NAMES)}


def test_links_and_devices_in_a_tar_are_rejected(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = build_tar_member(f"link{kind!r}.csv", kind=kind)
            link.linkname = "/etc/passwd"
            tar.addfile(link)
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            tar.addfile(build_tar_member(f"device{kind!r}.csv", kind=kind))
        tar.addfile(build_tar_member("folder", kind=tarfile.DIRTYPE))
        tar.addfile(build_tar_member("good.csv", size=1), io.BytesIO(b"y"))
    with open_archive(tmp_path / "a.tar") as archive:
        assert archive.names() == ("good.csv",)
        assert archive.rejection_counts == {"link": 2, "special_file": 3}


def test_links_and_encrypted_members_of_a_zip_are_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        zip_file.mkdir("folder")
        link = zipfile.ZipInfo("link.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zip_file.writestr(link, "/etc/passwd")
        device = zipfile.ZipInfo("device.csv")
        device.external_attr = (stat.S_IFCHR | 0o666) << 16
        zip_file.writestr(device, "")
        zip_file.writestr("good.csv", "y")
        zip_file.writestr("locked.csv", "z")
        zip_file.getinfo("locked.csv").flag_bits |= 1
    with open_archive(tmp_path / "a.zip") as archive:
        assert archive.names() == ("good.csv",)
        assert archive.rejection_counts == {"link": 1, "special_file": 1, "encrypted": 1}


def test_links_and_pipes_in_a_folder_are_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text("secret")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "out").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe.csv")
    (folder / "good.csv").write_text("y")
    with open_archive(folder) as archive:
        assert archive.names() == ("good.csv",)
        assert archive.rejection_counts == {"link": 2, "special_file": 1}


def test_a_zip_bomb_is_not_expanded_in_memory(tmp_path: Path) -> None:
    path = write_zip({"bomb.csv": b"\0" * (64 << 20), "good.csv": "y"}, tmp_path / "bomb.zip")
    tracemalloc.start()
    with open_archive(path) as archive:
        with pytest.raises(MemberError, match="too_compressed"):
            archive.read("bomb.csv")
        assert archive.read("good.csv") == b"y"
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_tar_bomb_is_rejected_before_its_members_are_listed(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.tgz", "wb") as stream:
        stream.write(build_tar_member("bomb.csv", size=64 << 20).tobuf())
        stream.write(bytes(64 << 20))
        stream.write(bytes(1024))
    tracemalloc.start()
    with pytest.raises(TwinError, match="compressed into"):
        open_archive(tmp_path / "bomb.tgz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_damaged_member_is_torn_and_the_others_are_read(tmp_path: Path) -> None:
    path = write_zip({"a.csv": "x" * 5000 + "end", "b.csv": "fine"}, tmp_path / "a.zip")
    body = bytearray(path.read_bytes())
    body[45] ^= 0xFF  # in the compressed bytes of a.csv
    path.write_bytes(body)
    with open_archive(path) as archive:
        with pytest.raises(MemberError, match="torn"):
            archive.read("a.csv")
        assert archive.read("b.csv") == b"fine"


def test_a_truncated_tar_is_rejected(tmp_path: Path) -> None:
    """If it were read as a shorter archive, the posts of missing members would count as deleted."""
    files = {f"{n}.csv": "x" * 2000 for n in range(3)}
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, text in files.items():
            tar.addfile(build_tar_member(name, size=len(text)), io.BytesIO(text.encode()))
    content = (tmp_path / "a.tar").read_bytes()
    for length in (3000, 5120 + 100, 2 * 2560):
        (tmp_path / "cut.tar").write_bytes(content[:length])
        with pytest.raises(TwinError):
            open_archive(tmp_path / "cut.tar")
    with_empty_member = content[:5120] + tarfile.TarInfo("last.csv").tobuf() + bytes(1024)
    (tmp_path / "cut.tar").write_bytes(with_empty_member)
    with open_archive(tmp_path / "cut.tar") as archive:
        assert archive.names() == ("0.csv", "1.csv", "last.csv")
    # Only the end of the archive follows the broken header.
    (tmp_path / "cut.tar").write_bytes(with_empty_member[:5130] + b"?" + with_empty_member[5131:])
    with pytest.raises(TwinError, match="is incomplete"):
        open_archive(tmp_path / "cut.tar")
    gzipped = gzip.compress(content)
    (tmp_path / "cut.tgz").write_bytes(gzipped[: len(gzipped) // 2])
    with pytest.raises(TwinError):
        open_archive(tmp_path / "cut.tgz")


def test_a_zip_as_the_last_member_of_a_tar_does_not_make_it_a_zip(tmp_path: Path) -> None:
    inner_zip = write_zip({"inner.csv": "x"}, tmp_path / "inner.zip").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(build_tar_member("outer.zip", size=len(inner_zip)), io.BytesIO(inner_zip))
    with open_archive(tmp_path / "a.tar") as archive:
        assert (archive.kind, archive.names()) == ("tar", ("outer.zip",))


def test_missing_paths_and_pipes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="nothing at this path"):
        open_archive(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TwinError, match="not a regular file"):
        open_archive(tmp_path / "pipe")
