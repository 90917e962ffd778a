"""What a wheel holds that is no Python: it works without its checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.declared import ROOT
from tests.wheel import PACKAGES, build_wheel


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_packages_is_in_the_wheel(inside: set[str]) -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *PACKAGES], capture_output=True, text=True, check=True
    ).stdout.split()
    links = {"twin_resources/authors/samples"}
    assert {name.removeprefix("deploy/") for name in listed} - links - inside == set()


def test_the_bundled_authors_and_their_posts_are_in_the_wheel(inside: set[str]) -> None:
    samples = ROOT / "deploy" / "samples"
    posts = {
        f"twin_resources/authors/samples/{path.relative_to(samples)}"
        for path in samples.rglob("*")
        if path.is_file()
    }
    assert len(posts) > 100
    assert posts - inside == set()


def test_tests_and_deployment_are_not(inside: set[str]) -> None:
    tops = {name.partition("/")[0] for name in inside}
    assert tops == {
        *(place.rpartition("/")[2] for place in PACKAGES),
        *(top for top in tops if top.endswith(".dist-info")),
    }


def test_nothing_of_the_working_folder_hides_a_module_of_the_standard_library() -> None:
    """Where a wheel is installed the processes run in the environment's own folder."""
    names = {path.name.removesuffix(".py") for path in Path(sys.prefix).iterdir()}
    assert names & sys.stdlib_module_names == set()
