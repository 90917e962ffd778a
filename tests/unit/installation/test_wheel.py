"""Test that a wheel contains every data file, so that it works without a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.declared_dependencies import ROOT
from tests.wheel import PACKAGES, build_wheel


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.long
def test_every_file_of_the_packages_is_in_the_wheel(wheel_files: set[str]) -> None:
    tracked_files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *PACKAGES], capture_output=True, text=True, check=True
    ).stdout.split()
    links = {"twin_resources/authors/samples"}
    assert {name.removeprefix("deploy/") for name in tracked_files} - links - wheel_files == set()


@pytest.mark.long
def test_the_bundled_authors_and_their_posts_are_in_the_wheel(wheel_files: set[str]) -> None:
    samples = ROOT / "deploy" / "samples"
    posts = {
        f"twin_resources/authors/samples/{path.relative_to(samples)}"
        for path in samples.rglob("*")
        if path.is_file()
    }
    assert len(posts) > 100
    assert posts - wheel_files == set()


def test_tests_and_deployment_are_not_in_the_wheel(wheel_files: set[str]) -> None:
    top_folders = {name.partition("/")[0] for name in wheel_files}
    assert top_folders == {
        *(package.rpartition("/")[2] for package in PACKAGES),
        *(folder for folder in top_folders if folder.endswith(".dist-info")),
    }


def test_the_working_folder_hides_no_standard_library_module() -> None:
    """With an installed wheel, the processes' working folder is that of the environment."""
    names = {path.name.removesuffix(".py") for path in Path(sys.prefix).iterdir()}
    assert names & sys.stdlib_module_names == set()
