"""Test that `twin --context NAME` replaces the environment's settings with a private file's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from twin_cli.contexts import apply_context

from twin_resources.errors import TwinError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Create the folder of the contexts; the environment is restored afterwards."""
    folder = tmp_path / ".config" / "llm-twin"
    folder.mkdir(parents=True)
    with mock.patch.dict(os.environ, {"HOME": str(tmp_path)}):
        os.environ.pop("XDG_CONFIG_HOME", None)
        yield folder


def write_context(folder: Path, text: str, *, mode: int = 0o600) -> None:
    path = folder / "prod.env"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def test_a_context_replaces_every_setting_in_the_shell(folder: Path) -> None:
    os.environ |= {
        "TWIN_STATE_URL": "postgresql://staging/twin",
        "TWIN_PAID_MODEL": "openai/x",
        "LANGFUSE_HOST": "https://staging.example",
        "AWS_REGION": "eu-north-1",
    }
    write_context(folder, "# production\nexport TWIN_STATE_URL='postgresql://prod/twin'\n")
    apply_context("prod")
    assert os.environ["TWIN_STATE_URL"] == "postgresql://prod/twin"
    assert os.environ["TWIN_HOME"] == str(folder / "prod")
    assert not {"TWIN_PAID_MODEL", "LANGFUSE_HOST"} & os.environ.keys()
    assert os.environ["AWS_REGION"] == "eu-north-1"


def test_a_context_may_name_its_home(folder: Path) -> None:
    write_context(folder, f"TWIN_HOME={folder}/other\n")
    apply_context("prod")
    assert os.environ["TWIN_HOME"] == f"{folder}/other"


def test_an_unknown_context_names_the_known_ones(folder: Path) -> None:
    write_context(folder, "")
    with pytest.raises(TwinError) as excinfo:
        apply_context("staging")
    assert "the contexts are: prod" in excinfo.value.found


def test_a_context_that_others_can_read_is_refused(folder: Path) -> None:
    write_context(folder, "TWIN_HOME_SECRET=x\n", mode=0o644)
    with pytest.raises(TwinError) as excinfo:
        apply_context("prod")
    assert excinfo.value.next_step == f"chmod 600 {folder}/prod.env"
    assert "TWIN_HOME_SECRET" not in os.environ
